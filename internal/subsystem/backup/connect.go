package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"allclear/internal/sshpolicy"
	"allclear/internal/wire"
)

// contact is what the newest connection to a target has shown.
type contact struct {
	at          time.Time
	result      sshpolicy.Result
	free, total uint64
	space       bool // free and total are known
	err         error
}

// session is a connection to a target with its folder open.
type session struct {
	ssh    *sshpolicy.Session
	files  sshpolicy.Files // of the target's folder
	result sshpolicy.Result
}

func (s *session) close() error { return errors.Join(s.files.Close(), s.ssh.Close()) }

// connect logs in at a target and opens its folder. asked says that an operator
// wants it, whatever was refused before. Whoever watches the target hears how
// the connection went.
func (b *Backup) connect(ctx context.Context, t *Target, asked bool) (*session, error) {
	login, err := t.Login()
	if err != nil {
		return nil, &credentialError{t.Name, err}
	}
	o := sshpolicy.DialOptions{
		Options: sshpolicy.Options{
			Policy: t.Policy, Pins: slices.Clone(t.Pins), Login: &login, Timeout: t.timeout(), Dial: t.Dial,
		},
		Transport: t.Transport, Stall: t.Stall, Dir: b.history.root.Name(),
	}
	if known := b.options().KnownHosts; known != nil {
		o.TypeHints = known.TypeHints(t.Address)
		for _, k := range known.Known(t.Address) {
			if k.Origin == sshpolicy.OriginTrusted {
				o.Pins = append(o.Pins, k.Pin)
			}
		}
	}
	if t.Transport == sshpolicy.OpenSSH {
		if o.KeyPEM, err = t.KeyPEM(); err != nil {
			return nil, &credentialError{t.Name, err}
		}
		defer clear(o.KeyPEM)
	}
	guard := b.options().Guards.At(t.Name)
	if guard.Held(login) && !asked {
		return nil, &heldError{t.Name, guard.Refusals()}
	}
	s, result, err := sshpolicy.Dial(ctx, sshpolicy.Target{Name: t.Name, Addr: t.Address}, o)
	if ctx.Err() != nil && err != nil {
		return nil, context.Cause(ctx) // that says nothing of the target
	}
	switch {
	case err == nil:
		guard.Accept()
	case sshpolicy.LockOut(err):
		guard.Refuse(login)
	}
	b.heard(t, result, err)
	if err != nil {
		return nil, &connectError{t.Name, result, err}
	}
	files, err := s.Files(ctx, t.Path, t.Protocol)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s at %s: %w", t.Path, t.Name, err), s.Close())
	}
	return &session{s, files, result}, nil
}

// heard keeps how a connection went and hands it on.
func (b *Backup) heard(t *Target, result sshpolicy.Result, err error) {
	b.mu.Lock()
	c := b.contacts[t.Name]
	if result.Offer == nil {
		result.Offer = c.result.Offer // the newest that was read
	}
	c.at, c.result, c.err = time.Now(), result, err
	b.contacts[t.Name] = c
	endpoints := b.opts.Endpoints
	b.mu.Unlock()
	if endpoints != nil && !result.Inconclusive {
		endpoints.Report(t.Name, result)
	}
}

// measured keeps how much room the target has.
func (b *Backup) measured(target string, free, total uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.contacts[target]
	c.free, c.total, c.space = free, total, true
	b.contacts[target] = c
}

func (b *Backup) contact(target string) (contact, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.contacts[target]
	return c, ok && !c.at.IsZero()
}

func algorithms(policy string, n sshpolicy.Negotiated) *wire.BackupAlgorithms {
	return &wire.BackupAlgorithms{
		Policy: policy, KEX: n.KEX, HostKey: n.HostKey, CipherC2S: n.CipherC2S, CipherS2C: n.CipherS2C, MACC2S: n.MACC2S, MACS2C: n.MACS2C,
	}
}

// folder is the files below one folder of another.
type folder struct {
	of   sshpolicy.Files
	name string
}

func (f folder) at(name string) string { return path.Join(f.name, name) }

// Save implements the stores of repository and archive.
func (f folder) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	return f.of.Save(ctx, f.at(name), r, size)
}

// Open implements the stores of repository and archive.
func (f folder) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	return f.of.Open(ctx, f.at(name), offset, length)
}

// Stat implements the stores of repository and archive.
func (f folder) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	return f.of.Stat(ctx, f.at(name))
}

// List implements the stores of repository and archive.
func (f folder) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	return f.of.List(ctx, f.at(dir))
}

// Remove implements the stores of repository and archive.
func (f folder) Remove(ctx context.Context, name string) error { return f.of.Remove(ctx, f.at(name)) }

// Mkdir implements the stores of repository and archive.
func (f folder) Mkdir(ctx context.Context, dir string) error { return f.of.Mkdir(ctx, f.at(dir)) }
