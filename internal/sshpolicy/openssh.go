package sshpolicy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// The OpenSSH transport: the host's ssh program carries SFTP. It is for what
// the library cannot do, is chosen for each target, takes keys only, and never
// replaces the built-in transport by itself or the other way round.

// command is how the program is run for one server.
type command struct {
	program    string
	host, port string
	user       string
	keyFile    string
	knownHosts string
	dir        string // of our files, removed at the end
	part       Policy // what may be used: the policy's part that the program can do
	o          DialOptions
}

func dialOpenSSH(ctx context.Context, t Target, o DialOptions) (*Session, Result, error) {
	began := time.Now()
	r := newResult(t, o.Policy)
	r.LoginWanted = true
	c, err := newCommand(ctx, t, o)
	var p *sshProcess
	if err == nil {
		if p, err = c.dial(ctx, &r); err != nil {
			c.remove()
		}
	}
	r.settle(err, began, o.Policy)
	if err != nil {
		return nil, r, r.Err
	}
	s := &Session{result: r, options: o, done: make(chan struct{})}
	s.opener = newProcesses(c, p, &s.wg)
	s.wg.Go(s.waitForEnd)
	return s, r, nil
}

// newCommand checks everything that becomes part of the command line, and asks
// the program what it can do.
func newCommand(ctx context.Context, t Target, o DialOptions) (*command, error) {
	host, port, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", printable(t.Addr, 120), err)
	}
	c := &command{program: o.Program, host: host, port: port, user: o.Login.User, keyFile: o.KeyFile, o: o}
	for what, word := range map[string]string{"host": host, "user": c.user} {
		if err := safeWord(what, word); err != nil {
			return nil, err
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("target %q: port %q is not between 1 and 65535", printable(t.Addr, 120), printable(port, 20))
	}
	if c.program == "" {
		if c.program, err = exec.LookPath("ssh"); err != nil {
			return nil, fmt.Errorf("the openssh transport needs the ssh program: %w", err)
		}
	}
	if c.part, err = c.can(ctx); err != nil {
		return nil, err
	}
	dir := o.Dir
	if dir != "" { // ssh runs in another folder
		if dir, err = filepath.Abs(dir); err != nil || !plainPath(dir) {
			dir = ""
		}
	}
	if c.dir, err = os.MkdirTemp(dir, DirPrefix); err != nil {
		return nil, fmt.Errorf("make a folder for the openssh transport: %w", err)
	}
	c.knownHosts = filepath.Join(c.dir, "known_hosts")
	if c.keyFile == "" {
		c.keyFile = filepath.Join(c.dir, "id")
		if err := os.WriteFile(c.keyFile, o.KeyPEM, 0o600); err != nil {
			c.remove()
			return nil, fmt.Errorf("write the key for the openssh transport: %w", err)
		}
	}
	for _, file := range []string{c.knownHosts, c.keyFile} {
		if !plainPath(file) {
			c.remove()
			return nil, fmt.Errorf("the openssh transport cannot use the path %q: ssh would expand it", printable(file, 200))
		}
	}
	return c, nil
}

// DirPrefix begins the names of the folders of the OpenSSH transport. One that
// is there before any session began was left by a process that was killed, and
// may hold a private key.
const DirPrefix = "ssh-"

// plainPath claims that ssh takes a path as it is.
func plainPath(file string) bool {
	return !strings.HasPrefix(file, "-") &&
		!strings.ContainsFunc(file, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`%"'\~$`, r) })
}

// remove takes our files away.
func (c *command) remove() { _ = os.RemoveAll(c.dir) } // a leftover key file is as private as the folder it lies in

// safeWord refuses what could become an option or two words.
func safeWord(what, word string) error {
	if word == "" || strings.HasPrefix(word, "-") || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f || r > 0x7e }) {
		return fmt.Errorf("%s %q begins with - or holds spaces, control bytes or letters beyond ASCII; the openssh transport refuses it", what, printable(word, 120))
	}
	return nil
}

// can is the policy's part that the installed program can do, asked of itself.
func (c *command) can(ctx context.Context) (Policy, error) {
	part, err := c.o.Policy.For(OpenSSH)
	if err != nil {
		return part, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	for _, q := range []struct {
		query    string
		category Category
		list     *[]string
	}{
		{"KexAlgorithms", KEX, &part.KEX},
		{"HostKeyAlgorithms", HostKey, &part.HostKeys},
		{"Ciphers", Cipher, &part.Ciphers},
		{"MACs", MAC, &part.MACs},
	} {
		ask := exec.CommandContext(ctx, c.program, "-Q", q.query)
		ask.Env = cleanEnvironment()
		out, err := ask.Output()
		if err != nil {
			return part, fmt.Errorf("ask %s for its %s: %w", c.program, q.query, err)
		}
		names := strings.Fields(string(out))
		*q.list = slices.DeleteFunc(*q.list, func(name string) bool { return !slices.Contains(names, name) })
		if len(*q.list) == 0 {
			return part, &TransportError{Transport: OpenSSH, Why: fmt.Sprintf("%s can do none of what policy %s allows for %s", c.program, c.o.Policy.Name, q.category)}
		}
	}
	return part, nil
}

func cleanEnvironment() []string { return []string{"PATH=/usr/bin:/bin", "LC_ALL=C"} }

// arguments is the command line of BACKUP transport B: no configuration file,
// no agent, no proxy, no local command, one key, one known_hosts file, and the
// policy's own lists. -v makes the program say what it negotiated, so that it
// can be compared with the policy.
func (c *command) arguments(hostKeys []string, strict string, more ...string) []string {
	alive := max(1, int(c.o.KeepAlive/time.Second))
	args := []string{"-F", "none", "-T", "-v"}
	for _, option := range []string{
		"BatchMode=yes", "StrictHostKeyChecking=" + strict, "UserKnownHostsFile=" + c.knownHosts, "GlobalKnownHostsFile=none",
		"UpdateHostKeys=no", "IdentitiesOnly=yes", "IdentityAgent=none", "ProxyCommand=none", "PermitLocalCommand=no", "ControlMaster=no",
		"HostKeyAlgorithms=" + strings.Join(hostKeys, ","), "KexAlgorithms=" + strings.Join(c.part.KEX, ","),
		"Ciphers=" + strings.Join(c.part.Ciphers, ","), "MACs=" + strings.Join(c.part.MACs, ","),
		"ConnectTimeout=" + strconv.Itoa(max(1, int(c.o.Timeout/time.Second))),
		"ServerAliveInterval=" + strconv.Itoa(alive), "ServerAliveCountMax=3",
	} {
		args = append(args, "-o", option)
	}
	return append(append(args, more...), "-l", c.user, "-p", c.port)
}

// dial looks at the server, writes the known_hosts file from a key that the
// pins confirm, and runs the program until it is logged in.
func (c *command) dial(ctx context.Context, r *Result) (*sshProcess, error) {
	key, err := c.hostKey(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.knownHosts, []byte(knownHostsLine(r.Address, key, "")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the known hosts of the openssh transport: %w", err)
	}
	for {
		began := time.Now()
		r.Connections++
		p, err := c.login(ctx, r, key)
		next, again := r.fallBack(err, c.part.KEX, began)
		if !again {
			return p, err
		}
		c.part.KEX = next
	}
}

// hostKey is the server's key, proved and pinned: by a look of our own, or,
// where the library cannot exchange keys with this server, by the program.
func (c *command) hostKey(ctx context.Context, r *Result) (ssh.PublicKey, error) {
	o := c.o.Options
	o.Login = nil
	p := &prober{Options: o}
	if p.Dial == nil {
		p.Dial = (&net.Dialer{}).DialContext
	}
	var err error
	if p.part, err = o.Policy.For(Go); err != nil {
		p.part, p.OfferOnly = c.part, true
	}
	p.TrustFirst = o.TrustFirst
	*r = p.blank(Target{Name: r.Target, Addr: r.Address})
	r.LoginWanted = true
	_, err = p.look(ctx, r, p.part.KEX)
	if _, died := errors.AsType[*CryptoError](err); err != nil && !died {
		return nil, err
	}
	for again := r.HostKey == nil || err != nil; again; {
		began := time.Now()
		r.Connections++
		err = c.learn(ctx, r, p)
		var next []string
		if next, again = r.fallBack(err, c.part.KEX, began); again {
			c.part.KEX = next
		}
	}
	if err != nil {
		return nil, err
	}
	return r.HostKey.Key, p.judgeHostKey(r)
}

// learn lets the program exchange keys, and shows no credential.
func (c *command) learn(ctx context.Context, r *Result, p *prober) error {
	r.Handshake, r.HostKey = nil, nil
	began := time.Now()
	hostKeys := askFirst(c.part.HostKeys, pinnedTypes(p.Pins, p.TypeHints))
	args := append(c.arguments(hostKeys, "accept-new", "-o", "PreferredAuthentications=none"), "--", c.host, "true")
	proc, err := startSSH(c, args)
	if err != nil {
		return err
	}
	defer proc.stop()
	if err := proc.settled(ctx, c.o.Timeout); err != nil {
		return connError(ctx, "key exchange", r.Address, began, err)
	}
	data, err := os.ReadFile(c.knownHosts)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return proc.log.failure(ctx, r.Address, c.user, began)
	}
	_, _, key, _, _, err := ssh.ParseKnownHosts(data)
	if err != nil {
		return fmt.Errorf("read the host key that ssh has seen: %w", err)
	}
	r.HostKey = serverKey(key, proc.log.negotiated().HostKey, r.Address)
	r.HostKey.Pin = p.pinState(key)
	return nil
}

// login runs the program until it says that it is logged in.
func (c *command) login(ctx context.Context, r *Result, key ssh.PublicKey) (*sshProcess, error) {
	began := time.Now()
	p, err := c.begin(ctx, key)
	if err != nil {
		return nil, err
	}
	err = p.settled(ctx, c.o.Timeout)
	n := p.log.negotiated()
	r.Handshake = &Handshake{Negotiated: n, Done: p.log.authenticated() || len(p.log.offered()) > 0, Strict: p.log.strict()}
	r.Handshake.GroupBits = groupBits(n.KEX)
	switch {
	case err != nil:
		err = connError(ctx, "login", r.Address, began, err)
	case !p.log.authenticated():
		err = p.log.failure(ctx, r.Address, c.user, began)
	default:
		err = (&exchange{policy: c.o.Policy}).outsidePolicy(n)
		if err == nil && n.KEX == "" {
			err = &TransportError{Transport: OpenSSH, Why: "ssh did not say what it negotiated, so it cannot be compared with the policy"}
		}
	}
	if auth := p.log.auth(c.user); len(auth.Offered) > 0 || auth.OK {
		r.Auth = &auth
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// begin starts the program for SFTP, with the host key of this type.
func (c *command) begin(ctx context.Context, key ssh.PublicKey) (*sshProcess, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	hostKeys := slices.DeleteFunc(slices.Clone(c.part.HostKeys), func(a string) bool { return keyTypeOf(a) != key.Type() })
	if len(hostKeys) == 0 {
		return nil, &TransportError{Transport: OpenSSH, Why: fmt.Sprintf("policy %s allows no algorithm for the pinned key of type %s", c.o.Policy.Name, key.Type())}
	}
	return startSSH(c, append(c.arguments(hostKeys, "yes", "-i", c.keyFile), "-s", "--", c.host, "sftp"))
}

// processes opens channels, one process each.
type processes struct {
	c  *command
	wg *sync.WaitGroup // of the session

	mu      sync.Mutex // guards the fields below
	waiting *sshProcess
	all     []*sshProcess
	err     error
	over    bool
	ended   chan struct{}
}

func newProcesses(c *command, first *sshProcess, wg *sync.WaitGroup) *processes {
	ps := &processes{c: c, wg: wg, waiting: first, ended: make(chan struct{})}
	ps.watch(first)
	return ps
}

// watch ends the session when a process ends that nobody has stopped.
func (ps *processes) watch(p *sshProcess) {
	ps.all = append(ps.all, p)
	ps.wg.Go(func() {
		<-p.exited
		if !p.wanted() {
			return
		}
		ps.finish(errors.New(cmp.Or(p.log.lastWords(), "the ssh program ended")))
	})
}

func (ps *processes) finish(err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if !ps.over {
		ps.over, ps.err = true, err
		close(ps.ended)
	}
}

func (ps *processes) wait() error {
	<-ps.ended
	return ps.err
}

func (ps *processes) close() {
	ps.finish(ErrClosed)
	ps.mu.Lock()
	all := ps.all
	ps.mu.Unlock()
	for _, p := range all {
		p.stop()
	}
	ps.c.remove()
}

func (ps *processes) open(ctx context.Context, name string, subsystem bool) (*channel, error) {
	if !subsystem || name != "sftp" {
		return nil, &TransportError{Transport: OpenSSH, Why: "it carries SFTP only"}
	}
	ps.mu.Lock()
	p := ps.waiting
	ps.waiting = nil
	ps.mu.Unlock()
	if p == nil {
		var err error
		if p, err = ps.another(ctx); err != nil {
			return nil, err
		}
	}
	return &channel{in: p.in, out: p.out, err: p.log.words(), close: p.stop, ended: func() error { <-p.exited; return nil }}, nil
}

// another logs in once more, with the key that is known.
func (ps *processes) another(ctx context.Context) (*sshProcess, error) {
	data, err := os.ReadFile(ps.c.knownHosts)
	if err != nil {
		return nil, fmt.Errorf("read the known hosts of the openssh transport: %w", err)
	}
	_, _, key, _, _, err := ssh.ParseKnownHosts(data)
	if err != nil {
		return nil, fmt.Errorf("read the known hosts of the openssh transport: %w", err)
	}
	r := Result{Address: net.JoinHostPort(ps.c.host, ps.c.port)}
	p, err := ps.c.login(ctx, &r, key)
	if err != nil {
		return nil, err
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.over {
		p.stop()
		return nil, ErrClosed
	}
	ps.watch(p)
	return p, nil
}
