package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/crypto/ssh"
)

// The modules of Debian's Python that the servers below need; tests name them
// to [Need].
const (
	ParamikoModule = "/usr/lib/python3/dist-packages/paramiko"
	AsyncSSHModule = "/usr/lib/python3/dist-packages/asyncssh"
)

// pythonProgram is Debian's Python, the one that has Debian's modules.
const pythonProgram = "/usr/bin/python3"

var (
	//go:embed python/paramiko_server.py
	paramikoServer []byte
	//go:embed python/asyncssh_server.py
	asyncSSHServer []byte
)

// PythonSSHConfig is what a [PythonSSH] is started with. A nil list means the
// module's own default. Every user name is let in.
type PythonSSHConfig struct {
	KexAlgorithms, Ciphers, MACs []string
	AuthorizedKeys               []ssh.PublicKey
	Password                     string // "": none
	NoSFTP                       bool   // leave the SFTP subsystem out
}

// PythonSSH is an SSH server in Python on a loopback port, with the files of
// this machine and the rights of the user that runs the lab.
type PythonSSH struct {
	port int
	proc *process
	key  ssh.PublicKey
}

// StartParamiko runs a server made with Paramiko: SFTP, without most extensions.
func StartParamiko(ctx context.Context, dir string, c PythonSSHConfig) (*PythonSSH, error) {
	return startPython(ctx, dir, "paramiko", paramikoServer, c)
}

// StartAsyncSSH runs a server made with AsyncSSH: SFTP and SCP.
func StartAsyncSSH(ctx context.Context, dir string, c PythonSSHConfig) (*PythonSSH, error) {
	return startPython(ctx, dir, "asyncssh", asyncSSHServer, c)
}

// Paramiko is [StartParamiko] until the lab closes.
func (l *Lab) Paramiko(ctx context.Context, c PythonSSHConfig) (*PythonSSH, error) {
	return l.python(ctx, c, StartParamiko)
}

// AsyncSSH is [StartAsyncSSH] until the lab closes.
func (l *Lab) AsyncSSH(ctx context.Context, c PythonSSHConfig) (*PythonSSH, error) {
	return l.python(ctx, c, StartAsyncSSH)
}

func (l *Lab) python(ctx context.Context, c PythonSSHConfig, start func(context.Context, string, PythonSSHConfig) (*PythonSSH, error)) (*PythonSSH, error) {
	dir, err := os.MkdirTemp(l.dir, "python-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for a server in Python: %w", err)
	}
	s, err := start(ctx, dir, c)
	if err == nil {
		l.OnClose(s.Stop)
	}
	return s, err
}

func startPython(ctx context.Context, dir, name string, script []byte, c PythonSSHConfig) (*PythonSSH, error) {
	s := &PythonSSH{}
	hostKey, keys := filepath.Join(dir, "host_key"), filepath.Join(dir, "authorized_keys")
	if err := writeHostKey(hostKey, "ed25519"); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(hostKey)
	if err != nil {
		return nil, fmt.Errorf("read a host key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("read a host key: %w", err)
	}
	s.key = signer.PublicKey()
	var authorized []byte
	for _, k := range c.AuthorizedKeys {
		authorized = append(authorized, ssh.MarshalAuthorizedKey(k)...)
	}
	if len(authorized) == 0 {
		keys = ""
	} else if err := os.WriteFile(keys, authorized, 0o600); err != nil {
		return nil, fmt.Errorf("write authorized keys: %w", err)
	}
	program, conf := filepath.Join(dir, name+"_server.py"), filepath.Join(dir, "conf.json")
	if err := os.WriteFile(program, script, 0o600); err != nil {
		return nil, fmt.Errorf("write a server in Python: %w", err)
	}
	s.port, err = startOnFreePort(func(port int) error {
		text, err := json.Marshal(map[string]any{
			"port": port, "host_key": hostKey, "authorized_keys": keys, "password": c.Password, "sftp": !c.NoSFTP,
			"kex_algs": c.KexAlgorithms, "encryption_algs": c.Ciphers, "mac_algs": c.MACs,
		})
		err = errors.Join(err, os.WriteFile(conf, text, 0o600))
		if err == nil {
			s.proc, err = startProcess(ctx, "listening", pythonProgram, program, conf)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start a server with %s: %w", name, err)
	}
	return s, nil
}

// Addr is the server's host:port.
func (s *PythonSSH) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// HostKey is the server's public key.
func (s *PythonSSH) HostKey() ssh.PublicKey { return s.key }

// Stop ends the server and waits for it.
func (s *PythonSSH) Stop() error { return s.proc.stop() }

// Log is what the server has written so far.
func (s *PythonSSH) Log() string { return s.proc.log() }
