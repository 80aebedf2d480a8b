package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"allclear/internal/agent"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/wire"
)

const (
	maxBody   = 64 << 10         // bytes of a request's body
	bodyWait  = 10 * time.Second // for the whole of it
	writeWait = 10 * time.Second // for one answer, or one item of a stream, to leave
)

// errSlow is the cause of a request's context when its route's time is over.
var errSlow = errors.New("the request took longer than its route allows")

// refusal is an error that knows its own answer.
type refusal struct {
	status int
	body   wire.Error
}

func (r *refusal) Error() string { return r.body.Message }

func refuse(status int, code, hint, format string, args ...any) *refusal {
	return &refusal{status, wire.Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}}
}

// known are the errors of other packages that have an answer of their own.
var known = []struct {
	err    error
	status int
	code   string
	hint   string
}{
	{agent.ErrNoFault, http.StatusNotFound, "no-such-fault", "allclear fault list --all names every fault"},
	{journal.ErrNoFault, http.StatusNotFound, "no-such-fault", "allclear fault list --all names every fault"},
	{agent.ErrNothingSelected, http.StatusNotFound, "nothing-selected", "allclear check list names every check, resource and code"},
	{agent.ErrNoAction, http.StatusNotFound, "no-such-action", ""},
	{fault.ErrNotActive, http.StatusConflict, "not-active", ""},
	{fault.ErrNotAcked, http.StatusConflict, "not-acked", ""},
	{fault.ErrNotShelved, http.StatusConflict, "not-shelved", ""},
	{fault.ErrNoReason, http.StatusBadRequest, "no-reason", "say why with --reason TEXT"},
	{fault.ErrShelfTime, http.StatusBadRequest, "shelf-time", "give --for 2h, or --until with a time"},
	{journal.ErrRefused, http.StatusServiceUnavailable, "store-failing", "the journal cannot write; nothing was changed. Free space on the state directory's file system, then try again"},
	{journal.ErrClosed, http.StatusServiceUnavailable, "stopping", "the agent stops"},
	{errSlow, http.StatusGatewayTimeout, "timeout", ""},
}

// describe turns an error into an answer. What it does not know is a 500 with
// the error's own words: callers of the socket are trusted to read them.
func describe(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			return &refusal{k.status, wire.Error{Code: k.code, Message: err.Error(), Hint: k.hint}}
		}
	}
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "too-large", "", "the request is longer than %d bytes", tooLong.Limit)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return refuse(http.StatusServiceUnavailable, "interrupted", "", "the request was interrupted: %v", err)
	}
	return refuse(http.StatusInternalServerError, "internal", "", "%v", err)
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	r := describe(err)
	send(w, r.status, wire.ErrorReply{Error: r.body})
}

// send answers with JSON. The value is encoded before the first byte leaves, so
// that an answer is whole or an error.
func send(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status = http.StatusInternalServerError
		b = []byte(`{"error":{"code":"internal","message":"the answer cannot be written as JSON"}}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	setWriteDeadline(w)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the caller is gone: nobody to tell
}

// setWriteDeadline gives the next write its time. It fails only for recorders
// in tests, which need none.
func setWriteDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeWait))
}

// decode reads the body: one JSON value without unknown fields. An empty body
// leaves v as it is.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(bodyWait))       // only recorders refuse it
	defer func() { _ = c.SetReadDeadline(time.Time{}) }() // else the wait for the caller's end would be cut
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && d.More() {
		err = errors.New("more than one JSON value")
	}
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return refuse(http.StatusBadRequest, "bad-request", "", "read the request: %v", err)
}
