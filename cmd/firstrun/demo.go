package main

import (
	"context"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
)

// settings are the lines of sshd_config that the demonstration knows. A nil list is the server's default.
type settings struct{ kex, ciphers, macs, hostKeys []string }

// parse reads sshd_config(5): keywords in any case, the first value of each wins.
func parse(text string) settings {
	var s settings
	into := map[string]*[]string{
		"kexalgorithms": &s.kex, "ciphers": &s.ciphers, "macs": &s.macs, "hostkeyalgorithms": &s.hostKeys,
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(f) < 2 {
			continue
		}
		if list := into[strings.ToLower(f[0])]; list != nil && *list == nil {
			*list = strings.Split(f[1], ",")
		}
	}
	return s
}

// demo is the server that there is something to find about.
type demo interface {
	addr() string
	key() ssh.PublicKey // its ed25519 host key
	reload(ctx context.Context, s settings) error
	stop()
}

// startDemo takes the host's own sshd when there is one, and the lab's server when not.
func startDemo(ctx context.Context, dir string, s settings) (demo, error) {
	if len(lab.Missing("sshd")) > 0 {
		server, err := lab.NewSSH(s.inProcess())
		if err != nil {
			return nil, err
		}
		return inProcess{server}, nil
	}
	server, err := lab.StartSSHD(ctx, filepath.Join(dir, "sshd"), s.sshd())
	if err != nil {
		return nil, err
	}
	key, err := server.HostKey("ed25519")
	if err != nil {
		return nil, err
	}
	return &openSSH{server: server, hostKey: key}, nil
}

func (s settings) sshd() lab.SSHDConfig {
	return lab.SSHDConfig{
		KexAlgorithms: s.kex, Ciphers: s.ciphers, MACs: s.macs, HostKeyAlgorithms: s.hostKeys, KeyTypes: []string{"ed25519"},
	}
}

func (s settings) inProcess() lab.SSHOptions {
	return lab.SSHOptions{
		Version: "SSH-2.0-OpenSSH_9.2 demonstration", // so that the remedy names lines of sshd_config
		KEX:     s.kex, Ciphers: s.ciphers, MACs: s.macs, HostKeyAlgorithms: s.hostKeys,
	}
}

// openSSH is the host's sshd with settings of its own.
type openSSH struct {
	server  *lab.SSHD
	hostKey ssh.PublicKey
}

func (o *openSSH) addr() string       { return o.server.Addr() }
func (o *openSSH) key() ssh.PublicKey { return o.hostKey }
func (o *openSSH) stop()              { _ = o.server.Stop() } // it ends with this process in any case

func (o *openSSH) reload(ctx context.Context, s settings) error {
	return o.server.Reconfigure(ctx, s.sshd())
}

// inProcess is the lab's server.
type inProcess struct{ server *lab.SSHServer }

func (p inProcess) addr() string { return p.server.Addr() }
func (p inProcess) stop()        { _ = p.server.Close() } // it ends with this process in any case

func (p inProcess) key() ssh.PublicKey {
	for _, k := range p.server.HostKeys() {
		if k.Type() == ssh.KeyAlgoED25519 {
			return k
		}
	}
	return p.server.HostKeys()[0]
}

func (p inProcess) reload(_ context.Context, s settings) error {
	return p.server.Reconfigure(s.inProcess())
}
