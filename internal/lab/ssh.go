package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"

	"allclear/internal/sshpolicy"
)

// SSHMode is how an [SSHServer] behaves.
type SSHMode string

// The modes. Those after SSHNormal are faults.
const (
	SSHNormal       SSHMode = ""
	SSHSilent       SSHMode = "silent"        // accepts and says nothing
	SSHClose        SSHMode = "close"         // closes without a word
	SSHText         SSHMode = "text"          // says Text and closes
	SSHFlood        SSHMode = "flood"         // a megabyte of lines where the version belongs
	SSHBannerOnly   SSHMode = "banner-only"   // the version line, then silence
	SSHOffer        SSHMode = "offer"         // version and KEXINIT with the names of Offer, then silence
	SSHDieInKEX     SSHMode = "die-in-kex"    // version and KEXINIT with the names of Offer, closed at the client's first key exchange message
	SSHSmallGroup   SSHMode = "small-group"   // answers a group exchange with 1024 bits
	SSHBadSignature SSHMode = "bad-signature" // signs something else
)

// SSHOptions are the switches of an [SSHServer]. The zero value is a server
// with the library's default algorithms and one host key of each type.
type SSHOptions struct {
	Mode    SSHMode
	Version string // the version line; "" means SSH-2.0-Go_lab
	Text    string // for SSHText
	// KEX, Ciphers, MACs and HostKeyAlgorithms restrict the server; nil means
	// the library's default. A name that the library cannot do is an error.
	KEX, Ciphers, MACs, HostKeyAlgorithms []string
	// Offer is sent as it is in the modes SSHOffer, SSHDieInKEX and SSHSmallGroup.
	Offer sshpolicy.Lists
	// HostKeys are used instead of new ones.
	HostKeys []ssh.Signer
	// Passwords maps users to passwords; AuthorizedKeys may log in as any user.
	Passwords      map[string]string
	AuthorizedKeys []ssh.PublicKey
	// Expired makes the server ask for a new password after a good one; SecondFactor
	// makes it ask for a code after a good key or password.
	Expired, SecondFactor bool
	// SFTP, when not nil, serves files to whoever is logged in.
	SFTP *SFTPOptions
}

// SSHServer is an SSH server in this process. It can log users in, and offers
// no sessions but SFTP, where that is switched on.
type SSHServer struct {
	srv      *server
	switches switches[SSHOptions]
	config   switches[*ssh.ServerConfig]
	keys     []ssh.Signer
}

// NewSSH starts a server on 127.0.0.1. Close stops it.
func NewSSH(o SSHOptions) (*SSHServer, error) {
	s := &SSHServer{keys: o.HostKeys}
	if s.keys == nil {
		var err error
		if s.keys, err = newHostKeys(); err != nil {
			return nil, err
		}
	}
	if err := s.Reconfigure(o); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", loopback)
	if err != nil {
		return nil, fmt.Errorf("listen for a lab SSH server: %w", err)
	}
	s.srv = &server{ln: ln, conns: make(map[net.Conn]struct{})}
	s.srv.wg.Go(func() { s.srv.accept(s.handle) })
	return s, nil
}

// SSH starts an SSH server that ends with the lab.
func (l *Lab) SSH(o SSHOptions) (*SSHServer, error) {
	s, err := NewSSH(o)
	if err == nil {
		l.OnClose(s.Close)
	}
	return s, err
}

// Addr is the server's host:port.
func (s *SSHServer) Addr() string { return s.srv.addr() }

// HostKeys are the server's public keys.
func (s *SSHServer) HostKeys() []ssh.PublicKey {
	var keys []ssh.PublicKey
	for _, k := range s.keys {
		keys = append(keys, k.PublicKey())
	}
	return keys
}

// Close ends the listener and every connection, and waits.
func (s *SSHServer) Close() error { return s.srv.close() }

// Reconfigure changes the switches for connections from now on. Host keys stay
// unless o names others.
func (s *SSHServer) Reconfigure(o SSHOptions) error {
	if o.Version == "" {
		o.Version = "SSH-2.0-Go_lab"
	}
	if o.SFTP != nil { // the caller may go on to change its own
		own := *o.SFTP
		o.SFTP = &own
	}
	keys := s.keys
	if o.HostKeys != nil {
		keys = o.HostKeys
	}
	c, err := serverConfig(o, keys)
	if err != nil {
		return err
	}
	s.keys = keys
	s.switches.set(func(now *SSHOptions) { *now = o })
	s.config.set(func(now **ssh.ServerConfig) { *now = c })
	return nil
}

func (s *SSHServer) handle(conn net.Conn) {
	o := s.switches.get()
	if o.Mode != SSHNormal && o.Mode != SSHBadSignature {
		misbehave(conn, o)
		return
	}
	_, channels, requests, err := ssh.NewServerConn(conn, s.config.get())
	if err != nil {
		return // the client's business
	}
	go ssh.DiscardRequests(requests) // ends with the connection
	s.sessions(channels, conn)
}

// serverConfig checks every name: the library would drop unknown ones silently.
func serverConfig(o SSHOptions, keys []ssh.Signer) (*ssh.ServerConfig, error) {
	for c, names := range map[sshpolicy.Category][]string{
		sshpolicy.KEX: o.KEX, sshpolicy.Cipher: o.Ciphers, sshpolicy.MAC: o.MACs, sshpolicy.HostKey: o.HostKeyAlgorithms,
	} {
		for _, name := range names {
			if !sshpolicy.Go.Can(c, name) {
				return nil, fmt.Errorf("lab SSH server: the library cannot do %s %q", c, name)
			}
		}
	}
	c := &ssh.ServerConfig{
		Config:        ssh.Config{KeyExchanges: o.KEX, Ciphers: o.Ciphers, MACs: o.MACs},
		ServerVersion: o.Version,
		MaxAuthTries:  6,
	}
	added := 0
	for _, k := range keys {
		restricted, err := restrict(k, o.HostKeyAlgorithms)
		if err != nil {
			return nil, err
		}
		if restricted == nil {
			continue
		}
		if o.Mode == SSHBadSignature {
			restricted = liar{restricted}
		}
		c.AddHostKey(restricted)
		added++
	}
	if added == 0 {
		return nil, fmt.Errorf("lab SSH server: no host key signs with %v", o.HostKeyAlgorithms)
	}
	authentication(c, o)
	return c, nil
}

// restrict limits the algorithms that a key signs with; nil when none is left.
func restrict(k ssh.Signer, algorithms []string) (ssh.MultiAlgorithmSigner, error) {
	signer, ok := k.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("lab SSH server: host key %T cannot choose its algorithm", k)
	}
	can := []string{k.PublicKey().Type()}
	if can[0] == ssh.KeyAlgoRSA {
		can = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		if slices.Contains(algorithms, ssh.KeyAlgoRSA) {
			can = append(can, ssh.KeyAlgoRSA) // SHA-1 only when asked for
		}
	}
	if algorithms != nil {
		can = slices.DeleteFunc(can, func(a string) bool { return !slices.Contains(algorithms, a) })
	}
	if len(can) == 0 {
		return nil, nil
	}
	return ssh.NewSignerWithAlgorithms(signer, can)
}

var errNotAllowed = errors.New("not allowed")

func authentication(c *ssh.ServerConfig, o SSHOptions) {
	code := func() error {
		return &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			_, err := ask("", "second factor", []string{"Verification code: "}, []bool{true})
			return nil, errors.Join(errNotAllowed, err)
		}}}
	}
	if o.Passwords != nil && !o.Expired {
		c.PasswordCallback = func(m ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			want, ok := o.Passwords[m.User()]
			if !ok || want != string(password) {
				return nil, errNotAllowed
			}
			if o.SecondFactor {
				return nil, code()
			}
			return nil, nil
		}
	}
	if o.Expired {
		c.KeyboardInteractiveCallback = func(m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			if answers, err := ask("", "", []string{"Password: "}, []bool{false}); err != nil || o.Passwords[m.User()] != answers[0] {
				return nil, errors.Join(errNotAllowed, err)
			}
			// The words of pam_unix.
			_, err := ask("", "You are required to change your password immediately (password expired).", []string{"Current password: "}, []bool{false})
			return nil, errors.Join(errNotAllowed, err)
		}
	}
	if o.AuthorizedKeys != nil {
		c.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !slices.ContainsFunc(o.AuthorizedKeys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }) {
				return nil, errNotAllowed
			}
			if o.SecondFactor {
				return nil, code()
			}
			return nil, nil
		}
	}
	if c.PasswordCallback == nil && c.PublicKeyCallback == nil && c.KeyboardInteractiveCallback == nil {
		c.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errNotAllowed }
	}
}

// newHostKeys makes one key of each type that servers have.
func newHostKeys() ([]ssh.Signer, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	var signers []ssh.Signer
	for _, k := range []any{ed, ec, r} {
		s, err := ssh.NewSignerFromKey(k)
		if err != nil {
			return nil, fmt.Errorf("make a host key: %w", err)
		}
		signers = append(signers, s)
	}
	return signers, nil
}
