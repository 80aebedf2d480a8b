package sshpolicy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// sshProcess is one run of the ssh program.
type sshProcess struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	log    *sshLog
	exited chan struct{}

	mu      sync.Mutex // guards stopped
	stopped bool
}

// startSSH runs the program. Its own words are read along; stop ends it and
// waits.
func startSSH(c *command, args []string) (*sshProcess, error) {
	cmd := exec.Command(c.program, args...)
	cmd.Env = cleanEnvironment()
	cmd.Dir = c.dir
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", c.program, err)
	}
	out, outEnd, err := os.Pipe() // ours, so that the end of the program does not take unread answers away
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run %s: %w", c.program, err), in.Close())
	}
	words, wordsEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run %s: %w", c.program, err), in.Close(), out.Close(), outEnd.Close())
	}
	cmd.Stdout, cmd.Stderr = outEnd, wordsEnd
	err = cmd.Start()
	if ends := errors.Join(outEnd.Close(), wordsEnd.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("run %s: %w", c.program, err), ends, in.Close(), out.Close(), words.Close())
	}
	p := &sshProcess{cmd: cmd, in: in, out: out, log: newSSHLog(), exited: make(chan struct{})}
	go func() { // ends with the program, which stop waits for
		p.log.read(words)
		_ = words.Close()
		_ = cmd.Wait() // what it said tells more than its status
		close(p.exited)
	}()
	return p, nil
}

// settled waits until the program has logged in or ended.
func (p *sshProcess) settled(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, os.ErrDeadlineExceeded)
	defer cancel()
	select {
	case <-p.log.in:
	case <-p.exited:
	case <-ctx.Done():
		p.stop()
		return context.Cause(ctx)
	}
	return nil
}

// wanted claims that nobody has stopped it.
func (p *sshProcess) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.stopped
}

// stop ends the program and waits for it.
func (p *sshProcess) stop() {
	p.mu.Lock()
	first := !p.stopped
	p.stopped = true
	p.mu.Unlock()
	if first {
		_ = p.in.Close()
		_ = p.cmd.Process.Kill() // an error means that it has ended
	}
	<-p.exited
	if first {
		_ = p.out.Close()
	}
}

// sshLog reads what "ssh -v" says. What matters of it is said before the server
// can put words of its own there, and the first of its kind counts.
type sshLog struct {
	in   chan struct{} // closed when logged in
	said *boundedText  // everything that is no debugging output

	mu     sync.Mutex // guards the fields below
	n      Negotiated
	ok     bool
	method string
	offers []string
	tried  []string
	kexed  bool // keys were exchanged
	rigid  bool // strict key exchange
	last   string
}

func newSSHLog() *sshLog { return &sshLog{in: make(chan struct{}), said: &boundedText{}} }

func (l *sshLog) read(r io.Reader) {
	in := bufio.NewReaderSize(r, 16<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			l.line(strings.TrimRight(string(line), "\r\n"))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (l *sshLog) line(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	debug, isDebug := strings.CutPrefix(line, "debug1: ")
	if !isDebug {
		if method, ok := strings.CutPrefix(line, "Authenticated to "); ok && !l.ok {
			l.ok = true
			if _, m, ok := strings.Cut(method, ` using "`); ok {
				l.method, _, _ = strings.Cut(m, `"`)
			}
			close(l.in)
			return
		}
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "OpenSSH_") && !strings.HasPrefix(line, "Warning: Permanently added") {
			l.last = line
			_, _ = l.said.Write([]byte(line + "\n")) // never fails
		}
		return
	}
	first := func(prefix string, into *string) {
		if value, ok := strings.CutPrefix(debug, prefix); ok && *into == "" {
			*into = value
		}
	}
	first("kex: algorithm: ", &l.n.KEX)
	first("kex: host key algorithm: ", &l.n.HostKey)
	direction := func(prefix string, cipher, mac *string) {
		if value, ok := strings.CutPrefix(debug, prefix); ok && *cipher == "" {
			*cipher, value, _ = strings.Cut(value, " MAC: ")
			if *mac, _, _ = strings.Cut(value, " "); *mac == "<implicit>" {
				*mac = ""
			}
		}
	}
	direction("kex: client->server cipher: ", &l.n.CipherC2S, &l.n.MACC2S)
	direction("kex: server->client cipher: ", &l.n.CipherS2C, &l.n.MACS2C)
	if value, ok := strings.CutPrefix(debug, "Authentications that can continue: "); ok {
		l.offers = strings.Split(value, ",")
	}
	if method, ok := strings.CutPrefix(debug, "Next authentication method: "); ok && !slices.Contains(l.tried, method) {
		l.tried = append(l.tried, method)
	}
	l.kexed = l.kexed || strings.HasPrefix(debug, "SSH2_MSG_SERVICE_ACCEPT received")
	l.rigid = l.rigid || strings.Contains(debug, "will use strict KEX ordering")
}

func (l *sshLog) negotiated() Negotiated {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *sshLog) authenticated() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ok
}

func (l *sshLog) strict() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rigid
}

func (l *sshLog) offered() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.offers)
}

func (l *sshLog) lastWords() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return printable(l.last, 512)
}

// words is the server's and the program's text, as it grows.
func (l *sshLog) words() *boundedText { return l.said }

// auth is the outcome of the login.
func (l *sshLog) auth(user string) AuthOutcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return AuthOutcome{User: user, OK: l.ok, Method: l.method, Offered: orEmpty(slices.Clone(l.offers)), Tried: orEmpty(slices.Clone(l.tried)), Message: l.said.String()}
}

// disconnected finds the server's reason: "Received disconnect from ADDRESS port N:2: TEXT".
var disconnected = regexp.MustCompile(`Received disconnect from \S+ port \d+:\d+: (.*)`)

// failure turns the words of a program that did not log in into an error of
// this package. They are the program's only answer; the texts are those of
// OpenSSH 7 to 10.
func (l *sshLog) failure(ctx context.Context, addr, user string, began time.Time) error {
	n, words, last := l.negotiated(), l.said.String(), l.lastWords()
	l.mu.Lock()
	kexed := l.kexed
	l.mu.Unlock()
	has := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(words, s) })
	}
	cause := errors.New(last)
	switch {
	case closedOrLimited(words) == NotSSHRateLimited:
		return &NotSSHError{Kind: NotSSHRateLimited, Why: words}
	case has("Permission denied (", "Too many authentication failures"):
		return &AuthError{Kind: AuthPublicKey, Outcome: l.auth(user), Err: cause}
	case has("Host key verification failed"):
		return fmt.Errorf("the host key changed between the look and the login: %w", cause)
	case kexed:
		return connError(ctx, "login", addr, began, fmt.Errorf("%s: %w", last, io.EOF))
	case n.KEX != "":
		e := &CryptoError{Kind: CryptoLibrary, Step: "reply", Negotiated: n, GroupBits: groupBits(n.KEX), Err: cause}
		if has("incorrect signature") {
			e.Kind, e.Step = CryptoBadSignature, "signature"
		}
		if m := disconnected.FindStringSubmatch(words); m != nil {
			e.Server = m[1]
		}
		return e
	case has("Connection closed", "Connection reset", "kex_exchange_identification"):
		return &NotSSHError{Kind: NotSSHClosed, Why: last}
	}
	return &TransportError{Transport: OpenSSH, Why: last}
}
