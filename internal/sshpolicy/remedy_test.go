package sshpolicy_test

import (
	"strings"
	"testing"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// One server, many names for itself: the remedy speaks its configuration's
// language.
func TestRemediesAreWrittenForTheServersSoftware(t *testing.T) {
	offer := lists(names("curve25519-sha256"), names("ssh-ed25519"), names("aes256-gcm@openssh.com"), names("hmac-sha1"))
	s := server(t, lab.SSHOptions{Mode: lab.SSHOffer, Offer: offer})
	for _, tt := range []struct {
		version string
		line    string   // one of the lines
		says    []string // somewhere in the steps
		never   string
	}{
		{"SSH-2.0-OpenSSH_9.2p1 Debian-2", "Ciphers aes256-gcm@openssh.com,aes128-ctr", names("the first value wins", "sshd -t && sshd -T | grep -Ei '^(kex|ciphers|macs|hostkeyalg)'", "systemctl reload ssh"), "crypto-policies"},
		{"SSH-2.0-OpenSSH_8.7", "MACs hmac-sha1,hmac-sha2-256", names("crypto-policies", "update-crypto-policies --show"), "dropbear"},
		{"SSH-2.0-OpenSSH_4.3", "", names("OpenSSH 4.3 has no mac that the policy allows; hmac-sha2-256 needs 5.9 or later: upgrade the server"), "dropbear"},
		{"SSH-2.0-mod_sftp", "SFTPKeyExchanges curve25519-sha256 diffie-hellman-group-exchange-sha256", names("SFTPCiphers", "SFTPDigests", "proftpd.conf"), "sshd_config"},
		{"SSH-2.0-dropbear_2022.83", "", names("localoptions.h", "DROPBEAR_DH_GROUP16", "DROPBEAR_SHA2_256_HMAC"), "sshd_config"},
		{"SSH-2.0-Cisco-1.25", "ip ssh server algorithm mac hmac-sha1 hmac-sha2-256", nil, "sshd"},
		{"SSH-2.0-ssh2js1.11.0", "algorithms.hmac hmac-sha1,hmac-sha2-256", nil, "sshd"},
		{"SSH-2.0-Unheard_1.0", "", names("Let the server offer one of these for kex: diffie-hellman-group-exchange-sha256, diffie-hellman-group16-sha512, diffie-hellman-group18-sha512. It offers curve25519-sha256."), "sshd"},
	} {
		if err := s.Reconfigure(lab.SSHOptions{Mode: lab.SSHOffer, Offer: offer, Version: tt.version}); err != nil {
			t.Fatal(err)
		}
		r := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: builtin(t, "ucsm-4.0-2a")})
		assertRemedies(t, r)
		var all, lines []string
		for _, step := range r.Remedy {
			all = append(all, step.Text, step.Command)
			lines = append(lines, step.Line)
		}
		text := strings.Join(all, "\n")
		if tt.line != "" && !strings.Contains(strings.Join(lines, "\n")+"\n", tt.line+"\n") {
			t.Errorf("%s: no line %q in %q", tt.version, tt.line, lines)
		}
		for _, s := range tt.says {
			if !strings.Contains(text, s) {
				t.Errorf("%s: no %q in:\n%s", tt.version, s, text)
			}
		}
		if strings.Contains(text, tt.never) {
			t.Errorf("%s: speaks of %q:\n%s", tt.version, tt.never, text)
		}
		if !strings.Contains(text, "allclear probe ssh "+s.Addr()+" --policy ucsm-4.0-2a") {
			t.Errorf("%s: no command to look again:\n%s", tt.version, text)
		}
	}
}
