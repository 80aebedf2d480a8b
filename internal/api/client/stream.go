package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

const (
	// maxLine bounds one event or line of a stream, in bytes.
	maxLine = 1 << 20
	// retry is how long Events waits before it connects again.
	retry = time.Second
)

// Events yields the events after seq as they happen, and goes on after the
// last one seen when the connection is lost: the agent may restart in between.
// An error while it was never connected, a refusal, and the end of ctx end it.
func (c *Client) Events(ctx context.Context, after uint64, epoch string) iter.Seq2[fault.Event, error] {
	return func(yield func(fault.Event, error) bool) {
		connected := false
		for {
			more, err := c.follow(ctx, &after, epoch, &connected, yield)
			if !more || ctx.Err() != nil {
				return
			}
			if err != nil && (!connected || !errors.Is(err, ErrUnreachable)) {
				yield(fault.Event{}, err)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(retry):
			}
		}
	}
}

// follow reads one connection. more is false when the reader wants no more; a
// connection that was lost is no error.
func (c *Client) follow(ctx context.Context, after *uint64, epoch string, connected *bool, yield func(fault.Event, error) bool) (more bool, err error) {
	path := "/v1/events?" + url.Values{"epoch": {epoch}}.Encode()
	resp, err := c.open(ctx, http.MethodGet, path, nil, http.Header{"Last-Event-Id": {strconv.FormatUint(*after, 10)}})
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	*connected = true
	for ev, err := range sse(resp.Body) {
		if err != nil {
			return true, nil // lost: the caller connects again
		}
		if ev.name == "error" {
			var e wire.Error
			if json.Unmarshal(ev.data, &e) != nil {
				return true, fmt.Errorf("the agent ended the stream: %.200q", ev.data)
			}
			return true, refused(resp.StatusCode, e)
		}
		var e fault.Event
		if err := json.Unmarshal(ev.data, &e); err != nil {
			return true, fmt.Errorf("understand an event: %w", err)
		}
		*after = e.Seq
		if !yield(e, nil) {
			return false, nil
		}
	}
	return true, nil
}

type sseEvent struct {
	name string
	data []byte
}

// sse reads server-sent events (WHATWG HTML, section 9.2), as far as our own
// agent writes them. Comments are skipped.
func sse(r io.Reader) iter.Seq2[sseEvent, error] {
	return func(yield func(sseEvent, error) bool) {
		var ev sseEvent
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, maxLine)
		for sc.Scan() {
			field, value, _ := bytes.Cut(sc.Bytes(), []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch {
			case len(sc.Bytes()) == 0 && ev.data != nil:
				if !yield(ev, nil) {
					return
				}
				ev = sseEvent{}
			case string(field) == "event":
				ev.name = string(value)
			case string(field) == "data":
				ev.data = bytes.Clone(value)
			}
		}
		if err := sc.Err(); err != nil {
			yield(sseEvent{}, err)
		}
	}
}

// lines reads a stream of JSON objects, one a line, until use says it was the
// last. A stream that ends before that was cut off.
func lines[T any](r io.Reader, use func(T) (last bool, err error)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		if len(sc.Bytes()) == 0 {
			continue
		}
		var v T
		if err := json.Unmarshal(sc.Bytes(), &v); err != nil {
			return fmt.Errorf("understand a line of the answer: %w", err)
		}
		if last, err := use(v); last || err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return fmt.Errorf("%w: it went away in the middle of its answer", ErrUnreachable)
}

// Drill drills the codes, all for none, and tells of each report as it comes.
func (c *Client) Drill(ctx context.Context, codes []fault.Code, tell func(wire.DrillReport)) error {
	resp, err := c.open(ctx, http.MethodPost, "/v1/drill", wire.DrillRequest{Codes: codes}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return lines(resp.Body, func(l wire.DrillLine) (bool, error) {
		if l.Error != nil {
			return true, refused(resp.StatusCode, *l.Error)
		}
		if l.Report != nil {
			tell(*l.Report)
		}
		return l.Done, nil
	})
}

// Do carries out an action of a subsystem; progress, if not nil, hears of each
// step. The answer is the last line: the result and what changed.
func (c *Client) Do(ctx context.Context, subsystem, action string, in any, progress func(wire.Progress)) (wire.ActionLine, error) {
	var end wire.ActionLine
	resp, err := c.open(ctx, http.MethodPost, "/v1/"+url.PathEscape(subsystem)+"/"+url.PathEscape(action), in, nil)
	if err != nil {
		return end, err
	}
	defer resp.Body.Close()
	err = lines(resp.Body, func(l wire.ActionLine) (bool, error) {
		if l.Error != nil {
			return true, refused(resp.StatusCode, *l.Error)
		}
		if l.Progress != nil && progress != nil {
			progress(*l.Progress)
		}
		end = l
		return l.Done, nil
	})
	return end, err
}

// Download asks a subsystem for bytes; the caller closes them. That they ended
// does not say that they are whole: what they hold does.
func (c *Client) Download(ctx context.Context, subsystem, path string, q url.Values) (io.ReadCloser, error) {
	resp, err := c.open(ctx, http.MethodGet, "/v1/"+url.PathEscape(subsystem)+"/"+path+"?"+q.Encode(), nil, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// View asks a subsystem for one of its views and reads it into out.
func (c *Client) View(ctx context.Context, subsystem, path string, q url.Values, out any) error {
	return c.call(ctx, http.MethodGet, "/v1/"+url.PathEscape(subsystem)+"/"+path+"?"+q.Encode(), nil, out)
}
