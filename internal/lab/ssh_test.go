package lab_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

func dialSSH(t *testing.T, addr string, c *ssh.ClientConfig) error {
	t.Helper()
	c.HostKeyCallback = ssh.InsecureIgnoreHostKey() //nolint:gosec // a lab
	conn, err := ssh.Dial("tcp", addr, c)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func TestSSHServerLogsInWhomItIsToldTo(t *testing.T) {
	s, err := lab.NewSSH(lab.SSHOptions{Passwords: map[string]string{"backup": "right"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tt := range []struct {
		password string
		want     bool
	}{{"right", true}, {"wrong", false}} {
		err := dialSSH(t, s.Addr(), &ssh.ClientConfig{User: "backup", Auth: []ssh.AuthMethod{ssh.Password(tt.password)}})
		if (err == nil) != tt.want {
			t.Errorf("password %q: %v", tt.password, err)
		}
	}
}

func TestSSHServerRefusesNamesThatTheLibraryLacks(t *testing.T) {
	if _, err := lab.NewSSH(lab.SSHOptions{KEX: []string{"no-such-kex"}}); err == nil || !strings.Contains(err.Error(), "no-such-kex") {
		t.Errorf("got %v", err)
	}
	if _, err := lab.NewSSH(lab.SSHOptions{HostKeyAlgorithms: []string{"ssh-dss"}}); err == nil || !strings.Contains(err.Error(), "ssh-dss") {
		t.Errorf("got %v", err)
	}
}

func TestSSHServerSwitchesWhileItRuns(t *testing.T) {
	s, err := lab.NewSSH(lab.SSHOptions{Mode: lab.SSHText, Text: "Exceeded MaxStartups\r\n"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := firstBytes(t, s.Addr()); !strings.HasPrefix(got, "Exceeded") {
		t.Errorf("got %q", got)
	}
	if err := s.Reconfigure(lab.SSHOptions{Version: "SSH-2.0-lab"}); err != nil {
		t.Fatal(err)
	}
	if got := firstBytes(t, s.Addr()); !strings.HasPrefix(got, "SSH-2.0-lab") {
		t.Errorf("got %q", got)
	}
}

func firstBytes(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "SSH-2.0-test\r\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 32)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestCannedOfferIsSentAsItIs(t *testing.T) {
	s, err := lab.NewSSH(lab.SSHOptions{Mode: lab.SSHOffer, Offer: sshpolicy.Lists{KEX: []string{"made-up-kex"}, Extensions: []string{"ext-info-s"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := sshpolicy.Builtin("modern")
	if err != nil {
		t.Fatal(err)
	}
	r := sshpolicy.Probe(t.Context(), sshpolicy.Target{Name: "x", Addr: s.Addr()}, sshpolicy.Options{Policy: p})
	if r.Offer == nil || strings.Join(r.Offer.KEX, ",") != "made-up-kex" || strings.Join(r.Offer.Extensions, ",") != "ext-info-s" {
		t.Errorf("got %+v", r.Offer)
	}
}

func TestSSHDRestartsOnItsPortWithItsKeysAndWithNewOnes(t *testing.T) {
	lab.Need(t, "sshd")
	s, err := lab.StartSSHD(t.Context(), t.TempDir(), lab.SSHDConfig{KeyTypes: []string{"ed25519"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	addr := s.Addr()
	before := serverKey(t, addr)
	if err := s.Reconfigure(t.Context(), lab.SSHDConfig{KeyTypes: []string{"ed25519"}, Ciphers: []string{"aes256-ctr"}}); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != addr || !bytes.Equal(serverKey(t, addr), before) {
		t.Error("the restart changed the address or the host key")
	}
	if err := s.ChangeHostKeys(); err != nil {
		t.Fatal(err)
	}
	if err := s.Reconfigure(t.Context(), lab.SSHDConfig{KeyTypes: []string{"ed25519"}}); err != nil {
		t.Fatal(err)
	}
	after := serverKey(t, addr)
	if bytes.Equal(after, before) {
		t.Error("the host key did not change")
	}
	if k, err := s.HostKey("ed25519"); err != nil || !bytes.Equal(k.Marshal(), after) {
		t.Errorf("HostKey does not say what the server uses: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		c.Close()
		t.Error("still listening after Stop")
	}
}

func TestSSHDWithNonsenseInItsConfigurationSaysSo(t *testing.T) {
	lab.Need(t, "sshd")
	_, err := lab.StartSSHD(t.Context(), t.TempDir(), lab.SSHDConfig{KeyTypes: []string{"ed25519"}, Ciphers: []string{"no-such-cipher"}})
	if err == nil || !strings.Contains(err.Error(), "the program ended at once") {
		t.Errorf("got %v", err)
	}
}

func TestDropbearRunsWithKeysOfOurOwn(t *testing.T) {
	lab.Need(t, "dropbear")
	d, err := lab.StartDropbear(t.Context(), t.TempDir(), lab.DropbearConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	got := serverKey(t, d.Addr())
	found := false
	for _, k := range d.HostKeys() {
		found = found || bytes.Equal(k.Marshal(), got)
	}
	if !found {
		t.Errorf("the server shows a key that is not ours\n%s", d.Log())
	}
}

func serverKey(t *testing.T, addr string) []byte {
	t.Helper()
	var key []byte
	_, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		Timeout: 5 * time.Second,
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			key = k.Marshal()
			return nil
		},
	})
	if key == nil {
		t.Fatalf("no host key: %v", err)
	}
	return key
}
