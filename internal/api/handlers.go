package api

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/url"
	"slices"
	"strconv"

	"allclear/internal/agent"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

func (s *Server) status(http.ResponseWriter, *http.Request) (any, error) {
	return s.opts.Agent.Status(), nil
}

// Bounds of a page.
const (
	pageSize = 100
	pageMax  = 1000
)

func (s *Server) faults(_ http.ResponseWriter, r *http.Request) (any, error) {
	q, err := query(r.URL.Query())
	if err != nil {
		return nil, err
	}
	return s.opts.Agent.Faults(q), nil
}

// query reads the filters of a listing; a misspelt one is refused, or it would
// show more than was asked for.
func query(v url.Values) (agent.Query, error) {
	q := agent.Query{State: v.Get("state"), Code: v.Get("code"), Resource: v.Get("resource")}
	for name := range v {
		if !slices.Contains([]string{"state", "severity", "code", "resource", "after", "limit"}, name) {
			return q, badQuery(name, "there is no such filter")
		}
	}
	if !slices.Contains([]string{"", "active", "cleared", "all"}, q.State) {
		return q, badQuery("state", "active, cleared or all")
	}
	if text := v.Get("severity"); text != "" {
		if err := q.Severity.UnmarshalText([]byte(text)); err != nil || q.Severity == fault.None {
			return q, badQuery("severity", "warning, minor, major or critical")
		}
	}
	var err error
	if q.After, err = number(v, "after", 0); err != nil {
		return q, err
	}
	q.Limit, err = limit(v)
	return q, err
}

func limit(v url.Values) (int, error) {
	n, err := number(v, "limit", pageSize)
	if err == nil && (n < 1 || n > pageMax) {
		err = badQuery("limit", fmt.Sprintf("1 to %d", pageMax))
	}
	return int(n), err
}

func number(v url.Values, name string, def uint64) (uint64, error) {
	text := v.Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, badQuery(name, "a whole number")
	}
	return n, nil
}

func badQuery(name, want string) error {
	return refuse(http.StatusBadRequest, "bad-request", "", "query %q: want %s", name, want)
}

func (s *Server) fault(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.opts.Agent.Fault(r.PathValue("ref"))
}

func (s *Server) why(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.opts.Agent.Why(r.Context(), r.PathValue("ref"))
}

func (s *Server) history(_ http.ResponseWriter, r *http.Request) (any, error) {
	v := r.URL.Query()
	n, err := limit(v)
	if err != nil {
		return nil, err
	}
	before, err := number(v, "before", 0)
	if err != nil {
		return nil, err
	}
	events, err := s.opts.Agent.History(r.Context(), r.PathValue("ref"), n, before)
	if err != nil {
		return nil, err
	}
	list := wire.List[fault.Event]{Items: orEmpty(events)}
	if len(events) == n {
		list.Next = strconv.FormatUint(events[n-1].Seq, 10)
	}
	return list, nil
}

// orEmpty keeps null out of JSON where a list belongs.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) operate(w http.ResponseWriter, r *http.Request) (any, error) {
	op := fault.Op(r.PathValue("op"))
	if !slices.Contains([]fault.Op{fault.OpAck, fault.OpUnack, fault.OpShelve, fault.OpUnshelve, fault.OpFix}, op) {
		return nil, refuse(http.StatusNotFound, "no-such-path", "ack, unack, shelve, unshelve or fix", "nothing called %q can be done to a fault", op)
	}
	var req wire.OperatorRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if req.Op != "" && req.Op != op {
		return nil, refuse(http.StatusBadRequest, "bad-request", "", "the path says %s, the request says %s", op, req.Op)
	}
	req.Op = op
	if len(req.Reason) > maxReason {
		return nil, refuse(http.StatusBadRequest, "bad-request", "", "the reason is longer than %d bytes", maxReason)
	}
	if req.For != "" && req.Until != nil {
		return nil, refuse(http.StatusBadRequest, "bad-request", "", "a shelf takes for or until, not both")
	}
	c, _ := callerOf(r.Context())
	return s.opts.Agent.Operate(r.Context(), r.PathValue("ref"), c.Name(), req)
}

// maxReason is how long an operator's reason may be, in bytes: as a fault's
// text.
const maxReason = 1 << 10

// maxSelect is how many words one verify may name.
const maxSelect = 1000

func (s *Server) verify(w http.ResponseWriter, r *http.Request) (any, error) {
	var req wire.VerifyRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if len(req.Select) > maxSelect {
		return nil, refuse(http.StatusBadRequest, "bad-request", "", "at most %d things can be named", maxSelect)
	}
	return s.opts.Agent.Verify(r.Context(), req.Select)
}

func (s *Server) checks(http.ResponseWriter, *http.Request) (any, error) {
	return wire.List[wire.Check]{Items: s.opts.Agent.Checks()}, nil
}

func (s *Server) preflight(w http.ResponseWriter, r *http.Request) (any, error) {
	var c wire.Change
	if err := decode(w, r, &c); err != nil {
		return nil, err
	}
	if c == (wire.Change{}) {
		return nil, refuse(http.StatusBadRequest, "bad-request", "name a policy, a TLS version or a server upgrade", "no change is named")
	}
	return wire.List[wire.Finding]{Items: orEmpty(s.opts.Agent.Preflight(r.Context(), c))}, nil
}

func (s *Server) support(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.opts.Agent.Support(r.Context()), nil
}

// pprof shows the profiles of package net/http/pprof.
func (s *Server) pprof(w http.ResponseWriter, r *http.Request) error {
	switch name := r.PathValue("profile"); name {
	case "":
		pprof.Index(w, r)
	case "cmdline": // arguments may name files of the operator's; nobody needs them
		return refuse(http.StatusNotFound, "no-such-path", "", "no such profile %q", name)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Handler(name).ServeHTTP(w, r)
	}
	return nil
}
