package watch

import (
	"context"
	"errors"
	"log/slog"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// maxReported bounds the connections that wait to be recorded.
const maxReported = 256

var errTooMany = errors.New("too many wait to be recorded")

// reported is a connection that somebody else made.
type reported struct {
	server string
	result sshpolicy.Result
}

// Report takes how a connection to the SSH server of that name went, made by
// whoever uses it, for a look of the server's own check: its user sees no more
// than its watch does, and the server is asked once instead of twice. Whoever
// reports a login has counted it with Options.Guards. Report returns without
// waiting. Names that are not watched are ignored, and so is what comes
// faster than it can be recorded: the next look tells.
func (w *Watch) Report(server string, result sshpolicy.Result) {
	select {
	case w.reported <- reported{server, result}:
	default:
		w.warn("connection not recorded", server, errTooMany)
	}
}

// Run implements subsystem.Subsystem: it records what others report. The checks
// do all the rest.
func (w *Watch) Run(ctx context.Context, sink check.Sink) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case made := <-w.reported:
			if err := w.record(ctx, sink, made); err != nil && ctx.Err() == nil {
				w.warn("connection not recorded", made.server, err)
			}
		}
	}
}

// record makes a look of a connection.
func (w *Watch) record(ctx context.Context, sink check.Sink, made reported) error {
	opts := w.options()
	for _, item := range opts.SSH {
		if item.Name != made.server || made.result.Address != item.Address {
			continue
		}
		l := &sshLook{w: w, item: item, known: opts.KnownHosts}
		c := w.sshCheck(item, opts.KnownHosts)
		return sink.Report(ctx, c.ID(), fault.TriggerCause, func(r *check.Report) {
			l.conclude(r, &made.result, l.shown(&made.result))
		})
	}
	if log := opts.Log; log != nil {
		log.Debug("connection to a server that is not watched", slog.String("server", made.server))
	}
	return nil
}

// shown is the credential that a connection made by somebody else has shown;
// nil when it showed none.
func (l *sshLook) shown(result *sshpolicy.Result) *attempt {
	if l.item.Login == nil || result.Auth == nil && result.Code != string(CodeAuthFailed) {
		return nil
	}
	a := &attempt{guard: l.w.guards().At(l.item.Name), told: true}
	a.login, a.err = l.item.Login()
	return a
}
