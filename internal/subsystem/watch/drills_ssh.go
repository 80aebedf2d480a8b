package watch

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem"
)

func sshDrills() []subsystem.Drill {
	return []subsystem.Drill{
		sshSwitchDrill(CodeNoCommonAlgorithm, func(o *lab.SSHOptions) {
			o.KEX, o.MACs, o.Ciphers = []string{"diffie-hellman-group14-sha1"}, []string{"hmac-sha1-96"}, []string{"aes128-cbc"}
		}),
		sshSwitchDrill(CodeCryptoError, func(o *lab.SSHOptions) { o.Mode = lab.SSHBadSignature }),
		sshSwitchDrill(CodeNotSSH, func(o *lab.SSHOptions) {
			o.Mode, o.Text = lab.SSHText, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
		}),
		drillOf(CodeNameNotResolved, sshName),
		drillOf(CodeUnreachable, sshDoor),
		drillOf(CodeHostKeyUnknown, sshTrust),
		drillOf(CodeHostKeyChanged, sshOtherKey),
		drillOf(CodeAuthFailed, sshPassword),
	}
}

// sshLab is a server of the lab with the item that watches it.
type sshLab struct {
	server  *lab.SSHServer
	options lab.SSHOptions // that it was started with
	item    SSH
}

// newSSHLab starts a healthy server with one host key, pinned.
func newSSHLab(l *lab.Lab, o lab.SSHOptions) (*sshLab, error) {
	key, err := newHostKey()
	if err != nil {
		return nil, err
	}
	o.HostKeys = []ssh.Signer{key}
	server, err := l.SSH(o)
	if err != nil {
		return nil, err
	}
	policy, err := sshpolicy.Builtin(sshpolicy.DefaultPolicy)
	if err != nil {
		return nil, err
	}
	return &sshLab{server: server, options: o, item: SSH{
		Name: l.Resource("ssh"), Address: server.Addr(), Policy: policy,
		Every: drillEvery, Timeout: drillTimeout, Pins: []sshpolicy.Pin{sshpolicy.PinOf(key.PublicKey())},
	}}, nil
}

func newHostKey() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	return ssh.NewSignerFromKey(key)
}

// rig is the check as production makes it, by a watch of its own: a drill must
// not leave offers or refused logins with the real one.
func (s *sshLab) rig(known *sshpolicy.Store, broken, whole func(context.Context) error) rig {
	return rig{check: New(Options{}).sshCheck(s.item, known), broken: broken, whole: whole}
}

// become changes the server's switches for connections from now on.
func (s *sshLab) become(o lab.SSHOptions) func(context.Context) error {
	return func(context.Context) error { return s.server.Reconfigure(o) }
}

// sshSwitchDrill breaks the server itself.
func sshSwitchDrill(code fault.Code, breakIt func(*lab.SSHOptions)) subsystem.Drill {
	return drillOf(code, func(_ context.Context, l *lab.Lab) (rig, error) {
		s, err := newSSHLab(l, lab.SSHOptions{})
		if err != nil {
			return rig{}, err
		}
		broken := s.options
		breakIt(&broken)
		return s.rig(nil, s.become(broken), s.become(s.options)), nil
	})
}

// sshName reaches the server by a name that only the lab's own DNS server
// knows, and takes the name away.
func sshName(_ context.Context, l *lab.Lab) (rig, error) {
	s, err := newSSHLab(l, lab.SSHOptions{})
	if err != nil {
		return rig{}, err
	}
	hosts := map[string][]netip.Addr{"ssh.lab.test": {netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
	names, err := l.DNS(lab.DNSOptions{Hosts: hosts})
	if err != nil {
		return rig{}, err
	}
	_, port, err := net.SplitHostPort(s.server.Addr())
	if err != nil {
		return rig{}, err
	}
	dialer := &net.Dialer{Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, names.Addr())
		},
	}}
	// The last dot keeps the resolver from trying this host's search list.
	s.item.Address, s.item.Dial = net.JoinHostPort("ssh.lab.test.", port), dialer.DialContext
	return s.rig(nil,
		atOnce(func() { names.Set(func(o *lab.DNSOptions) { o.Hosts = nil }) }),
		atOnce(func() { names.Set(func(o *lab.DNSOptions) { o.Hosts = hosts }) })), nil
}

// sshDoor closes the port in front of the server.
func sshDoor(ctx context.Context, l *lab.Lab) (rig, error) {
	s, err := newSSHLab(l, lab.SSHOptions{})
	if err != nil {
		return rig{}, err
	}
	d, err := newDoor(ctx, l, s.server.Addr())
	if err != nil {
		return rig{}, err
	}
	s.item.Address = d.addr
	return s.rig(nil, d.shut, d.open), nil
}

// sshTrust takes back the operator's trust in the server's key.
func sshTrust(ctx context.Context, l *lab.Lab) (rig, error) {
	s, err := newSSHLab(l, lab.SSHOptions{})
	if err != nil {
		return rig{}, err
	}
	s.item.Pins = nil
	known, err := sshpolicy.OpenStore(filepath.Join(l.Dir(), "known_hosts"))
	if err != nil {
		return rig{}, err
	}
	trust := func(context.Context) error {
		return known.Add(s.item.Address, s.options.HostKeys[0].PublicKey(), sshpolicy.OriginTrusted)
	}
	distrust := func(context.Context) error { return known.Forget(s.item.Address, sshpolicy.OriginTrusted) }
	return s.rig(known, distrust, trust), trust(ctx)
}

// sshOtherKey gives the server another key, as a new installation or somebody
// in between would.
func sshOtherKey(_ context.Context, l *lab.Lab) (rig, error) {
	s, err := newSSHLab(l, lab.SSHOptions{})
	if err != nil {
		return rig{}, err
	}
	other, err := newHostKey()
	if err != nil {
		return rig{}, err
	}
	changed := s.options
	changed.HostKeys = []ssh.Signer{other}
	return s.rig(nil, s.become(changed), s.become(s.options)), nil
}

// sshPassword changes the account's password at the server, but not in the file
// that the item names.
func sshPassword(_ context.Context, l *lab.Lab) (rig, error) {
	const user = "backup"
	s, err := newSSHLab(l, lab.SSHOptions{Passwords: map[string]string{user: rand.Text()}})
	if err != nil {
		return rig{}, err
	}
	file, err := l.WriteFile("password", []byte(s.options.Passwords[user]))
	if err != nil {
		return rig{}, err
	}
	s.item.Login = func() (sshpolicy.Login, error) {
		secret, err := os.ReadFile(file)
		return sshpolicy.Login{User: user, Password: sshpolicy.Secret(secret)}, err
	}
	changed := s.options
	changed.Passwords = map[string]string{user: rand.Text()}
	if changed.Passwords[user] == s.options.Passwords[user] {
		return rig{}, errors.New("the same random password twice")
	}
	return s.rig(nil, s.become(changed), s.become(s.options)), nil
}
