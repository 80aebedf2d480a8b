package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// Status asks whether all is well.
func (c *Client) Status(ctx context.Context) (st wire.Status, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/status", nil, &st)
	return st, err
}

// Filter selects faults. Empty fields select everything, State "" the active
// ones.
type Filter struct {
	State    string // active, cleared, all
	Severity string // at least
	Code     string // the code, or a path above it
	Resource string // the resource, or one above it
	After    string // the Next of the page before
	Limit    int    // of one page; 0 is the agent's default
}

func (f Filter) path() string {
	v := url.Values{}
	for _, p := range [][2]string{
		{"state", f.State}, {"severity", f.Severity}, {"code", f.Code}, {"resource", f.Resource}, {"after", f.After},
	} {
		if p[1] != "" {
			v.Set(p[0], p[1])
		}
	}
	if f.Limit > 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	if len(v) == 0 {
		return "/v1/faults"
	}
	return "/v1/faults?" + v.Encode()
}

// Faults returns one page of the faults that match.
func (c *Client) Faults(ctx context.Context, f Filter) (list wire.List[wire.Fault], err error) {
	err = c.call(ctx, http.MethodGet, f.path(), nil, &list)
	return list, err
}

// AllFaults yields every fault that matches, page by page. It ends after the
// first error.
func (c *Client) AllFaults(ctx context.Context, f Filter) iter.Seq2[wire.Fault, error] {
	return func(yield func(wire.Fault, error) bool) {
		for {
			page, err := c.Faults(ctx, f)
			if err != nil {
				yield(wire.Fault{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			f.After = page.Next
		}
	}
}

func faultPath(ref, rest string) string { return "/v1/faults/" + url.PathEscape(ref) + rest }

// Fault returns one fault, by id or CODE@RESOURCE.
func (c *Client) Fault(ctx context.Context, ref string) (f wire.Fault, err error) {
	err = c.call(ctx, http.MethodGet, faultPath(ref, ""), nil, &f)
	return f, err
}

// Why explains why the fault is, or is not, active.
func (c *Client) Why(ctx context.Context, ref string) (w wire.Why, err error) {
	err = c.call(ctx, http.MethodGet, faultPath(ref, "/why"), nil, &w)
	return w, err
}

// History returns up to n events of the fault, newest first, below seq before;
// before 0 begins at the newest.
func (c *Client) History(ctx context.Context, ref string, n int, before uint64) (list wire.List[fault.Event], err error) {
	v := url.Values{"limit": {strconv.Itoa(n)}, "before": {strconv.FormatUint(before, 10)}}
	err = c.call(ctx, http.MethodGet, faultPath(ref, "/history?"+v.Encode()), nil, &list)
	return list, err
}

// Operate says an operator's word on the fault.
func (c *Client) Operate(ctx context.Context, ref string, r wire.OperatorRequest) (reply wire.OperatorReply, err error) {
	err = c.call(ctx, http.MethodPost, faultPath(ref, "/"+url.PathEscape(string(r.Op))), r, &reply)
	return reply, err
}

// Verify looks now at what selects name, everything for none, and returns when
// the looks are done.
func (c *Client) Verify(ctx context.Context, selects []string) (reply wire.VerifyReply, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/verify", wire.VerifyRequest{Select: selects}, &reply)
	return reply, err
}

// PageLogin mints a link that opens the page once, with this role; "" is the
// caller's own.
func (c *Client) PageLogin(ctx context.Context, role string) (l wire.PageLogin, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/page/login", wire.PageLoginRequest{Role: role}, &l)
	return l, err
}

// Checks returns every check.
func (c *Client) Checks(ctx context.Context) (list wire.List[wire.Check], err error) {
	err = c.call(ctx, http.MethodGet, "/v1/checks", nil, &list)
	return list, err
}

// Preflight asks what the change would break.
func (c *Client) Preflight(ctx context.Context, ch wire.Change) (list wire.List[wire.Finding], err error) {
	err = c.call(ctx, http.MethodPost, "/v1/preflight", ch, &list)
	return list, err
}

// Support returns the support bundle as the agent wrote it.
func (c *Client) Support(ctx context.Context) (bundle json.RawMessage, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/support", nil, &bundle)
	return bundle, err
}

// Sinks says of each receiver how the telling goes.
func (c *Client) Sinks(ctx context.Context) (list wire.List[wire.NotifySink], err error) {
	err = c.call(ctx, http.MethodGet, "/v1/notify/sinks", nil, &list)
	return list, err
}

// TestSink sends a test message to one receiver and returns what it answered.
func (c *Client) TestSink(ctx context.Context, name string) (t wire.NotifyTest, err error) {
	end, err := c.Do(ctx, "notify", "test", wire.NotifyTestRequest{Sink: name}, nil)
	if err != nil {
		return t, err
	}
	b, err := json.Marshal(end.Result)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		err = fmt.Errorf("understand the answer to a test: %w", err)
	}
	return t, err
}
