// Package watch looks at every external endpoint, whoever uses it: SSH servers
// against an algorithm policy, TLS and HTTP endpoints step by step, and the
// certificate files of other programs. It owns the codes ssh/*, connectivity/*
// and certificate/*.
//
// How a server is asked is the matter of packages sshpolicy and netdiag; what
// their answers mean for which fault is decided here and nowhere else. Key
// servers are not watched here: package keyserver validates those.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/sshpolicy"
)

const day = 24 * time.Hour

// Options are what to watch. Everything in it has been checked: names are
// unique in their kind, policies are valid.
type Options struct {
	SSH          []SSH
	TLS          []TLS
	Certificates []Certificate
	// KnownHosts remembers host keys that were trusted at first sight, and the
	// types of pinned keys.
	KnownHosts *sshpolicy.Store
	// Policies are the configuration's own, by name, for preflight. The built-in
	// ones and those of the items are known without it.
	Policies map[string]sshpolicy.Policy
	// Guards count refused logins together with whoever else logs in at these
	// servers; nil: the watch alone does.
	Guards *sshpolicy.Guards
	Log    *slog.Logger // nil: say nothing
}

// SSH is a server to look at.
type SSH struct {
	Name    string // the resource
	Address string // host:port
	Policy  sshpolicy.Policy
	Every   time.Duration
	Timeout time.Duration // of one connection
	Pins    []sshpolicy.Pin
	// TrustFirst takes the first key seen for right; status says so for ever.
	TrustFirst bool
	// Login reads the credential at the moment of use; nil: never authenticate.
	Login func() (sshpolicy.Login, error)
	// Version changes when the login does; what else is here is seen without it.
	Version string
	// Dial replaces net.Dialer; nil: the system's way to the server.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// TLS is an endpoint to look at.
type TLS struct {
	Name    string // the resource
	Every   time.Duration
	Timeout time.Duration
	Address string // as configured, for messages
	// Target reads the credentials at the moment of use.
	Target  func() (netdiag.Target, error)
	Version string // changes when the configuration of the endpoint does
}

// Certificate is a certificate file to look at.
type Certificate struct {
	Name           string // the resource
	Path           string
	KeyPath        string // "": the key is not compared
	RootsPath      string // "": trust is not judged
	Names          []string
	Warning, Major time.Duration // time left
	Every          time.Duration
}

// Watch is the subsystem. It is safe for concurrent use.
type Watch struct {
	mu   sync.Mutex // guards the fields below
	opts Options
	seen map[string]sighting // the newest offer of each SSH server, by name

	reported chan reported
}

// sighting is an offer and when it was read.
type sighting struct {
	at     time.Time
	result sshpolicy.Result
}

// New returns a watch over what opts name.
func New(opts Options) *Watch {
	if opts.Guards == nil {
		opts.Guards = sshpolicy.NewGuards()
	}
	return &Watch{opts: opts, seen: map[string]sighting{}, reported: make(chan reported, maxReported)}
}

// Configure replaces what is watched. What is known of things that are gone is
// forgotten.
func (w *Watch) Configure(opts Options) {
	kept := map[string]bool{}
	for _, item := range opts.SSH {
		kept[item.Name] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if opts.Guards == nil {
		opts.Guards = w.opts.Guards
	}
	w.opts = opts
	maps.DeleteFunc(w.seen, func(name string, _ sighting) bool { return !kept[name] })
	w.opts.Guards.Keep(kept)
}

// remember keeps the newest offer of a server for preflight.
func (w *Watch) remember(r *sshpolicy.Result) {
	if r.Offer == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[r.Target] = sighting{at: time.Now(), result: *r}
}

// sighted returns the newest offer read at the item's address.
func (w *Watch) sighted(item *SSH) (sighting, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.seen[item.Name]
	return s, ok && s.result.Address == item.Address
}

func (w *Watch) warn(message, server string, err error) {
	if log := w.options().Log; log != nil {
		log.Warn(message, slog.String("server", server), slog.Any("error", err))
	}
}

func (w *Watch) guards() *sshpolicy.Guards { return w.options().Guards }

func (w *Watch) options() Options {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opts
}

// Name implements subsystem.Subsystem.
func (w *Watch) Name() string { return "watch" }

// Faults implements subsystem.Subsystem.
func (w *Watch) Faults() []fault.Entry { return Faults() }

// Faults are the catalogue entries of this package.
func Faults() []fault.Entry {
	var all []fault.Entry
	all = append(all, sshFaults()...)
	all = append(all, connectivityFaults()...)
	return append(all, certificateFaults()...)
}

// Checks implements subsystem.Subsystem.
func (w *Watch) Checks() []check.Check {
	opts := w.options()
	var all []check.Check
	for _, item := range opts.SSH {
		all = append(all, w.sshCheck(item, opts.KnownHosts))
	}
	for _, item := range opts.TLS {
		all = append(all, tlsCheck(item))
	}
	for _, item := range opts.Certificates {
		all = append(all, certificateCheck(item))
	}
	return all
}

// Describe implements subsystem.Describer.
func (w *Watch) Describe() (string, bool) {
	opts := w.options()
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(len(opts.SSH), "SSH server", "SSH servers")
	add(len(opts.TLS), "TLS or HTTP endpoint", "TLS or HTTP endpoints")
	add(len(opts.Certificates), "certificate file", "certificate files")
	if len(parts) == 0 {
		return "no SSH server, TLS endpoint or certificate is configured", false
	}
	return strings.Join(parts, ", "), true
}

// remedies turns the steps that a look found into those of a fault.
func remedies[T any](steps []T, turn func(T) fault.Remedy) []fault.Remedy {
	all := make([]fault.Remedy, 0, len(steps))
	for _, s := range steps {
		r := turn(s)
		if r.Impact == "" {
			r.Impact = "none beyond the step itself"
		}
		all = append(all, r)
	}
	return all
}
