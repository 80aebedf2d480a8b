// Package lab holds small real servers with switches: TLS and HTTP, a CONNECT
// proxy, DNS, a TCP fault proxy and SSH. Drills break and repair them, tests
// look at them. Every lab is private: it listens on 127.0.0.1 port 0, its
// credentials are made for the run, its files live in a directory of its own,
// and all of it is gone when the lab closes.
//
// What does not live here: checks, verdicts and faults. A lab never says what
// is wrong with it; finding out is the work of the code that is tested.
package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Lab is one private run. It is safe for concurrent use.
type Lab struct {
	run  string
	dir  string
	ca   *CA
	done chan struct{}
	once sync.Once
	err  error // what Close found; written before closed is closed

	closed    chan struct{}
	stopWatch func() bool

	mu      sync.Mutex // guards the fields below
	closers []func() error
	closing bool
}

// New makes a lab with its own directory below parentDir (the system's
// temporary directory when empty) and its own certificate authority. The end
// of ctx closes it.
func New(ctx context.Context, parentDir string) (*Lab, error) {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("draw a run id: %w", err)
	}
	dir, err := os.MkdirTemp(parentDir, "lab-")
	if err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	l := &Lab{
		run:    hex.EncodeToString(id[:]),
		dir:    dir,
		done:   make(chan struct{}),
		closed: make(chan struct{}),
	}
	if l.ca, err = newCA("allclear lab " + l.run); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l.stopWatch = context.AfterFunc(ctx, func() { l.shutdown() })
	return l, nil
}

// Run names this run; resources of drills are named drill/<run>/...
func (l *Lab) Run() string { return l.run }

// Resource is the name of a drill's resource in this run: drill/<run>/<name>.
func (l *Lab) Resource(name string) string { return "drill/" + l.run + "/" + name }

// Dir is the lab's own directory, mode 0700, removed by Close.
func (l *Lab) Dir() string { return l.dir }

// Done is closed when Close begins.
func (l *Lab) Done() <-chan struct{} { return l.done }

// CA is the certificate authority made for this run.
func (l *Lab) CA() *CA { return l.ca }

// Issue makes a certificate and key signed by the run's authority.
func (l *Lab) Issue(o CertOptions) (*Pair, error) { return l.ca.Issue(o) }

// NewCA makes another authority that nothing trusts by itself.
func (l *Lab) NewCA(name string) (*CA, error) { return newCA(name) }

// WriteFile stores data under name in the lab's directory, mode 0600, and
// returns its path. An existing file of that name is replaced. The name may
// not leave the directory.
func (l *Lab) WriteFile(name string, data []byte) (string, error) {
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return "", fmt.Errorf("open the lab's directory: %w", err)
	}
	err = root.WriteFile(name, data, 0o600)
	if err = errors.Join(err, root.Close()); err != nil {
		return "", fmt.Errorf("write lab file %s: %w", name, err)
	}
	return filepath.Join(l.dir, name), nil
}

// OnClose registers f to be run by Close, the latest first. f must stop what
// it stands for and wait for its goroutines. On a lab that is already closing
// f runs at once.
func (l *Lab) OnClose(f func() error) {
	l.mu.Lock()
	closing := l.closing
	if !closing {
		l.closers = append(l.closers, f)
	}
	l.mu.Unlock()
	if closing {
		_ = f() // the lab is gone; there is nobody left to tell
	}
}

// Close stops every server, waits for their goroutines and removes the lab's
// directory. It may be called more than once; each call returns when the lab
// is gone.
func (l *Lab) Close() error {
	l.stopWatch()
	l.shutdown()
	<-l.closed
	return l.err
}

// shutdown runs the closers once, whoever comes first.
func (l *Lab) shutdown() {
	l.once.Do(func() {
		close(l.done)
		l.mu.Lock()
		l.closing = true
		closers := l.closers
		l.closers = nil
		l.mu.Unlock()
		var errs []error
		for _, f := range slices.Backward(closers) {
			errs = append(errs, f())
		}
		errs = append(errs, os.RemoveAll(l.dir))
		l.err = errors.Join(errs...)
		close(l.closed)
	})
}
