package app

import (
	"context"

	"allclear/internal/agent"
	"allclear/internal/fault"
	"allclear/internal/journal"
)

// recorder is the journal as the agent declares it.
type recorder struct{ *journal.Store }

var _ agent.Recorder = recorder{}

func (r recorder) Clock() fault.Clock { return r.Now() }

func (r recorder) View(k fault.Key) (fault.View, bool) {
	v, ok := r.Store.View(k)
	return flat(v), ok
}

func (r recorder) Page(after uint64, n int, want func(*fault.Fault) bool) ([]fault.View, bool) {
	page, more := r.Store.Page(after, n, want)
	views := make([]fault.View, len(page))
	for i, v := range page {
		views[i] = flat(v)
	}
	return views, more
}

func flat(v journal.View) fault.View {
	v.View.Seq = v.Seq
	return v.View
}

func (r recorder) Head() (epoch string, seq uint64) {
	h := r.Store.Head()
	return h.Epoch, h.Seq
}

func (r recorder) Health() agent.StoreHealth {
	h := r.Store.Health()
	out := agent.StoreHealth{
		Held: h.Held, Failing: h.Failing, Error: h.Error,
		Cleared: h.Cleared, MaxCleared: h.MaxCleared, Bytes: h.Size,
	}
	if h.SetAside != nil {
		out.SetAside, out.SetAsideAt, out.Salvaged = h.SetAside.Path, h.SetAside.At, h.SetAside.Beliefs
	}
	return out
}

// noPruner stands in where only the names of actions are wanted.
type noPruner struct{}

func (noPruner) Prune(context.Context) error { return nil }
