package netdiag

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// Diagnose climbs the ladder until a step fails, the top is reached or the
// time is up. It never returns nil; a cancelled ctx gives the cause Cancelled.
func Diagnose(ctx context.Context, t Target) *Report {
	t = t.withDefaults()
	r := &run{t: t, began: time.Now(), rep: &Report{Target: t.Address, Start: time.Now().UTC()}}
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeouts.Total, errOutOfTime)
	defer cancel()
	defer r.close()
	for _, step := range []func(context.Context) bool{r.local, r.dns, r.tcp, r.proxy, r.tls, r.http} {
		if !step(ctx) {
			break
		}
	}
	r.finish(ctx)
	return r.rep
}

var errOutOfTime = errors.New("the time for the whole diagnosis is up")

// run is one climb.
type run struct {
	t     Target
	began time.Time
	rep   *Report

	goal     hop      // what is wanted
	via      hop      // what is connected to: the goal or the proxy
	proxyURL *url.URL // nil: no proxy
	name     string   // SNI and certificate name
	trust    *trust
	own      *ownCert
	eager    bool // hand the connection over before the server's word on our certificate

	addrs  []netip.AddrPort // of via, in the order to try
	chosen netip.AddrPort
	conn   *wireConn // to the goal, through the proxy if there is one
	shake  *shake
	app    *replayConn // what HTTP runs over
}

func (r *run) close() {
	if r.conn != nil {
		_ = r.conn.Close() // nothing of worth is left on it
	}
}

// begin opens a step.
func begin(name StepName) *Step {
	return &Step{Name: name, Start: time.Now().UTC(), Evidence: map[string]string{}}
}

// add closes st and files it.
func (r *run) add(st *Step, o Outcome, cause Cause, detail string) {
	st.Outcome, st.Cause, st.Detail = o, cause, detail
	st.DurationMS = float64(time.Since(st.Start).Microseconds()) / 1000
	if len(st.Evidence) == 0 {
		st.Evidence = nil
	}
	r.rep.Steps = append(r.rep.Steps, *st)
	switch o {
	case Failed:
		r.blame(st.Name, cause, detail)
	case Warning:
		r.warn(st.Name, cause, detail)
	}
}

// ok files st as passed.
func (r *run) ok(st *Step, detail string) bool {
	r.add(st, OK, "", detail)
	return true
}

// fail files st as failed and ends the ladder.
func (r *run) fail(st *Step, cause Cause, detail string) bool {
	r.add(st, Failed, cause, detail)
	return false
}

// blame makes cause the verdict unless there is one already.
func (r *run) blame(step StepName, cause Cause, detail string) {
	if r.rep.Cause == "" {
		r.rep.Cause, r.rep.Step, r.rep.Detail = cause, step, detail
	}
}

func (r *run) warn(step StepName, cause Cause, detail string) {
	r.rep.Warnings = append(r.rep.Warnings, Finding{Step: step, Cause: cause, Detail: detail})
}

// skip files a step that was not needed.
func (r *run) skip(name StepName, why string) {
	r.rep.Steps = append(r.rep.Steps, Step{Name: name, Outcome: NotTried, Detail: why})
}

// finish puts the steps in order, adds those not tried, and draws the sum.
func (r *run) finish(ctx context.Context) {
	if err := ctx.Err(); err != nil && !errors.Is(context.Cause(ctx), errOutOfTime) && r.rep.Cause != "" {
		r.rep.Cause, r.rep.Detail = Cancelled, context.Cause(ctx).Error()
	}
	var all []Step
	for _, name := range StepNames() {
		n := len(all)
		for _, st := range r.rep.Steps {
			if st.Name == name {
				all = append(all, st)
			}
		}
		if len(all) == n {
			all = append(all, Step{Name: name, Outcome: NotTried, Detail: "an earlier step failed"})
		}
	}
	r.rep.Steps = all
	r.rep.OK = r.rep.Cause == ""
	r.rep.ServerName = r.name
	r.rep.DurationMS = time.Since(r.began).Milliseconds()
	if r.chosen.IsValid() {
		r.rep.Address = r.chosen.String()
	}
}

// bound is the earlier of ctx's deadline and d from now.
func bound(ctx context.Context, d time.Duration) time.Time {
	at := time.Now().Add(d)
	if end, ok := ctx.Deadline(); ok && end.Before(at) {
		return end
	}
	return at
}

// until bounds what is done on c to d from now, and to ctx: its end makes every
// read and write on c time out. The returned function lifts the bound.
func until(ctx context.Context, c net.Conn, d time.Duration) (lift func()) {
	_ = c.SetDeadline(bound(ctx, d)) // fails only on a closed connection, which the next read tells
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.SetDeadline(time.Time{})
		}
	}
}

// plain is err's text without the addresses net puts in: our port is another
// one each time, and a report that says the same twice should read the same.
func plain(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// timedOut reports whether err is a deadline that passed.
func timedOut(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout() || errors.Is(err, context.DeadlineExceeded)
}
