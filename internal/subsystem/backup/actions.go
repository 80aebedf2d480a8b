package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// Actions implements subsystem.Actor. What an action finds is judged by its own
// checks, as a look of theirs, before it answers.
func (b *Backup) Actions() []subsystem.Action {
	return []subsystem.Action{
		{Name: "run", Role: subsystem.Operator, Do: action(b.doRun)},
		{Name: "verify", Role: subsystem.Operator, Do: action(b.doVerify)},
		{Name: "drill", Role: subsystem.Admin, Do: action(b.doDrill)},
		{Name: "trust", Role: subsystem.Admin, Do: action(b.doTrust)},
		{Name: "password", Role: subsystem.Admin, Do: action(b.doSecret(Repository))},
		{Name: "identity", Role: subsystem.Admin, Do: action(b.doSecret(Archive))},
		{Name: "snapshots", Role: subsystem.Operator, Do: action(b.doSnapshots)},
		{Name: "list", Role: subsystem.Operator, Do: action(b.doList)},
	}
}

// action reads the request of an action. A misspelt field is refused: it would
// do something else than was asked for.
func action[In, Out any](do func(context.Context, In, func(wire.Progress)) (Out, error)) func(context.Context, json.RawMessage, func(wire.Progress)) (any, error) {
	return func(ctx context.Context, raw json.RawMessage, tell func(wire.Progress)) (any, error) {
		var in In
		if err := strictly(raw, &in); err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		if tell == nil {
			tell = func(wire.Progress) {}
		}
		return do(ctx, in, tell)
	}
}

// doRun starts a run, or joins the one under way, and follows it if the caller
// waits. The run goes on when the caller leaves.
func (b *Backup) doRun(ctx context.Context, in wire.BackupRunRequest, tell func(wire.Progress)) (wire.BackupRun, error) {
	s, err := b.start(ctx, in.Job, byOperator)
	if err != nil {
		return wire.BackupRun{}, err
	}
	if s.joined {
		tell(wire.Progress{Stage: stageBegin, Text: "a run of the job is under way; it is followed instead of a second one"})
	}
	if !in.Wait {
		return s.run.record(), nil
	}
	for {
		changed := s.run.watch()
		rec := s.run.record()
		tell(progressOf(&rec))
		select {
		case <-s.run.done:
			return s.run.record(), nil
		case <-changed:
		case <-ctx.Done():
			return rec, fmt.Errorf("the run goes on, nobody waits for it: %w", context.Cause(ctx))
		}
	}
}

// progressOf is a record as a line for who waits.
func progressOf(rec *wire.BackupRun) wire.Progress {
	p := wire.Progress{Stage: stageBegin, Percent: rec.Percent}
	for _, s := range rec.Stages {
		if s.State != stagePending && s.State != stageSkip {
			p.Stage = s.Name
		}
	}
	switch {
	case rec.Retry != nil:
		p.Text = fmt.Sprintf("try %d of %d failed (%s); again at %s", rec.Try, rec.Tries, rec.Result.Text, rec.Retry.Format(time.TimeOnly))
	case rec.Try == 0:
		p.Text = "waits for other runs"
	case p.Stage == stageTransfer && rec.Files > 0:
		p.Text = fmt.Sprintf("%d files, %d bytes, %d sent", rec.Files, rec.Bytes, rec.BytesSent)
	}
	return p
}

func (b *Backup) doVerify(ctx context.Context, in wire.BackupJobRequest, tell func(wire.Progress)) (wire.BackupVerify, error) {
	j, t, err := b.find(in.Job)
	if err != nil {
		return wire.BackupVerify{}, err
	}
	if err := b.verifyNow(ctx, &j, &t, verifying{asked: true, full: in.Full, wait: true, tell: tell}); err != nil {
		return wire.BackupVerify{}, err
	}
	b.report(ctx, copyCheckID(j.Name), fault.TriggerOperator, func(r *check.Report) { b.judgeCopies(r, &j, &t) })
	return b.history.proof(j.Name).Look.BackupVerify, nil
}

func (b *Backup) doDrill(ctx context.Context, in wire.BackupJobRequest, tell func(wire.Progress)) (wire.BackupDrill, error) {
	j, t, err := b.find(in.Job)
	if err != nil {
		return wire.BackupDrill{}, err
	}
	if err := b.drillNow(ctx, &j, &t, verifying{asked: true, wait: true, tell: tell}); err != nil {
		return wire.BackupDrill{}, err
	}
	b.report(ctx, drillCheckID(j.Name), fault.TriggerOperator, func(r *check.Report) { b.judgeDrill(r, &j, &t, time.Now()) })
	return b.history.proof(j.Name).Drill.BackupDrill, nil
}

// ErrFingerprint says that the server holds another key than the one to trust.
var ErrFingerprint = errors.New("the server holds another key")

// doTrust shows the host key that the target proves, or stores it as trusted
// when the caller names its fingerprint. No credential is shown to the server.
func (b *Backup) doTrust(ctx context.Context, in wire.BackupTrustRequest, _ func(wire.Progress)) (wire.BackupHostKey, error) {
	o := b.options()
	t, ok := o.target(in.Target)
	if !ok {
		return wire.BackupHostKey{}, fmt.Errorf("no backup target %q", in.Target)
	}
	r := sshpolicy.Probe(ctx, sshpolicy.Target{Name: t.Name, Addr: t.Address}, sshpolicy.Options{
		Policy: t.Policy, Pins: t.Pins, CheckKey: true, Timeout: t.timeout(), Dial: t.Dial,
	})
	if r.HostKey == nil {
		return wire.BackupHostKey{}, fmt.Errorf("ask %s for its host key: %s", t.Name, r.Error)
	}
	k := wire.BackupHostKey{
		Target: t.Name, Address: t.Address, Type: r.HostKey.Type, Fingerprint: r.HostKey.Fingerprint, Line: r.HostKey.Line,
		Trusted: r.HostKey.Pin == sshpolicy.PinMatched,
	}
	switch {
	case in.Fingerprint == "":
		return k, nil
	case in.Fingerprint != k.Fingerprint:
		return k, fmt.Errorf("%w: %s proves %s, to trust is %s", ErrFingerprint, t.Name, k.Fingerprint, in.Fingerprint)
	case o.KnownHosts == nil:
		return k, errors.New("there is no store of trusted host keys")
	}
	if err := o.KnownHosts.Forget(t.Address, sshpolicy.OriginTrusted); err != nil {
		return k, err
	}
	if err := o.KnownHosts.Add(t.Address, r.HostKey.Key, sshpolicy.OriginTrusted); err != nil {
		return k, err
	}
	k.Trusted = true
	return k, nil
}

// doSecret answers the key of a job of one kind.
func (b *Backup) doSecret(kind Kind) func(context.Context, wire.BackupJobRequest, func(wire.Progress)) (wire.BackupSecret, error) {
	return func(ctx context.Context, in wire.BackupJobRequest, _ func(wire.Progress)) (wire.BackupSecret, error) {
		j, _, err := b.find(in.Job)
		if err != nil {
			return wire.BackupSecret{}, err
		}
		if j.Kind != kind {
			other := map[Kind]string{Repository: "allclear backup password", Archive: "allclear backup identity"}[j.Kind]
			return wire.BackupSecret{}, fmt.Errorf("job %s makes a %s: its key is shown by `%s --job %s`", j.Name, j.Kind, other, j.Name)
		}
		secret, err := b.secret(ctx, &j, false)
		if err != nil {
			return wire.BackupSecret{}, err
		}
		defer clear(secret)
		return wire.BackupSecret{Job: j.Name, Secret: string(secret)}, nil
	}
}

func (b *Backup) doSnapshots(ctx context.Context, in wire.BackupJobRequest, _ func(wire.Progress)) (wire.List[wire.BackupSnapshot], error) {
	list := wire.List[wire.BackupSnapshot]{Items: []wire.BackupSnapshot{}}
	err := b.reading(ctx, in.Job, func(o *opened) (err error) {
		list.Items, err = o.list(ctx)
		return err
	})
	if errors.Is(err, ErrNoCopy) {
		err = nil
	}
	if list.Items == nil {
		list.Items = []wire.BackupSnapshot{}
	}
	return list, err
}

func (b *Backup) doList(ctx context.Context, in wire.BackupListRequest, _ func(wire.Progress)) (wire.List[wire.BackupFile], error) {
	list := wire.List[wire.BackupFile]{Items: []wire.BackupFile{}}
	err := b.reading(ctx, in.Job, func(o *opened) error {
		found, err := o.files(ctx, in)
		list.Items = append(list.Items, found...)
		return err
	})
	return list, err
}

// reading opens a job's copies for an operator, beside whatever else goes on.
func (b *Backup) reading(ctx context.Context, job string, do func(*opened) error) error {
	j, t, err := b.find(job)
	if err != nil {
		return err
	}
	o, err := b.open(ctx, &j, &t, true, false)
	if err != nil {
		return err
	}
	return errors.Join(do(o), o.close())
}
