package sshpolicy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrKeepAlive: the server said nothing for three keep-alive periods.
var ErrKeepAlive = errors.New("the server no longer answers (keepalive@openssh.com)")

// ErrClosed: the session was closed on our side.
var ErrClosed = errors.New("the session is closed")

// StallError: an operation on files made no progress, and the session was ended
// for it: the protocol has no other way to take a request back.
type StallError struct {
	After time.Duration
}

func (e *StallError) Error() string { return fmt.Sprintf("no progress for %s", e.After) }

// Session is a login under a policy. It is safe for concurrent use. It ends by
// Close, by the server's doing, by silence or by a stall; Err says which.
type Session struct {
	result  Result
	options DialOptions
	opener  opener
	sent    atomic.Int64 // bytes of file data
	got     atomic.Int64

	done chan struct{} // closed when the session has ended
	wg   sync.WaitGroup

	mu  sync.Mutex // guards err
	err error      // why it ended; set before done is closed
}

// opener makes channels to the server. Go's has one connection for all of them,
// OpenSSH's has one process for the one it makes.
type opener interface {
	// open starts a subsystem ("sftp") or, with subsystem false, a command.
	open(ctx context.Context, name string, subsystem bool) (*channel, error)
	// close ends every channel at once. It may be called again.
	close()
	// wait returns when the connection is gone, with what ended it.
	wait() error
}

// channel is a program at the server with its three streams.
type channel struct {
	in  io.WriteCloser // to the program
	out io.Reader
	err *boundedText
	// ended waits for the program and answers how it ended; nil is success.
	ended func() error
	close func()
}

func newSession(client *ssh.Client, line *lifeline, r Result, o DialOptions) *Session {
	s := &Session{result: r, options: o, done: make(chan struct{})}
	s.opener = &goOpener{client: client, wg: &s.wg}
	s.wg.Go(s.waitForEnd)
	s.wg.Go(func() { s.keepAlive(client, line) })
	s.wg.Go(line.batch)
	return s
}

func (s *Session) waitForEnd() { s.end(s.opener.wait()) }

// Result is what the dialling found.
func (s *Session) Result() Result { return s.result }

// Negotiated are the algorithms in use.
func (s *Session) Negotiated() Negotiated {
	if s.result.Handshake == nil {
		return Negotiated{}
	}
	return s.result.Handshake.Negotiated
}

// Transport is what carries the session.
func (s *Session) Transport() Transport {
	if s.options.Transport == OpenSSH {
		return OpenSSH
	}
	return Go
}

// Traffic is how many bytes of file content went to the server and came from
// it, so far.
func (s *Session) Traffic() (sent, received int64) { return s.sent.Load(), s.got.Load() }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is nil while the session lives, and afterwards why it ended.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session and every operation under way, and waits.
func (s *Session) Close() error {
	s.end(ErrClosed)
	s.wg.Wait()
	return nil
}

// end ends the session; the first cause stands.
func (s *Session) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	if cause == nil || errors.Is(cause, io.EOF) {
		cause = errors.New("the server closed the connection")
	}
	s.err = cause
	s.opener.close()
	close(s.done)
}

// keepAlive asks a silent server whether it is there. One question is under way
// at a time; whatever the server sends counts as an answer.
func (s *Session) keepAlive(client *ssh.Client, line *lifeline) {
	every := s.options.KeepAlive
	tick := time.NewTicker(every)
	defer tick.Stop()
	var asking atomic.Bool
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		switch silence := line.silence(); {
		case silence > 3*every:
			s.end(fmt.Errorf("%w for %s", ErrKeepAlive, silence.Round(time.Second)))
			return
		case silence >= every/2 && asking.CompareAndSwap(false, true):
			s.wg.Go(func() { // ends with the answer or with the connection
				defer asking.Store(false)
				// A refusal is an answer too, and an error ends the session by itself.
				_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil)
			})
		}
	}
}

// goOpener opens channels on one connection.
type goOpener struct {
	client *ssh.Client
	wg     *sync.WaitGroup // of the session
}

func (g *goOpener) close() { g.client.Close() }

func (g *goOpener) wait() error { return g.client.Wait() }

// refusedRetry is how long a refused channel is asked for again: a server with
// MaxSessions 1 needs a moment to take note that the one before has ended.
const refusedRetry = 2 * time.Second

// lostChannels is how many channels in a row may end before the server has
// answered what was asked of them. Dropbear does so now and then when the channel
// before was closed while its program still ran; the command was not begun.
const lostChannels = 3

func (g *goOpener) open(ctx context.Context, name string, subsystem bool) (c *channel, err error) {
	for range lostChannels {
		if c, err = g.openOnce(ctx, name, subsystem); !errors.Is(err, io.EOF) || ctx.Err() != nil {
			break
		}
	}
	return c, err
}

func (g *goOpener) openOnce(ctx context.Context, name string, subsystem bool) (*channel, error) {
	session, err := g.session(ctx)
	if err != nil {
		return nil, err
	}
	c := &channel{err: &boundedText{}, close: func() { session.Close() }}
	var words io.Reader
	if c.in, err = session.StdinPipe(); err == nil {
		c.out, err = session.StdoutPipe()
	}
	if err == nil {
		words, err = session.StderrPipe()
	}
	switch {
	case err != nil:
	case subsystem:
		err = session.RequestSubsystem(name)
	default:
		err = session.Start(name)
	}
	if err != nil {
		session.Close()
		return nil, err
	}
	heard := make(chan struct{})
	g.wg.Go(func() { // ends with the channel
		defer close(heard)
		_, _ = io.Copy(c.err, words) // what could be read is kept
	})
	c.ended = func() error {
		<-heard
		if subsystem { // the library has not started it, so it does not know
			return nil
		}
		return session.Wait()
	}
	return c, nil
}

func (g *goOpener) session(ctx context.Context) (*ssh.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, refusedRetry)
	defer cancel()
	for {
		session, err := g.client.NewSession()
		if _, refused := errors.AsType[*ssh.OpenChannelError](err); !refused {
			return session, err
		}
		wait := time.NewTimer(50 * time.Millisecond)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, fmt.Errorf("the server refuses another channel on this connection (MaxSessions): %w", err)
		}
	}
}

// boundedText keeps the first words of a program's error output. It is safe for
// concurrent use.
type boundedText struct {
	mu   sync.Mutex // guards text
	text []byte
}

const maxErrorText = 4 << 10

// Write implements io.Writer and never fails.
func (b *boundedText) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := maxErrorText - len(b.text); room > 0 {
		b.text = append(b.text, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String is the text in one printable line.
func (b *boundedText) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return printable(strings.Join(strings.Fields(string(b.text)), " "), 512)
}
