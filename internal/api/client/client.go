// Package client talks to the agent over its unix socket. The command line and
// every other program of ours uses it; nothing else does. It only carries:
// what answers mean for people is the command line's business.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"allclear/internal/wire"
)

// ErrUnreachable says that no agent answers behind the socket; the error that
// wraps it says why.
var ErrUnreachable = errors.New("the agent cannot be reached")

// Error is the agent's refusal.
type Error struct {
	Status  int    // of HTTP
	Code    string // stable, kebab-case
	Message string
	Hint    string // what the caller can do; may be empty
}

func (e *Error) Error() string { return e.Message }

// IsCode claims that err is the agent's refusal of that code, such as
// "no-such-fault".
func IsCode(err error, code string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}

// Client talks to the agent behind one socket. It is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client of the agent behind the socket. It does not connect yet.
func New(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 2,
		DisableCompression:  true,
	}}}
}

// Socket is the path of the agent's socket.
func (c *Client) Socket() string { return c.socket }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// maxAnswer bounds an answer that is read whole, in bytes: a listing of 1000
// faults with all their evidence is below 16 MiB.
const maxAnswer = 64 << 20

// call sends in as JSON, nil for nothing, and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.open(ctx, method, path, in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("the answer to %s %s is longer than %d bytes", method, path, maxAnswer)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("understand the answer to %s %s: %w", method, path, err)
	}
	return nil
}

// open sends a request and returns a good answer; the caller closes its body.
func (c *Client) open(ctx context.Context, method, path string, in any, header http.Header) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write the request %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make the request %s %s: %w", method, path, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// unreachable tells of the socket and the errno; the URL means nothing to
// people.
func (c *Client) unreachable(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		err = op.Err
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.socket, err)
}

func refused(status int, e wire.Error) *Error {
	return &Error{Status: status, Code: e.Code, Message: e.Message, Hint: e.Hint}
}

func refusal(resp *http.Response) error {
	var reply wire.ErrorReply
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the agent's refusal (%s): %w", resp.Status, err)
	}
	if json.Unmarshal(b, &reply) != nil || reply.Error.Code == "" {
		return fmt.Errorf("something else than an agent answers: %s, %.80q", resp.Status, strings.TrimSpace(string(b)))
	}
	return refused(resp.StatusCode, reply.Error)
}
