package kmip

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"allclear/kmip/ttlv"
)

// Options of a client; the zero value is good.
type Options struct {
	Versions    []Version     // to speak, best first; none: 1.4, 1.3, 2.1, 2.0
	Timeout     time.Duration // of one exchange, and of making a connection; 0: 10 s
	MaxResponse int           // bytes; 0: ttlv.MaxSize, which is also the most

	// Redial makes another connection when one broke. [Dial] sets it; without it a
	// client is at its end when its connection breaks.
	Redial func(ctx context.Context) (net.Conn, error)
}

// Client talks to one key server over one connection. Its methods may be called by
// many at once; one exchange runs at a time. A broken connection is made anew by the
// next call; what only reads is asked once more when a connection that had lain idle turns
// out to be closed, what changes something never is.
type Client struct {
	addr string
	o    Options
	turn chan struct{} // held during an exchange; guards what follows

	conn   net.Conn // nil: broken or closed
	used   bool     // conn has brought an answer
	closed bool
	e      enc
	d      decoders
	header [8]byte

	mu      sync.Mutex // guards what follows
	version Version
	offset  time.Duration
	told    bool // offset is known
}

// Dial connects to the server at addr, host:port, with TLS and finds a version that both
// speak. The error is a *TransportError, *VersionError, *ProtocolError or *Error.
func Dial(ctx context.Context, addr string, c *tls.Config, o Options) (*Client, error) {
	if c == nil {
		return nil, &TransportError{Addr: addr, Err: errors.New("no TLS configuration: KMIP is never spoken in the clear")}
	}
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: c}
	o.Redial = func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("no TLS connection within %s", o.Timeout))
		defer cancel()
		return d.DialContext(ctx, "tcp", addr)
	}
	conn, err := o.Redial(ctx)
	if err != nil {
		return nil, &TransportError{Addr: addr, Err: err}
	}
	cl := NewClient(conn, o)
	cl.addr = addr
	if _, err := cl.Negotiate(ctx); err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// NewClient makes a client of a connection, which it owns. It speaks the first of the
// versions until Negotiate finds another.
func NewClient(conn net.Conn, o Options) *Client {
	if len(o.Versions) == 0 {
		o.Versions = []Version{V1_4, V1_3, V2_1, V2_0}
	}
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	c := &Client{o: o, turn: make(chan struct{}, 1), conn: conn, version: o.Versions[0], addr: "?"}
	if a := conn.RemoteAddr(); a != nil {
		c.addr = a.String()
	}
	return c
}

// Close ends the connection, after the exchange that is running, if any.
func (c *Client) Close() error {
	c.turn <- struct{}{}
	defer c.leave()
	c.closed = true
	c.e.Reset()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

func (c *Client) enter(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Client) leave() { <-c.turn }

// Version is the version that is spoken.
func (c *Client) Version() Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// ClockOffset is how far the server's clock was ahead of ours at the last answer. The server
// tells whole seconds, so it is exact to a second. The bool is false before the first answer.
func (c *Client) ClockOffset() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset, c.told
}

// Do asks for one or several operations in one message and answers their results in the same
// order. An operation that failed is an item with a Failure, not an error of Do; the error is a
// *TransportError or *ProtocolError, or an *Error when the server refused the whole message.
// Nothing is ever asked twice.
func (c *Client) Do(ctx context.Context, ops ...Payload) ([]ResponseItem, error) {
	if len(ops) == 0 || len(ops) > MaxBatch {
		return nil, fmt.Errorf("a message has 1 to %d operations, not %d", MaxBatch, len(ops))
	}
	if err := c.enter(ctx); err != nil {
		return nil, &TransportError{Op: ops[0].Operation(), Addr: c.addr, Err: err}
	}
	defer c.leave()
	return c.exchange(ctx, c.Version(), ops)
}

// one asks for one operation. It holds for reading operations that are asked once more.
func (c *Client) one(ctx context.Context, op Payload) (Payload, error) {
	if err := c.enter(ctx); err != nil {
		return nil, &TransportError{Op: op.Operation(), Addr: c.addr, Err: err}
	}
	defer c.leave()
	idle, v := c.used, c.Version()
	items, err := c.exchange(ctx, v, []Payload{op})
	te, broke := errors.AsType[*TransportError](err)
	if broke && idle && !te.Timeout() && ctx.Err() == nil && reads(op.Operation()) && c.o.Redial != nil {
		items, err = c.exchange(ctx, v, []Payload{op})
	}
	if err != nil {
		return nil, err
	}
	if err := items[0].Failure(v); err != nil {
		err.Op = op.Operation()
		return nil, err
	}
	return items[0].Payload, nil
}

// reads tells whether an operation changes nothing on the server.
func reads(op Operation) bool {
	switch op {
	case OperationGet, OperationLocate, OperationQuery, OperationDiscoverVersions, OperationCheck,
		OperationGetAttributes, OperationGetAttributeList:
		return true
	}
	return false
}

// Failure is what an operation failed with, nil when it succeeded; v is the version of the message.
func (it *ResponseItem) Failure(v Version) *Error {
	if it.Status == ResultStatusSuccess {
		return nil
	}
	return &Error{Op: it.Operation, Status: it.Status, Reason: it.Reason, Message: printable(it.Message), Version: v}
}

// exchange sends one message and reads its answer. The caller has the turn. After any error but
// a refusal the connection is closed.
func (c *Client) exchange(ctx context.Context, v Version, ops []Payload) ([]ResponseItem, error) {
	op := ops[0].Operation()
	c.encode(v, ops)
	if n := c.e.Len(); n > ttlv.MaxSize {
		return nil, fmt.Errorf("%s: request of %d bytes, at most %d", op, n, ttlv.MaxSize)
	}
	if err := c.connect(ctx); err != nil {
		return nil, &TransportError{Op: op, Addr: c.addr, Err: err}
	}
	b, err := c.roundTrip(ctx, op)
	if err != nil {
		c.drop()
		return nil, err
	}
	var r Response
	err = r.decode(b, &c.d)
	c.d.reset()
	if err != nil {
		c.drop()
		return nil, &ProtocolError{op, "the answer cannot be read", err}
	}
	items, err := validate(v, ops, &r)
	if err != nil {
		if _, refused := errors.AsType[*Error](err); !refused {
			c.drop()
		}
		return nil, err
	}
	return items, nil
}

// connect makes a connection when there is none.
func (c *Client) connect(ctx context.Context) error {
	if c.closed {
		return net.ErrClosed
	}
	if c.conn != nil {
		return nil
	}
	if c.o.Redial == nil {
		return fmt.Errorf("the connection broke before: %w", net.ErrClosed)
	}
	conn, err := c.o.Redial(ctx)
	if err != nil {
		return err
	}
	c.conn, c.used = conn, false
	return nil
}

func (c *Client) drop() {
	if c.conn != nil {
		_ = c.conn.Close() // it is of no use any more
	}
	c.conn = nil
}

// roundTrip writes the encoded request and reads the bytes of the answer before the deadline,
// which is that of ctx if it is sooner.
func (c *Client) roundTrip(ctx context.Context, op Operation) ([]byte, error) {
	conn := c.conn
	start := time.Now()
	deadline := start.Add(c.o.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, &TransportError{op, c.addr, false, err}
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer func() {
			if !stop() {
				c.drop() // its deadline may be set in the past at any time from now
			}
		}()
	}
	if n, err := conn.Write(c.e.Bytes()); err != nil {
		return nil, &TransportError{op, c.addr, n > 0, c.cause(ctx, err)}
	}
	b, err := readMessage(conn, &c.header, c.o.MaxResponse)
	if err != nil {
		if _, malformed := errors.AsType[*ttlv.Error](err); malformed {
			return nil, &ProtocolError{op, "the answer cannot be read", err}
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the server closed the connection instead of answering: %w", err)
		}
		return nil, &TransportError{op, c.addr, true, c.cause(ctx, err)}
	}
	c.used = true
	c.clock(b, start, time.Now())
	return b, nil
}

// cause is why reading or writing ended: the end of ctx, if it did that.
func (c *Client) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%v)", context.Cause(ctx), err)
	}
	return err
}

// encode writes the request into the client's buffer. Each operation of several gets an identifier.
func (c *Client) encode(v Version, ops []Payload) {
	e := &c.e
	e.Reset()
	e.v = v
	r := Request{Header: RequestHeader{Version: v}}
	var room [1]RequestItem
	r.Items = room[:0]
	for i, p := range ops {
		it := RequestItem{Payload: p}
		if len(ops) > 1 {
			it.ID = batchID(i)
		}
		r.Items = append(r.Items, it)
	}
	r.encode(e)
}

func batchID(i int) []byte { return []byte{byte(i >> 8), byte(i)} }

// clock takes the server's time from an answer that is not validated yet: a fault there shows later.
func (c *Client) clock(b []byte, start, end time.Time) {
	d := &c.d.message
	d.Reset(b)
	d.Enter(ttlv.TagResponseMessage)
	d.Enter(ttlv.TagResponseHeader)
	d.version()
	at := d.optTime(ttlv.TagTimeStamp)
	if d.Err() != nil || at.IsZero() {
		return
	}
	// The server tells the whole second that its clock was in: half of one later is the best guess.
	middle := start.Add(end.Sub(start) / 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.told = at.Add(time.Second/2).Sub(middle), true
}

// validate tells whether r may be the answer to the operations.
func validate(v Version, ops []Payload, r *Response) ([]ResponseItem, error) {
	op := ops[0].Operation()
	wrong := func(format string, args ...any) ([]ResponseItem, error) {
		return nil, &ProtocolError{Op: op, Reason: fmt.Sprintf(format, args...)}
	}
	// A server that cannot read a message answers one failure, without an operation, in a version of its own.
	if len(r.Items) == 1 && r.Items[0].Status == ResultStatusOperationFailed &&
		(r.Header.Version != v || r.Items[0].Operation == 0 && len(ops) > 1) {
		err := r.Items[0].Failure(r.Header.Version)
		err.Op = op
		return nil, err
	}
	if r.Header.Version != v {
		return wrong("asked in KMIP %s, answered in %s", v, r.Header.Version)
	}
	if len(r.Items) != len(ops) {
		return wrong("%d operations asked, %d answered", len(ops), len(r.Items))
	}
	for i := range r.Items {
		it := &r.Items[i]
		if len(ops) > 1 && !slices.Equal(it.ID, batchID(i)) {
			return wrong("answer %d does not have the identifier of its operation", i+1)
		}
		if err := validateItem(ops[i], it); err != nil {
			return nil, err
		}
	}
	return r.Items, nil
}

func validateItem(asked Payload, it *ResponseItem) error {
	op := asked.Operation()
	wrong := func(format string, args ...any) error {
		return &ProtocolError{Op: op, Reason: fmt.Sprintf(format, args...), Err: it.Err}
	}
	switch {
	case it.Operation != op && !(it.Operation == 0 && it.Status == ResultStatusOperationFailed):
		if it.Operation == 0 {
			return wrong("the answer names no operation")
		}
		return wrong("answered is %s", it.Operation)
	case it.Status == ResultStatusOperationFailed:
		return nil
	case it.Status != ResultStatusSuccess:
		return wrong("the result status is %s, which was not asked for", it.Status)
	case it.Err != nil:
		return wrong("the payload of the answer cannot be read")
	case it.Payload == nil:
		return wrong("the answer has no payload")
	}
	want, got := subject(asked), subject(it.Payload)
	if want != "" && got != "" && want != got {
		return wrong("asked about object %.64q, answered about %.64q", want, got)
	}
	return nil
}
