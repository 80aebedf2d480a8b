package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ProFTPDModule is the file that Debian's ProFTPD needs to speak SSH; it is a
// package of its own, so tests name it beside "proftpd".
const ProFTPDModule = "/usr/lib/proftpd/mod_sftp.so"

// ProFTPDConfig is what a [ProFTPD] is started with. A nil list means the
// program's own default.
type ProFTPDConfig struct {
	KexAlgorithms, Ciphers, MACs []string
	AuthorizedKeys               []ssh.PublicKey
	Password                     string   // "": none; needs openssl
	Extra                        []string // further lines of proftpd.conf
}

// ProFTPD is the host's ProFTPD with mod_sftp on a loopback port. Its one
// account is ProFTPDUser, with the rights of the user that runs the lab.
type ProFTPD struct {
	port int
	proc *process
	key  ssh.PublicKey
}

// ProFTPDUser is the account's name.
const ProFTPDUser = "backup"

// StartProFTPD runs the host's proftpd with its files in dir until ctx ends or
// Stop.
func StartProFTPD(ctx context.Context, dir string, c ProFTPDConfig) (*ProFTPD, error) {
	program := Program("proftpd")
	if program == "" {
		return nil, errors.New("start proftpd: it is not installed")
	}
	p := &ProFTPD{}
	conf, err := p.configure(dir, c)
	if err != nil {
		return nil, fmt.Errorf("start proftpd: %w", err)
	}
	file := filepath.Join(dir, "proftpd.conf")
	p.port, err = startOnFreePort(func(port int) (err error) {
		p.port = port
		if err := os.WriteFile(file, append(conf, fmt.Sprintf("Port %d\n", port)...), 0o600); err != nil {
			return err
		}
		p.proc, err = startProcess(ctx, "standalone mode STARTUP", program, "-n", "-d", "1", "-c", file)
		if err != nil {
			return err
		}
		return p.proc.listening(ctx, p.Addr())
	})
	if err != nil {
		return nil, fmt.Errorf("start proftpd: %w", err)
	}
	return p, nil
}

// ProFTPD runs the host's proftpd until the lab closes.
func (l *Lab) ProFTPD(ctx context.Context, c ProFTPDConfig) (*ProFTPD, error) {
	dir, err := os.MkdirTemp(l.dir, "proftpd-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for proftpd: %w", err)
	}
	p, err := StartProFTPD(ctx, dir, c)
	if err == nil {
		l.OnClose(p.Stop)
	}
	return p, err
}

// Addr is the server's host:port.
func (p *ProFTPD) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// HostKey is the server's public key.
func (p *ProFTPD) HostKey() ssh.PublicKey { return p.key }

// Stop ends the server and waits for it.
func (p *ProFTPD) Stop() error { return p.proc.stop() }

// Log is what the server has written so far.
func (p *ProFTPD) Log() string { return p.proc.log() }

func (p *ProFTPD) configure(dir string, c ProFTPDConfig) ([]byte, error) {
	hostKey := filepath.Join(dir, "host_key")
	if err := writeHostKey(hostKey, "ed25519"); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(hostKey)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, err
	}
	p.key = signer.PublicKey()
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	hash := "!"
	if c.Password != "" {
		hasher := exec.Command("openssl", "passwd", "-6", "-stdin")
		hasher.Stdin = strings.NewReader(c.Password)
		out, err := hasher.Output()
		if err != nil {
			return nil, fmt.Errorf("hash a password with openssl: %w", err)
		}
		hash = strings.TrimSpace(string(out))
	}
	passwd, keys := filepath.Join(dir, "passwd"), filepath.Join(dir, "authorized_keys")
	line := fmt.Sprintf("%s:%s:%s:%s::/:/bin/sh\n", ProFTPDUser, hash, me.Uid, me.Gid)
	if err := errors.Join(os.WriteFile(passwd, []byte(line), 0o600), os.WriteFile(keys, rfc4716(c.AuthorizedKeys), 0o600)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "ModulePath %s\nLoadModule mod_sftp.c\nServerType standalone\nDefaultAddress 127.0.0.1\nUseIPv6 off\n", filepath.Dir(ProFTPDModule))
	fmt.Fprintf(&b, "User %s\nGroup %s\nRootLogin on\nRequireValidShell off\nUseReverseDNS off\nWtmpLog off\nTransferLog none\n", me.Username, me.Username)
	fmt.Fprintf(&b, "PidFile %s\nScoreboardFile %s\nDelayTable none\n", filepath.Join(dir, "pid"), filepath.Join(dir, "scoreboard"))
	fmt.Fprintf(&b, "AuthOrder mod_auth_file.c\nAuthUserFile %s\nAllowOverwrite on\nAllowStoreRestart on\n", passwd)
	fmt.Fprintf(&b, "SFTPEngine on\nSFTPLog %s\nSFTPHostKey %s\nSFTPAuthorizedUserKeys file:%s\nSFTPAuthMethods publickey password\n", filepath.Join(dir, "sftp.log"), hostKey, keys)
	for keyword, names := range map[string][]string{"SFTPKeyExchanges": c.KexAlgorithms, "SFTPCiphers": c.Ciphers, "SFTPDigests": c.MACs} {
		if names != nil {
			fmt.Fprintf(&b, "%s %s\n", keyword, strings.Join(names, " "))
		}
	}
	for _, line := range c.Extra {
		fmt.Fprintln(&b, line)
	}
	return b.Bytes(), nil
}

// rfc4716 is the form of public keys that mod_sftp reads.
func rfc4716(keys []ssh.PublicKey) []byte {
	var b bytes.Buffer
	for _, k := range keys {
		text := base64.StdEncoding.EncodeToString(k.Marshal())
		b.WriteString("---- BEGIN SSH2 PUBLIC KEY ----\n")
		for len(text) > 0 {
			n := min(70, len(text))
			b.WriteString(text[:n] + "\n")
			text = text[n:]
		}
		b.WriteString("---- END SSH2 PUBLIC KEY ----\n")
	}
	return b.Bytes()
}
