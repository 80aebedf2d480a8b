package agent

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// remedyPace is how often the agent asks whether an automatic remedy is due.
const remedyPace = 10 * time.Second

// remedyLoop takes the automatic remedies that the operator has opted in to, by
// level and not by edge: whatever is active, allowed and within its budget.
// Whether one succeeded is for the owner check to say.
func (a *Agent) remedyLoop(ctx context.Context) error {
	if len(a.opts.Auto) == 0 {
		return nil
	}
	ticker := time.NewTicker(remedyPace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		views, _ := a.opts.Recorder.Page(0, 1<<30, func(f *fault.Fault) bool {
			return f.Active && a.opts.Auto[f.Key.Code] && !f.Key.Drill()
		})
		for _, v := range views {
			a.remedy(ctx, v.Key)
		}
	}
}

// remedy starts the automatic remedy of one fault, if its budget allows.
func (a *Agent) remedy(ctx context.Context, k fault.Key) {
	e, ok := a.opts.Catalogue.Get(k.Code)
	if !ok || e.Auto == nil {
		return
	}
	started, err := a.opts.Recorder.Apply(ctx, k, fault.RemedyStart{Action: e.Auto.Action})
	if err != nil || len(started) == 0 {
		return // not stored, no budget left, or one is in flight
	}
	name, action, _ := strings.Cut(e.Auto.Action, "/")
	result := "done"
	if _, _, err := a.Do(ctx, name, action, nil, func(wire.Progress) {}); err != nil {
		result = err.Error()
		a.opts.Log.LogAttrs(ctx, slog.LevelWarn, "automatic remedy not done",
			slog.String("action", e.Auto.Action), slog.String("fault", k.String()), slog.Any("error", err))
	}
	if _, err := a.opts.Recorder.Apply(ctx, k, fault.RemedyEnd{Action: e.Auto.Action, Result: result}); err != nil {
		a.opts.Log.LogAttrs(ctx, slog.LevelWarn, "end of an automatic remedy not recorded", slog.Any("error", err))
	}
}
