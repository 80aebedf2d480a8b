package watch_test

import (
	"context"
	"sync"
	"testing"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/watch"
)

// TestAConnectionOfSomebodyElseCountsAsALook: the users of a server report what
// they meet, and the guard against locked accounts counts them too.
func TestAConnectionOfSomebodyElseCountsAsALook(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{Passwords: map[string]string{"backup": "right"}})
	login, _ := account(t, "wrong")
	item.Login = login
	guards := sshpolicy.NewGuards()
	sub := watch.New(watch.Options{SSH: []watch.SSH{item}, Guards: guards})
	id := w.add(sub.Checks()[0])
	sink := told{w.sched, make(chan struct{}, 8)}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := sub.Run(ctx, sink); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	defer running.Wait()
	defer stop()

	connect := func(password string) sshpolicy.Result { // as a user of the server does
		login := sshpolicy.Login{User: "backup", Password: sshpolicy.Secret(password)}
		result := sshpolicy.Probe(t.Context(), sshpolicy.Target{Name: "nas1", Addr: item.Address}, sshpolicy.Options{
			Policy: item.Policy, Pins: item.Pins, CheckKey: true, Timeout: item.Timeout,
			Login: &login,
		})
		if result.Auth.OK {
			guards.At("nas1").Accept()
		} else {
			guards.At("nas1").Refuse(login)
		}
		return result
	}
	elsewhere := connect("right")
	elsewhere.Address = "127.0.0.1:1"
	sub.Report("nas1", elsewhere)          // another server under this name
	sub.Report("nobody", connect("right")) // a name that is not watched
	for range 3 {
		sub.Report("nas1", connect("wrong"))
	}
	for range 3 { // of five: those two were nobody's
		<-sink.done
	}
	if v, _ := w.view(watch.CodeAuthFailed, "nas1"); !v.Active || v.Sense.Get("failures") != "3" {
		t.Errorf("after three refused logins: active %v, %v", v.Active, v.Sense)
	}
	if got := verdicts(w.look(id, fault.TriggerTimer), "nas1")[string(watch.CodeAuthFailed)]; got != fault.Unknown {
		t.Errorf("the timer's look is %v, want it held back", got)
	}
	sub.Report("nas1", connect("right"))
	<-sink.done
	if v, _ := w.view(watch.CodeAuthFailed, "nas1"); v.Active {
		t.Error("a login that was accepted has not cleared the fault")
	}
}

// told says when a report was recorded.
type told struct {
	check.Sink
	done chan struct{}
}

func (s told) Report(ctx context.Context, id string, t fault.Trigger, judge func(*check.Report)) error {
	err := s.Sink.Report(ctx, id, t, judge)
	s.done <- struct{}{}
	return err
}
