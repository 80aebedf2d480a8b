package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// targetGap is the least time between two looks at a target that no operator
// asked for: OpenSSH 9.8 and later punish who connects often.
const targetGap = 10 * time.Second

// targetTime bounds one look beyond the connection itself: the test file.
const targetTime = time.Minute

// targetCheck logs in and stores, renames and removes a test file: one
// connection.
func (b *Backup) targetCheck(t Target) check.Check {
	return check.Check{
		Name: "backup.target", Resource: t.Name, Every: t.every(), Gap: targetGap, Timeout: t.timeout() + targetTime,
		Codes:   append(targetCauses(), CodeUpgrade),
		Version: fmt.Sprint(t.Address, t.User, t.Policy, t.Planned, t.Pins, t.Protocol, t.Transport, t.Path, t.Version),
		Run: func(ctx context.Context, r *check.Report) {
			if at := b.restsUntil(&t, r.Trigger()); time.Until(at) > 0 {
				b.postpone(t.Name, at)
				for _, code := range append(targetCauses(), CodeUpgrade) {
					r.Unknown(code, "the server was connected to a moment ago; this look follows in a few seconds")
				}
				return
			}
			err := b.tryTarget(ctx, &t, r.Trigger() == fault.TriggerOperator)
			b.judgeTarget(r, &t, err)
		},
	}
}

// restsUntil is when the server was left alone for targetGap, unless somebody
// waits for the look. At the start package watch looks at the same server.
func (b *Backup) restsUntil(t *Target, trigger fault.Trigger) time.Time {
	seen, ok := b.contact(t.Name)
	switch {
	case asked(trigger):
		return time.Time{}
	case ok:
		return seen.at.Add(targetGap)
	case trigger == fault.TriggerStartup:
		return time.Now().Add(targetGap)
	}
	return time.Time{}
}

// postpone has the loop of Run ask for another look at the target then. The look
// itself does not wait: an operator's would have to wait for it.
func (b *Backup) postpone(target string, at time.Time) {
	b.mu.Lock()
	b.postponed[target] = at
	b.mu.Unlock()
	b.poke()
}

// lookDue asks for the postponed looks whose time has come and answers how long
// to wait for the next; planAgain when there is none.
func (b *Backup) lookDue(now time.Time) time.Duration {
	wait := planAgain
	var due []string
	b.mu.Lock()
	for target, at := range b.postponed {
		if left := at.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		delete(b.postponed, target)
		due = append(due, target)
	}
	b.mu.Unlock()
	for _, target := range due {
		b.ask(targetCheckID(target))
	}
	return wait
}

// tryTarget stores a file at the target, reads it back and removes it.
func (b *Backup) tryTarget(ctx context.Context, t *Target, asked bool) (err error) {
	s, err := b.connect(ctx, t, asked)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.close(); err == nil {
			err = cerr
		}
	}()
	if err := testFile(ctx, s.files); err != nil {
		return err
	}
	free, total, err := s.files.Space(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // the test file has shown that there is some
	}
	if err != nil {
		return err
	}
	b.measured(t.Name, free, total)
	if need := b.needed(t.Name); free < need {
		return &sshpolicy.FileError{
			Op: "space", Path: t.Path, Kind: sshpolicy.FileNoSpace, Free: free, Need: need,
			Err: errors.New("less than the newest copies took"),
		}
	}
	return nil
}

// needed is the room that the next run of the target's largest job may take: as
// much as its newest copy did.
func (b *Backup) needed(target string) (most uint64) {
	o := b.options()
	for _, name := range o.jobsOf(target) {
		most = max(most, uint64(max(0, b.history.proof(name).Size)))
	}
	return most
}

// testFile writes under a temporary name, renames, reads back and removes: all
// that a run needs the right to do.
func testFile(ctx context.Context, files sshpolicy.Files) error {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	name := "allclear-test-" + hex.EncodeToString(random[:])
	content := []byte("written by allclear to see that it can be; removed at once\n" + name + "\n")
	if _, err := files.Save(ctx, name, bytes.NewReader(content), int64(len(content))); err != nil {
		return err
	}
	back, err := readAll(ctx, files, name, int64(len(content)))
	removed := files.Remove(ctx, name)
	switch {
	case err != nil:
		return errors.Join(err, removed)
	case !bytes.Equal(back, content):
		return &sshpolicy.FileError{Op: "read", Path: name, Kind: sshpolicy.FileShort, Err: errors.New("the test file does not read back as it was written")}
	case errors.Is(removed, errors.ErrUnsupported):
		return nil // an account that can only add: the file stays
	}
	return removed
}

func readAll(ctx context.Context, files sshpolicy.Files, name string, limit int64) (_ []byte, err error) {
	f, err := files.Open(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// targetSense is the evidence that every fault of a target carries.
func targetSense(t *Target) map[string]string {
	return map[string]string{"address": t.Address, "user": t.User, "policy": t.Policy.Name}
}

// judgeTarget judges what a look or a run has met at the target: nil is that
// all went well. What lies before the folder is package watch's to judge.
func (b *Backup) judgeTarget(r *check.Report, t *Target, err error) {
	b.judgeUpgrade(r, t)
	if err == nil {
		r.Absent(targetCauses()...)
		b.provedTarget(r, t)
		return
	}
	c := classify(err)
	sense := targetSense(t)
	put(sense, "remote", c.remote)
	switch c.code {
	case CodeNoSpace:
		b.presentNoSpace(r, t, &c, sense)
		r.Absent(CodeNoSFTP, CodeAccessDenied)
	case CodeAccessDenied:
		put(sense, "qualifier", c.qualifier)
		sense["path"], sense["host"] = t.Path, hostOf(t.Address)
		if f, ok := errors.AsType[*sshpolicy.FileError](err); ok {
			put(sense, "path", f.Path)
			put(sense, "operation", f.Op)
		}
		r.Present(CodeAccessDenied, err, sense)
		r.Absent(CodeNoSFTP)
		r.Unknown(CodeNoSpace, "nothing could be written")
	case CodeNoSFTP:
		sense["qualifier"], sense["protocol"] = c.qualifier, string(t.Protocol)
		r.Present(CodeNoSFTP, err, sense)
		r.Unknown(CodeNoSpace, "no file protocol")
		r.Unknown(CodeAccessDenied, "no file protocol")
	default:
		for _, code := range targetCauses() {
			r.Unknown(code, fmt.Sprintf("not reached: %v", err))
		}
	}
}

func (b *Backup) presentNoSpace(r *check.Report, t *Target, c *cause, sense map[string]string) {
	o := b.options()
	put(sense, "qualifier", c.qualifier)
	sense["path"], sense["host"], sense["jobs"] = t.Path, hostOf(t.Address), strings.Join(o.jobsOf(t.Name), ", ")
	sense["free"], sense["need"], sense["total"] = strconv.FormatUint(c.free, 10), strconv.FormatUint(max(c.need, b.needed(t.Name)), 10), "unknown"
	if seen, ok := b.contact(t.Name); ok && seen.space {
		sense["total"] = strconv.FormatUint(seen.total, 10)
	}
	r.Present(CodeNoSpace, c.err, sense)
}

func (b *Backup) provedTarget(r *check.Report, t *Target) {
	seen, ok := b.contact(t.Name)
	switch {
	case ok && seen.space:
		r.Proved("a file was stored at %s, read back and removed; %d of %d bytes are free", t.Path, seen.free, seen.total)
	case ok:
		r.Proved("a file was stored at %s, read back and removed", t.Path)
	}
}

// judgeUpgrade judges the planned policy on the newest offer of the server.
func (b *Backup) judgeUpgrade(r *check.Report, t *Target) {
	if t.Planned.Name == "" {
		r.NotApplicable(CodeUpgrade, "no tighter policy is planned for the target")
		return
	}
	seen, _ := b.contact(t.Name)
	p, ok := sshpolicy.Predict(seen.result, t.Planned)
	switch {
	case !ok:
		r.Unknown(CodeUpgrade, "the server's offer is not known yet")
	case len(p.Missing) == 0:
		r.Absent(CodeUpgrade)
	default:
		sense := targetSense(t)
		var missing []string
		for _, g := range p.Missing {
			missing = append(missing, string(g.Category))
		}
		sense["planned"], sense["missing"], sense["qualifier"] = t.Planned.Name, strings.Join(missing, ","), strings.Join(missing, ",")
		put(sense, "banner", seen.result.Banner)
		r.Present(CodeUpgrade, fmt.Errorf("%s", p.Reason), sense)
		r.Advise(CodeUpgrade, upgradeSteps(p.Remedy, t)...)
	}
}

func upgradeSteps(steps []sshpolicy.Remedy, t *Target) []fault.Remedy {
	all := make([]fault.Remedy, 0, len(steps)+1)
	for _, s := range steps {
		step := fault.Remedy{Text: s.Text, Impact: s.Impact, Command: s.Command}
		if s.Line != "" {
			step.Text += ": " + s.Line
		}
		if step.Impact == "" {
			step.Impact = "none beyond the step itself"
		}
		all = append(all, step)
	}
	return append(all, fault.Remedy{Text: "Look again.", Impact: oneConnect, Command: "allclear verify " + t.Name})
}

// settingsCheck judges what an operator has weakened, at the target and, as
// TARGET/JOB, in its jobs.
func (b *Backup) settingsCheck(t Target) check.Check {
	return check.Check{
		Name: "backup.settings", Resource: t.Name, Every: recordEvery, Codes: []fault.Code{CodeInsecure},
		Run: func(_ context.Context, r *check.Report) {
			now, o := time.Now(), b.options()
			if present, ok := o.target(t.Name); ok {
				judgeSettings(r, &present, present.Insecure, now)
			}
			for _, j := range o.Jobs {
				if j.Target == t.Name && len(j.Insecure) > 0 {
					judgeSettings(r.At(j.Name), &t, j.Insecure, now)
				}
			}
			r.Complete()
		},
	}
}

func judgeSettings(r *check.Report, t *Target, settings []Setting, now time.Time) {
	var words []string
	until := "no end"
	for _, s := range settings {
		if !s.Until.IsZero() && !now.Before(s.Until) {
			continue // its end has passed: whoever reads it ignores it from then on
		}
		word := s.Name + "=" + s.Value
		if s.Why != "" {
			word += " (" + s.Why + ")"
		}
		words = append(words, word)
		if !s.Until.IsZero() {
			until = s.Until.Format(time.RFC3339)
		}
	}
	if len(words) == 0 {
		r.Absent(CodeInsecure)
		return
	}
	sense := targetSense(t)
	sense["settings"], sense["until"] = strings.Join(words, ", "), until
	r.Present(CodeInsecure, fmt.Errorf("weaker than the default: %s", sense["settings"]), sense)
}
