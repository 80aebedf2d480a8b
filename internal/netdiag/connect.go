package netdiag

import (
	"context"
	"net"
	"time"
)

// Manner says how Connect deals with our certificate under TLS 1.3, where the
// handshake ends before the server has read it.
type Manner bool

// The manners.
const (
	// Eager hands the connection over at once: a refusal shows at the first read.
	Eager Manner = false
	// Patient waits for the server's word first, as Diagnose does.
	Patient Manner = true
)

// Connect climbs the ladder up to our certificate, as Diagnose does, and hands
// over the connection that it ends with. The connection is nil exactly when the
// report is not OK. Target.HTTP is not asked.
func Connect(ctx context.Context, t Target, m Manner) (net.Conn, *Report) {
	t = t.withDefaults()
	r := &run{t: t, began: time.Now(), rep: &Report{Target: t.Address, Start: time.Now().UTC()}, eager: m == Eager}
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeouts.Total, errOutOfTime)
	defer cancel()
	for _, step := range []func(context.Context) bool{r.local, r.dns, r.tcp, r.proxy, r.tls} {
		if !step(ctx) {
			break
		}
	}
	r.finish(ctx)
	if !r.rep.OK || r.app == nil {
		r.close()
		return nil, r.rep
	}
	return r.app, r.rep
}

// Error is a report whose climb did not end well, as an error.
type Error struct{ Report *Report }

func (e *Error) Error() string {
	text := e.Report.Cause.Text()
	switch {
	case e.Report.Detail == "":
		return text
	case text == "":
		return e.Report.Detail
	}
	return text + ": " + e.Report.Detail
}
