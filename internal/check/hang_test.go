package check_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
)

// hanging is a check whose first look hangs until release is closed.
func hanging(release chan struct{}, version string, looks *atomic.Int64) check.Check {
	return check.Check{
		Name: "test", Resource: "x", Codes: []fault.Code{codeA}, Every: time.Minute, Timeout: time.Second, Version: version,
		Run: func(_ context.Context, r *check.Report) {
			if looks.Add(1) == 1 {
				<-release
			}
			r.Absent(codeA)
		},
	}
}

// An operator must not wait for a look that cannot start.
func TestAVerifyOfAHangingCheckIsAnsweredAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release, looks := make(chan struct{}), new(atomic.Int64)
		c := hanging(release, "", looks)
		s, _ := running(t, c)
		type answer struct {
			last check.Last
			err  error
		}
		during := make(chan answer, 1) // asked before the look is given up
		go func() {
			last, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator)
			during <- answer{last, err}
		}()
		time.Sleep(5 * time.Second)
		if a := <-during; a.err != nil || a.last.Failure == "" {
			t.Errorf("asked while the look was under way: %+v, %v", a.last, a.err)
		}
		asked := time.Now()
		last, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator)
		if err != nil || !strings.Contains(last.Failure, "hangs") || len(last.Judgements) > 0 {
			t.Errorf("asked after it was given up: %+v, %v", last, err)
		}
		if waited := time.Since(asked); waited > 0 {
			t.Errorf("the answer took %s", waited)
		}
		close(release)
		synctest.Wait()
		if last, err = s.Look(t.Context(), c.ID(), fault.TriggerOperator); err != nil || last.Failure != "" {
			t.Errorf("after it returned: %+v, %v", last, err)
		}
	})
}

// A look that hangs at the old address must not keep the new one from being
// looked at.
func TestAReloadReplacesAHangingLook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release, looks := make(chan struct{}), new(atomic.Int64)
		s, m := running(t, hanging(release, "old", looks))
		time.Sleep(4 * time.Minute)
		c := hanging(release, "new", looks)
		if !m.active(check.CodeNotRunning, c.ID()) || !m.active(check.CodeFailed, c.ID()) {
			t.Fatal("a hanging check is not told of")
		}
		if err := s.Set([]check.Check{c}, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if looks.Load() != 2 || m.active(check.CodeNotRunning, c.ID()) || m.active(check.CodeFailed, c.ID()) {
			t.Errorf("after the reload: %d looks, not-running %v, failed %v", looks.Load(),
				m.active(check.CodeNotRunning, c.ID()), m.active(check.CodeFailed, c.ID()))
		}
		close(release)
		synctest.Wait()
		if last, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator); err != nil || last.Failure != "" {
			t.Errorf("after the old one returned: %+v, %v", last, err)
		}
	})
}
