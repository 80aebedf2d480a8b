package lab

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// SSHDConfig is what an [SSHD] is started with. A nil list means the program's
// own default.
type SSHDConfig struct {
	// Host is the address to listen at, "" means 127.0.0.1. It counts when the
	// server is started first, and stays.
	Host                                            string
	KexAlgorithms, Ciphers, MACs, HostKeyAlgorithms []string
	// KeyTypes are the host keys: "ed25519", "ecdsa", "rsa"; nil means all three.
	KeyTypes []string
	// AuthorizedKeys may log in as the user that runs the lab.
	AuthorizedKeys []ssh.PublicKey
	// Extra are further lines of sshd_config, put first: the first value wins.
	Extra []string
}

// SSHD is the host's own OpenSSH server on a loopback port, with host keys and
// a configuration of its own.
type SSHD struct {
	dir  string
	host string
	port int
	proc *process
}

// StartSSHD runs the host's sshd with its files in dir until ctx ends or Stop.
// The error says so when the program is not installed; ask [Missing] first.
func StartSSHD(ctx context.Context, dir string, c SSHDConfig) (*SSHD, error) {
	s := &SSHD{dir: dir, host: cmp.Or(c.Host, "127.0.0.1")}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	port, err := startOnFreePort(func(port int) error { s.port = port; return s.start(ctx, c) })
	s.port = port
	if err != nil {
		return nil, fmt.Errorf("start sshd: %w", err)
	}
	return s, nil
}

// SSHD runs the host's sshd until the lab closes.
func (l *Lab) SSHD(ctx context.Context, c SSHDConfig) (*SSHD, error) {
	dir, err := os.MkdirTemp(l.dir, "sshd-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for sshd: %w", err)
	}
	s, err := StartSSHD(ctx, dir, c)
	if err == nil {
		l.OnClose(s.Stop)
	}
	return s, err
}

// Addr is the server's host:port.
func (s *SSHD) Addr() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// Pause freezes the server (SIGSTOP): the kernel goes on accepting connections
// for it, and nobody answers them. Resume thaws it.
func (s *SSHD) Pause() error { return s.proc.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *SSHD) Resume() error { return s.proc.signal(syscall.SIGCONT) }

// Reconfigure restarts the server on the same port with the same host keys.
func (s *SSHD) Reconfigure(ctx context.Context, c SSHDConfig) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.start(ctx, c)
}

// ChangeHostKeys gives the server new keys of every type; they are used from
// the next Reconfigure on.
func (s *SSHD) ChangeHostKeys() error {
	for _, t := range hostKeyTypes() {
		if err := os.Remove(s.keyFile(t)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("change a host key: %w", err)
		}
	}
	return nil
}

// HostKey is the public key of a type that the server has been started with.
func (s *SSHD) HostKey(keyType string) (ssh.PublicKey, error) {
	data, err := os.ReadFile(s.keyFile(keyType))
	if err != nil {
		return nil, fmt.Errorf("read a host key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("read a host key: %w", err)
	}
	return signer.PublicKey(), nil
}

// Stop ends the server and waits for it.
func (s *SSHD) Stop() error { return s.proc.stop() }

// Log is what the server has written so far.
func (s *SSHD) Log() string { return s.proc.log() }

// prepare makes what sshd insists on. As root it wants its empty directory
// below /run; Debian's unit makes it, and so do we when there is no unit.
func (s *SSHD) prepare() error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return fmt.Errorf("make sshd's privilege separation directory: %w", err)
	}
	return nil
}

func (s *SSHD) keyFile(t string) string { return filepath.Join(s.dir, "ssh_host_"+t+"_key") }

func hostKeyTypes() []string { return []string{"ed25519", "ecdsa", "rsa"} }

func (s *SSHD) start(ctx context.Context, c SSHDConfig) error {
	program := Program("sshd")
	if program == "" {
		return errors.New("sshd is not installed")
	}
	conf, err := s.configure(c)
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "sshd_config")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		return fmt.Errorf("write sshd's configuration: %w", err)
	}
	s.proc, err = startProcess(ctx, "Server listening on "+s.host+" port", program, "-D", "-e", "-f", file)
	return err
}

// configure writes the keys that are missing and returns the configuration.
func (s *SSHD) configure(c SSHDConfig) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintln(&b, "MaxStartups 1000") // the one keyword of which the last value wins
	for _, line := range c.Extra {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "ListenAddress %s\nPidFile none\nUsePAM no\nStrictModes no\nLoginGraceTime 30\n", s.Addr())
	// Bash reads the user's ~/.bashrc for commands over SSH, unless it believes
	// that it runs below another shell; what stands there is not the lab's.
	fmt.Fprintln(&b, "SetEnv SHLVL=2")
	fmt.Fprintln(&b, "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password")
	for keyword, names := range map[string][]string{
		"KexAlgorithms": c.KexAlgorithms, "Ciphers": c.Ciphers, "MACs": c.MACs, "HostKeyAlgorithms": c.HostKeyAlgorithms,
	} {
		if names != nil {
			fmt.Fprintf(&b, "%s %s\n", keyword, strings.Join(names, ","))
		}
	}
	types := c.KeyTypes
	if types == nil {
		types = hostKeyTypes()
	}
	for _, t := range types {
		if err := writeHostKey(s.keyFile(t), t); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "HostKey %s\n", s.keyFile(t))
	}
	authorized := filepath.Join(s.dir, "authorized_keys")
	var keys []byte
	for _, k := range c.AuthorizedKeys {
		keys = append(keys, ssh.MarshalAuthorizedKey(k)...)
	}
	if err := os.WriteFile(authorized, keys, 0o644); err != nil {
		return nil, fmt.Errorf("write authorized keys: %w", err)
	}
	fmt.Fprintf(&b, "AuthorizedKeysFile %s\n", authorized)
	return b.Bytes(), nil
}

// writeHostKey makes a private key in OpenSSH's format, mode 0600, unless the
// file exists.
func writeHostKey(file, keyType string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	key, err := newPrivateKey(keyType)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(key, "lab")
	if err != nil {
		return fmt.Errorf("make a host key: %w", err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return fmt.Errorf("write a host key: %w", err)
	}
	return nil
}

func newPrivateKey(keyType string) (key any, err error) {
	switch keyType {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
		if err == nil {
			k := key.(ed25519.PrivateKey)
			return &k, nil
		}
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("no host key type %q", keyType)
	}
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	return key, nil
}

// scanLines hands each line to see until the reader ends.
func scanLines(r *os.File, see func(line string)) {
	in := bufio.NewScanner(r)
	for in.Scan() {
		see(in.Text())
	}
}
