package netdiag

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// VersionResult is what a server would do if the TLS minimum were raised.
type VersionResult struct {
	Reached  bool   `json:"reached"`           // a TLS server answered at all
	Accepted bool   `json:"accepted"`          // a handshake with the wanted minimum gets through
	Version  string `json:"version,omitempty"` // spoken with the wanted minimum, such as "1.3"
	Best     string `json:"best,omitempty"`    // the highest the server speaks with any client
	Cause    Cause  `json:"cause,omitempty"`   // why not
	Detail   string `json:"detail,omitempty"`
}

// ProbeVersion asks whether the server of t still answers when nothing below
// low (such as tls.VersionTLS13) is offered. Certificates are not judged, and
// the handshake ends before ours would be sent. A server that cannot be
// reached is not Reached, with the cause: that is no statement about versions.
func ProbeVersion(ctx context.Context, t Target, low uint16) VersionResult {
	t = t.withDefaults()
	t.HTTP = nil
	r := &run{t: t, began: time.Now(), rep: &Report{Target: t.Address}}
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeouts.Total, errOutOfTime)
	defer cancel()
	defer r.close()
	for _, step := range []func(context.Context) bool{r.local, r.dns, r.tcp, r.proxy} {
		if !step(ctx) {
			return VersionResult{Cause: r.rep.Cause, Detail: r.rep.Detail}
		}
	}
	s := r.handshake(ctx, r.conn, shakeOptions{min: low, max: tls.VersionTLS13, lookOnly: true})
	if s.chosen {
		v := VersionName(s.state.Version)
		return VersionResult{Reached: true, Accepted: true, Version: v, Best: v}
	}
	// What the ladder makes of it, with the wanted minimum.
	r.t.MinTLS, r.t.MaxTLS = low, tls.VersionTLS13
	st := begin(StepTransport)
	if r.transport(ctx, s, st) {
		r.negotiation(ctx, s)
	}
	out := VersionResult{Cause: r.rep.Cause, Detail: r.rep.Detail}
	if wide := r.lookWide(ctx, tls.VersionTLS10); wide != nil && wide.chosen {
		out.Reached, out.Best = true, VersionName(wide.state.Version)
		if errors.Is(wide.err, errEnough) && wide.state.Version < low {
			out.Cause = TLSVersion
		}
	}
	return out
}
