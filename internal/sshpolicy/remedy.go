package sshpolicy

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// Remedy is one step towards the repair. Every step says what it may do to a
// live system (seed 000: understand the impact before you run it).
type Remedy struct {
	Text   string `json:"text"`
	Impact string `json:"impact"`
	// Line is a configuration line to paste at the server, "" when there is none.
	Line string `json:"line,omitempty"`
	// Command is a command to run, "" when there is none.
	Command string `json:"command,omitempty"`
}

const (
	impactNone   = "none: it only reads"
	impactProbe  = "one connection to the server, no credentials"
	impactReload = "running sessions go on; new sessions use the new lists; a wrong file can stop new logins, so keep a session open"
)

// remedies are the steps for what a look found; none when all is well.
func remedies(r Result, p Policy) []Remedy {
	var steps []Remedy
	switch e := r.Err.(type) {
	case *NegotiationError:
		steps = negotiationRemedies(e.Gaps, r.Server)
	case *ConnError:
		steps = connRemedies(e, r.Address)
	case *NotSSHError:
		steps = notSSHRemedies(e, r.Address)
	case *CryptoError:
		steps = cryptoRemedies(e, r.Address, p.Name)
	case *HostKeyError:
		steps = hostKeyRemedies(e)
	case *AuthError:
		steps = authRemedies(e)
	default:
		return []Remedy{}
	}
	if r.Inconclusive {
		return append([]Remedy{}, steps...)
	}
	return append(steps, Remedy{
		Text:    "Look again; the fault clears when this look succeeds.",
		Impact:  impactProbe,
		Command: fmt.Sprintf("allclear probe ssh %s --policy %s", r.Address, p.Name),
	})
}

// smallestAddition is the one name whose addition at the server closes a gap:
// an allowed one that its software is known to have and the built-in transport
// can do. For a host key it is one that the server has the key for already.
func smallestAddition(g Gap, s Software) string {
	score := func(name string) int {
		n := 0
		if g.Category == HostKey && slices.ContainsFunc(g.Offered, func(o string) bool { return keyTypeOf(o) == keyTypeOf(name) }) {
			n += 8
		}
		if has(s, g.Category, name) {
			n += 4
		}
		if Go.Can(g.Category, name) {
			n += 2
		}
		return n
	}
	best, top := "", -1
	for _, name := range g.Allowed {
		if n := score(name); n > top {
			best, top = name, n
		}
	}
	return best
}

// has reports whether the server's release is known to implement an algorithm.
func has(s Software, c Category, name string) bool {
	since := facts(c, name).Since[s.Family]
	return since != "" && (s.Release() == "" || compareVersions(s.Release(), since) >= 0)
}

// negotiationRemedies say which line at the server closes which gap.
func negotiationRemedies(gaps []Gap, s Software) []Remedy {
	var steps []Remedy
	switch s.Family {
	case "openssh":
		steps = opensshRemedies(gaps, s)
	case "dropbear":
		steps = dropbearRemedies(gaps, s)
	default:
		steps = settingRemedies(gaps, s)
	}
	return append(steps, Remedy{
		Text:   "If the server cannot be given one of these algorithms, upgrade its software or replace it; a weaker policy is not a remedy. For support, attach the output of the probe as JSON.",
		Impact: "depends on the server: plan a maintenance window",
	})
}

// perCategory joins the directions of a gap: configuration files do not tell
// them apart.
func perCategory(gaps []Gap) []Gap {
	var joined []Gap
	for _, g := range gaps {
		i := slices.IndexFunc(joined, func(j Gap) bool { return j.Category == g.Category })
		if i < 0 {
			joined = append(joined, g)
			continue
		}
		for _, name := range g.Offered {
			if !slices.Contains(joined[i].Offered, name) {
				joined[i].Offered = append(slices.Clone(joined[i].Offered), name)
			}
		}
	}
	return joined
}

// sshdKeyword is the keyword of sshd_config(5).
func sshdKeyword(c Category) string {
	return map[Category]string{KEX: "KexAlgorithms", HostKey: "HostKeyAlgorithms", Cipher: "Ciphers", MAC: "MACs"}[c]
}

// SSHDLine is the complete line for sshd_config: what the server offers now and
// the smallest addition. A line with "+" would not do: appended, it is ignored,
// because the first value wins; put first, it brings all defaults back.
func SSHDLine(g Gap) string {
	names := slices.Clone(g.Offered)
	if g.Smallest != "" && !slices.Contains(names, g.Smallest) {
		names = append(names, g.Smallest)
	}
	return sshdKeyword(g.Category) + " " + strings.Join(names, ",")
}

func opensshRemedies(gaps []Gap, s Software) []Remedy {
	var steps []Remedy
	for _, g := range perCategory(gaps) {
		keyword := sshdKeyword(g.Category)
		if !has(s, g.Category, g.Smallest) && s.Release() != "" && facts(g.Category, g.Smallest).Since["openssh"] != "" {
			steps = append(steps, Remedy{
				Text: fmt.Sprintf("OpenSSH %s has no %s that the policy allows; %s needs %s or later: upgrade the server.",
					s.Version, g.Category, g.Smallest, facts(g.Category, g.Smallest).Since["openssh"]),
				Impact: "an upgrade restarts the server's SSH service",
			})
			continue
		}
		if g.Category == HostKey && !slices.ContainsFunc(g.Offered, func(o string) bool { return keyTypeOf(o) == keyTypeOf(g.Smallest) }) {
			steps = append(steps, Remedy{
				Text: "Make the missing host keys at the server.", Command: "ssh-keygen -A",
				Impact: "adds files under /etc/ssh, replaces none; clients that pinned another type must pin the new one",
			})
		}
		line := SSHDLine(g)
		steps = append(steps, Remedy{
			Text: fmt.Sprintf("At the server, replace the %s line by this one, or put it in front of every other %s line and of any Include: the first value wins, a line after it does nothing.\n%s",
				keyword, keyword, line),
			Impact: fmt.Sprintf("new sessions may use %s as well; nothing that works now stops working", g.Smallest),
			Line:   line,
		})
	}
	steps = append(steps, Remedy{
		Text: "Check the file and what the server makes of it.", Impact: impactNone,
		Command: "sshd -t && sshd -T | grep -Ei '^(kex|ciphers|macs|hostkeyalg)'",
	}, Remedy{
		Text: "Let the server read it (the unit is ssh on Debian, sshd elsewhere).", Impact: impactReload,
		Command: "systemctl reload ssh || systemctl reload sshd",
	})
	if s.Comment == "" { // Debian, Ubuntu, FreeBSD and Raspbian say so; Red Hat does not
		steps = append(steps, Remedy{
			Text: "On Red Hat systems the lists come from crypto-policies. RHEL 9: the line above must come before the Include of /etc/crypto-policies/back-ends/opensshserver.config. " +
				"RHEL 8: set CRYPTO_POLICY= in /etc/sysconfig/sshd first, or use a subpolicy.",
			Impact: "a subpolicy changes every program of the host; the line changes only sshd", Command: "update-crypto-policies --show",
		})
	}
	return steps
}

func dropbearRemedies(gaps []Gap, s Software) []Remedy {
	var steps []Remedy
	for _, g := range perCategory(gaps) {
		text := fmt.Sprintf("Dropbear fixes its %s algorithms when it is built; this one offers %s.", g.Category, join(g.Offered))
		if option := dropbearOption(g.Smallest); option != "" {
			text += fmt.Sprintf(" Rebuild it with `#define %s 1` in localoptions.h to add %s, or use OpenSSH.", option, g.Smallest)
		} else {
			text += fmt.Sprintf(" No release has one of %s: use OpenSSH there.", join(g.Allowed))
		}
		steps = append(steps, Remedy{Text: text, Impact: "replacing the binary restarts the service; running sessions go on"})
	}
	return steps
}

// dropbearOption is the build option of Dropbear's default_options.h.
func dropbearOption(name string) string {
	for prefix, option := range map[string]string{
		"diffie-hellman-group16-sha512": "DROPBEAR_DH_GROUP16", "diffie-hellman-group14-sha256": "DROPBEAR_DH_GROUP14_SHA256",
		"curve25519-sha256": "DROPBEAR_CURVE25519", "ecdh-sha2-": "DROPBEAR_ECDH", "sntrup761x25519-": "DROPBEAR_SNTRUP761",
		"mlkem768x25519-": "DROPBEAR_MLKEM768", "aes128-": "DROPBEAR_AES128", "aes256-": "DROPBEAR_AES256",
		"chacha20-poly1305@": "DROPBEAR_CHACHA20POLY1305", "hmac-sha2-256": "DROPBEAR_SHA2_256_HMAC", "hmac-sha2-512": "DROPBEAR_SHA2_512_HMAC",
		"ssh-ed25519": "DROPBEAR_ED25519", "ecdsa-sha2-": "DROPBEAR_ECDSA", "rsa-sha2-256": "DROPBEAR_RSA",
	} {
		if strings.HasPrefix(name, prefix) && !strings.Contains(name, "-etm@") && !strings.Contains(name, "cert-v01") {
			return option
		}
	}
	return ""
}

// settings are the names of the lists in the configuration of other servers:
// key exchange, host key, cipher, MAC, and how names are separated.
var settings = map[string]struct {
	where     string
	names     map[Category]string
	separator string
}{
	"proftpd": {"proftpd.conf, in the block of mod_sftp", map[Category]string{
		KEX: "SFTPKeyExchanges", HostKey: "SFTPHostKey", Cipher: "SFTPCiphers", MAC: "SFTPDigests",
	}, " "},
	"cisco": {"the running configuration", map[Category]string{
		KEX: "ip ssh server algorithm kex", HostKey: "ip ssh server algorithm hostkey", Cipher: "ip ssh server algorithm encryption", MAC: "ip ssh server algorithm mac",
	}, " "},
	"sftpgo": {"sftpgo.json, section sftpd", map[Category]string{
		KEX: "kex_algorithms", HostKey: "host_key_algorithms", Cipher: "ciphers", MAC: "macs",
	}, ","},
	"libssh": {"the ssh_bind options of the program that uses libssh", map[Category]string{
		KEX: "SSH_BIND_OPTIONS_KEY_EXCHANGE", HostKey: "SSH_BIND_OPTIONS_HOSTKEY_ALGORITHMS", Cipher: "SSH_BIND_OPTIONS_CIPHERS_S_C and _C_S", MAC: "SSH_BIND_OPTIONS_HMAC_S_C and _C_S",
	}, ","},
	"erlang": {"the options of ssh:daemon/3", map[Category]string{
		KEX: "modify_algorithms kex", HostKey: "modify_algorithms public_key", Cipher: "modify_algorithms cipher", MAC: "modify_algorithms mac",
	}, ","},
	"ssh2js": {"the algorithms option of the ssh2 server", map[Category]string{
		KEX: "algorithms.kex", HostKey: "algorithms.serverHostKey", Cipher: "algorithms.cipher", MAC: "algorithms.hmac",
	}, ","},
	"asyncssh": {"the options of asyncssh.create_server", map[Category]string{
		KEX: "kex_algs", HostKey: "server_host_keys", Cipher: "encryption_algs", MAC: "mac_algs",
	}, ","},
	"go": {"the ssh.ServerConfig of the program", map[Category]string{
		KEX: "Config.KeyExchanges", HostKey: "AddHostKey", Cipher: "Config.Ciphers", MAC: "Config.MACs",
	}, ","},
}

func settingRemedies(gaps []Gap, s Software) []Remedy {
	setting, known := settings[s.Family]
	var steps []Remedy
	for _, g := range perCategory(gaps) {
		if !known {
			steps = append(steps, Remedy{
				Text:   fmt.Sprintf("Let the server offer one of these for %s: %s. It offers %s.", g.Category, join(g.Allowed), join(g.Offered)),
				Impact: "new sessions may use it as well; see the server's manual for what a change restarts",
			})
			continue
		}
		line := setting.names[g.Category] + " " + strings.Join(append(slices.Clone(g.Offered), g.Smallest), setting.separator)
		if g.Category == HostKey && s.Family == "proftpd" {
			line = "SFTPHostKey /etc/ssh/ssh_host_ed25519_key"
		}
		steps = append(steps, Remedy{
			Text:   fmt.Sprintf("In %s:\n%s", setting.where, line),
			Impact: fmt.Sprintf("new sessions may use %s as well; the service must be reloaded", g.Smallest),
			Line:   line,
		})
	}
	return steps
}

func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return h
}
