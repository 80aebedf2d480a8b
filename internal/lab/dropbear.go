package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// DropbearConfig is what a [Dropbear] is started with. Its algorithms are fixed
// when the program is built.
type DropbearConfig struct {
	KeyTypes []string // "ed25519", "rsa"; nil means both
	// AuthorizedKeys may log in as [DropbearUser], who has the rights of root; this
	// needs root. Without them nobody can.
	AuthorizedKeys []ssh.PublicKey
}

// DropbearUser is the account that a [Dropbear] with authorized keys has.
const DropbearUser = "allclear-lab"

// Dropbear is the host's dropbear server on a loopback port.
type Dropbear struct {
	dir  string
	port int
	proc *process
	keys []ssh.PublicKey
}

// StartDropbear runs the host's dropbear with its files in dir until ctx ends
// or Stop.
func StartDropbear(ctx context.Context, dir string, c DropbearConfig) (*Dropbear, error) {
	program := Program("dropbear")
	if program == "" {
		return nil, errors.New("start dropbear: it is not installed")
	}
	d := &Dropbear{dir: dir}
	types := c.KeyTypes
	if types == nil {
		types = []string{"ed25519", "rsa"}
	}
	args := []string{"-F", "-E"}
	for _, t := range types {
		file, err := d.writeKey(t)
		if err != nil {
			return nil, fmt.Errorf("start dropbear: %w", err)
		}
		args = append(args, "-r", file)
	}
	command := append([]string{program}, args...)
	if c.AuthorizedKeys != nil {
		account, err := d.account(c.AuthorizedKeys)
		if err != nil {
			return nil, fmt.Errorf("start dropbear: %w", err)
		}
		command = append(account, command...)
	}
	port, err := startOnFreePort(func(port int) (err error) {
		listen := []string{"-p", fmt.Sprintf("127.0.0.1:%d", port)}
		d.proc, err = startProcess(ctx, "Not backgrounding", command[0], append(command[1:], listen...)...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start dropbear: %w", err)
	}
	d.port = port
	return d, nil
}

// Dropbear runs the host's dropbear until the lab closes.
func (l *Lab) Dropbear(ctx context.Context, c DropbearConfig) (*Dropbear, error) {
	dir, err := os.MkdirTemp(l.dir, "dropbear-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for dropbear: %w", err)
	}
	d, err := StartDropbear(ctx, dir, c)
	if err == nil {
		l.OnClose(d.Stop)
	}
	return d, err
}

// Addr is the server's host:port.
func (d *Dropbear) Addr() string { return fmt.Sprintf("127.0.0.1:%d", d.port) }

// HostKeys are the server's public keys.
func (d *Dropbear) HostKeys() []ssh.PublicKey { return d.keys }

// Stop ends the server and waits for it.
func (d *Dropbear) Stop() error { return d.proc.stop() }

// Log is what the server has written so far.
func (d *Dropbear) Log() string { return d.proc.log() }

// writeKey makes a private key in dropbear's own format: the public key as SSH
// sends it, followed by the private numbers.
func (d *Dropbear) writeKey(keyType string) (string, error) {
	key, err := newPrivateKey(keyType)
	if err != nil {
		return "", err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return "", err
	}
	var data []byte
	switch k := key.(type) {
	case *ed25519.PrivateKey:
		data = ssh.Marshal(struct {
			Type string
			Key  string // 32 bytes private, 32 bytes public
		}{ssh.KeyAlgoED25519, string(*k)})
	case *rsa.PrivateKey:
		data = ssh.Marshal(struct {
			Type          string
			E, N, D, P, Q *big.Int
		}{ssh.KeyAlgoRSA, big.NewInt(int64(k.E)), k.N, k.D, k.Primes[0], k.Primes[1]})
	default:
		return "", fmt.Errorf("dropbear host key of type %q", keyType)
	}
	file := filepath.Join(d.dir, "dropbear_"+keyType+"_host_key")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", err
	}
	d.keys = append(d.keys, signer.PublicKey())
	return file, nil
}

// account makes an account for the keys and returns the words before the command
// of a server that is to know it. Dropbear lets in the accounts of the machine
// only, with the keys in their homes: in a mount namespace of its own the server
// sees a list of accounts that has one more.
func (d *Dropbear) account(keys []ssh.PublicKey) ([]string, error) {
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return nil, err
	}
	accounts = fmt.Appendf(accounts, "%s:x:0:0::%s:/bin/sh\n", DropbearUser, d.dir)
	var authorized []byte
	for _, k := range keys {
		authorized = append(authorized, ssh.MarshalAuthorizedKey(k)...)
	}
	passwd, home := filepath.Join(d.dir, "passwd"), filepath.Join(d.dir, ".ssh")
	err = errors.Join(
		os.WriteFile(passwd, accounts, 0o600), os.Mkdir(home, 0o700),
		os.WriteFile(filepath.Join(home, "authorized_keys"), authorized, 0o600),
	)
	return []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/passwd && exec "$@"`, passwd}, err
}
