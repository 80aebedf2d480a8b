package netdiag_test

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

// TestOpenSSLServersVerdictIsHeard asks a server that is not Go's: its TLS 1.3
// verdict on our certificate comes after our handshake too, and it revokes and
// expires in its own words.
func TestOpenSSLServersVerdictIsHeard(t *testing.T) {
	lab.Need(t, "openssl")
	openssl := lab.Program("openssl")
	e := newEnv(t)
	server, good := e.issue(lab.CertOptions{}), e.client()
	revoked := e.client()
	crl := must(e.lab.CA().CRL(time.Now(), revoked.Leaf.SerialNumber))(e)
	file := func(name string, data []byte) string { return must(e.lab.WriteFile(name, data))(e) }
	base := []string{
		"s_server", "-accept", "127.0.0.1:0", "-verify_return_error", "-Verify", "3",
		"-cert", file("s.pem", server.CertPEM), "-key", file("s.key", server.KeyPEM),
		"-CAfile", file("ca.pem", append(append([]byte{}, e.lab.CA().PEM...), crl...)), "-crl_check",
	}
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		addr := startOpenSSL(t, openssl, append(base, version))
		for _, c := range []struct {
			name string
			pair *lab.Pair
			want netdiag.Cause
		}{
			{"good", good, ""},
			{"revoked", revoked, netdiag.ClientCertRevoked},
			{"issuer not listed", must(e.foreign.Issue(lab.CertOptions{Client: true}))(e), netdiag.ClientCertIssuer},
			{"for servers only", e.issue(lab.CertOptions{}), netdiag.ClientCertPurpose},
			{"none", &lab.Pair{}, netdiag.ClientCertRequired},
		} {
			target := withCert(e.target(addr), c.pair)
			for range 30 {
				if r := netdiag.Diagnose(t.Context(), target); r.Cause != c.want {
					t.Fatalf("%s, %s: cause = %q (%s), want %q", version, c.name, r.Cause, r.Detail, c.want)
				}
			}
		}
	}
}

// startOpenSSL runs openssl on a free port and returns the address it prints.
func startOpenSSL(t *testing.T, openssl string, args []string) string {
	t.Helper()
	cmd := exec.Command(openssl, args...)
	in, err := cmd.StdinPipe() // held open: s_server ends with its input
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	addr := ""
	for addr == "" && lines.Scan() {
		if after, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			addr = after
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() { // a full pipe would stop the server
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait() // killed: its status says so
	})
	if addr == "" {
		t.Fatal("openssl s_server tells no address")
	}
	return addr
}
