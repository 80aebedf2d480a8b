package kmiptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// PyKMIPPackage is the folder by which Debian's package python3-pykmip is known to be installed.
const PyKMIPPackage = "/usr/lib/python3/dist-packages/kmip"

// pykmipPython is the interpreter that Debian's package belongs to; another one in the path does not find it.
const pykmipPython = "/usr/bin/python3"

// PyKMIP is another maker's key server (PyKMIP 0.10 of Debian), for tests and comparisons. It knows KMIP 1.0 to 2.0, no
// ReKey, no Digest, no custom attributes and no role; its TLS is 1.2 with suites in CBC mode, so a server with an RSA
// key needs a suite that Go offers only when asked ([PyKMIPSuites]).
type PyKMIP struct {
	address string
	dir     string
	cmd     *exec.Cmd
	exited  chan struct{}
}

// pykmipStart is how long the server may take until it listens; it takes about 0.7 s.
const pykmipStart = 20 * time.Second

// StartPyKMIP runs a server with the identity that accepts clients of ca (PEM). Its files lie in a new folder below dir.
// It has its own process group, as it forks helpers, and lives until Close.
func StartPyKMIP(ctx context.Context, dir string, id *Identity, ca []byte) (*PyKMIP, error) {
	dir, err := os.MkdirTemp(dir, "pykmip-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for PyKMIP: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	if err := writePyKMIP(dir, address, id, ca); err != nil {
		return nil, fmt.Errorf("write the files of PyKMIP: %w", err)
	}
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &PyKMIP{address: address, dir: dir, exited: make(chan struct{})}
	p.cmd = exec.Command(pykmipPython, "-W", "ignore", "-c", "from kmip.services.server.server import main; main()",
		"-f", filepath.Join(dir, "server.conf"), "-l", filepath.Join(dir, "server.log"))
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PyKMIP: %w", err)
	}
	go func() { // ends with the program, which Close waits for
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	if err := p.ready(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return ln.Addr().String(), ln.Close()
}

func writePyKMIP(dir, address string, id *Identity, ca []byte) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	conf := []string{
		"[server]", "hostname=" + host, "port=" + port, "certificate_path=" + filepath.Join(dir, "server.pem"),
		"key_path=" + filepath.Join(dir, "server.key"), "ca_path=" + filepath.Join(dir, "ca.pem"), "auth_suite=TLS1.2",
		"policy_path=" + filepath.Join(dir, "policy"), "enable_tls_client_auth=True", "logging_level=INFO",
		"database_path=" + filepath.Join(dir, "objects.db"), "",
	}
	if err := os.Mkdir(filepath.Join(dir, "policy"), 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "server.pem"), id.CertPEM, 0o600),
		os.WriteFile(filepath.Join(dir, "server.key"), id.KeyPEM, 0o600),
		os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600),
		os.WriteFile(filepath.Join(dir, "server.conf"), []byte(strings.Join(conf, "\n")), 0o600))
}

// ready waits until the server accepts connections.
func (p *PyKMIP) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pykmipStart, errors.New("PyKMIP does not listen"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		if c, err := d.DialContext(ctx, "tcp", p.address); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("PyKMIP ended at once: %s", p.Log())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), p.Log())
		}
	}
}

// Address answers host:port.
func (p *PyKMIP) Address() string { return p.address }

// Log answers what the server wrote so far.
func (p *PyKMIP) Log() string {
	out, _ := os.ReadFile(filepath.Join(p.dir, "output"))
	log, _ := os.ReadFile(filepath.Join(p.dir, "server.log"))
	return string(out) + string(log)
}

// Close kills the server with its helpers, waits for it and removes its folder.
func (p *PyKMIP) Close() error {
	// The negative id is the process group, which only this server and its helpers are in. A server that takes its time
	// to end in order would hold up a test for ten seconds.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
	return os.RemoveAll(p.dir)
}

// PyKMIPSuites answers the suites with which Go's client reaches a PyKMIP server that has an RSA key: the one suite
// they have in common, in CBC mode, which Go does not offer by itself.
func PyKMIPSuites() []uint16 { return []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256} }
