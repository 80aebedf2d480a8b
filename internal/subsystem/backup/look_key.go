package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
)

// keyCheck opens the job's key.
func (b *Backup) keyCheck(j Job) check.Check {
	return check.Check{
		Name: "backup.key", Resource: j.Name, Every: keyEvery, Causes: b.options().KeyCauses, Codes: []fault.Code{CodeKeyUnavailable}, Version: string(j.Kind),
		Run: func(ctx context.Context, r *check.Report) {
			secret, err := b.secret(ctx, &j, false)
			clear(secret)
			if err != nil && ctx.Err() != nil {
				return // we could not look
			}
			b.judgeKey(r, &j)
		},
	}
}

// judgeKey judges what the newest attempt to open the key has shown.
func (b *Backup) judgeKey(r *check.Report, j *Job) {
	b.mu.Lock()
	k, tried := b.keys[j.Name]
	t, _ := b.opts.target(j.Target)
	b.mu.Unlock()
	switch {
	case !tried:
		r.Unknown(CodeKeyUnavailable, "nobody has asked for the key yet")
	case k.none && b.history.proof(j.Name).Verified.IsZero():
		r.NotApplicable(CodeKeyUnavailable, "the first run makes the key")
	case k.tried == nil:
		r.Absent(CodeKeyUnavailable)
		r.Proved("the key %s opens with %s", j.keyID(), k.info.Slot)
	default:
		sense := jobSense(j, &t)
		sense["key_id"], sense["qualifier"], sense["tried"] = j.keyID(), keyProblem(k.tried), "0 slots"
		var open *envelope.OpenError
		if errors.As(k.tried, &open) {
			sense["tried"] = fmt.Sprintf("%d slots", len(open.Tried))
		}
		r.Present(CodeKeyUnavailable, k.tried, sense)
	}
}

func keyProblem(err error) string {
	var damage *envelope.DamageError
	switch {
	case errors.Is(err, envelope.ErrNotFound):
		return "missing"
	case errors.As(err, &damage):
		return "damaged"
	}
	return "unreachable"
}

// keysCheck judges what all the jobs' keys hang on, without opening them.
func (b *Backup) keysCheck() check.Check {
	return check.Check{
		Name: "backup.keys", Resource: keysResource, Every: keyEvery, Codes: []fault.Code{CodeKeyLocal, CodeNoRecovery},
		Run: func(_ context.Context, r *check.Report) { b.judgeKeys(r) },
	}
}

func (b *Backup) judgeKeys(r *check.Report) {
	o := b.options()
	var local, lone, unknown []string
	keys := 0
	for _, j := range o.Jobs {
		info, err := o.Keys.Describe(j.keyID())
		if errors.Is(err, envelope.ErrNotFound) {
			continue
		}
		if err != nil {
			unknown = append(unknown, j.Name)
			continue
		}
		keys++
		if slices.ContainsFunc(info.Slots, func(s envelope.SlotRef) bool { return s.Kind == envelope.KindLocal }) {
			local = append(local, j.Name)
		}
		if !info.Recovery {
			lone = append(lone, j.Name)
		}
	}
	for _, c := range []struct {
		code fault.Code
		jobs []string
		text string
	}{
		{CodeKeyLocal, local, "a file of this machine opens the keys of: "},
		{CodeNoRecovery, lone, "no recovery key opens the keys of: "},
	} {
		switch {
		case len(c.jobs) > 0:
			slices.Sort(c.jobs)
			names := strings.Join(c.jobs, ", ")
			r.Present(c.code, errors.New(c.text+names), map[string]string{"jobs": names})
		case len(unknown) > 0:
			r.Unknown(c.code, "not readable: the key of "+strings.Join(unknown, ", "))
		case keys == 0:
			r.NotApplicable(c.code, "no job has a key before its first run")
		default:
			r.Absent(c.code)
		}
	}
}
