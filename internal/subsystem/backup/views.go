package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

func strictly(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// Views implements subsystem.Shower. None connects to a target.
func (b *Backup) Views() []subsystem.View {
	return []subsystem.View{
		{Path: "jobs", Role: subsystem.Viewer, Get: b.viewJobs},
		{Path: "runs", Role: subsystem.Viewer, Get: b.viewRuns},
		{Path: "run", Role: subsystem.Viewer, Get: b.viewRun},
		{Path: "targets", Role: subsystem.Viewer, Get: b.viewTargets},
		{Path: "policy", Role: subsystem.Viewer, Get: b.viewPolicy},
	}
}

func (b *Backup) viewJobs(_ context.Context, q url.Values) (any, error) {
	o := b.options()
	only := q.Get("job")
	list := wire.List[wire.BackupJob]{Items: []wire.BackupJob{}}
	for _, j := range o.Jobs {
		if only == "" || only == j.Name {
			list.Items = append(list.Items, b.wireJob(&o, &j))
		}
	}
	if only != "" && len(list.Items) == 0 {
		return nil, fmt.Errorf("no backup job %q; there are: %s", only, listed(jobNames(o.Jobs)))
	}
	return list, nil
}

func (b *Backup) wireJob(o *Options, j *Job) wire.BackupJob {
	now := time.Now()
	t, _ := o.target(j.Target)
	w := wire.BackupJob{
		Name: j.Name, Kind: string(j.Kind), Target: j.Target, Location: t.Path + "/" + j.Name, Sources: append([]string{}, j.Sources...),
		Schedule: j.Schedule.String(), Disabled: j.Disabled, State: "never",
		Proof: b.wireProof(j), Key: b.wireKey(j),
	}
	if j.Command != nil {
		w.Command = j.Command.Argv
	}
	if limit := j.overdueAfter(now); limit > 0 {
		w.OverdueAfter = limit.String()
	}
	if at, _ := b.due(j, now); !at.IsZero() {
		at = at.UTC()
		w.Next = &at
	}
	if last, ok := b.history.last(j.Name); ok {
		w.Last, w.State = &last, last.State
	}
	if r := b.running(j.Name); r != nil {
		rec := r.record()
		w.Running, w.State = &rec, stateRunning
	}
	return w
}

func (b *Backup) wireProof(j *Job) wire.BackupProof {
	p := b.history.proof(j.Name)
	w := wire.BackupProof{
		Verified: moment(p.Verified), Copy: p.Copy, Structure: moment(p.Structure), ReadPercent: p.ReadPercent,
		ReadWithin: j.Proof.fullRead().String(), ReadOldest: moment(p.ReadOldest), DrillPassed: moment(p.DrillOK),
	}
	if p.Drill != nil {
		w.Drill = &p.Drill.BackupDrill
	}
	return w
}

// moment is a time, or null for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (b *Backup) wireKey(j *Job) wire.BackupKey {
	b.mu.Lock()
	k, tried := b.keys[j.Name]
	b.mu.Unlock()
	switch {
	case !tried:
		return wire.BackupKey{State: "unknown"}
	case k.none:
		return wire.BackupKey{State: "none-yet"}
	case k.tried != nil:
		return wire.BackupKey{State: "unavailable", Why: k.tried.Error()}
	}
	return wire.BackupKey{State: "readable", Local: k.info.Local, Recovery: k.info.Recovery, Cached: k.info.Cached, From: k.info.From}
}

// maxRunsShown bounds one page of runs.
const maxRunsShown = 500

func (b *Backup) viewRuns(_ context.Context, q url.Values) (any, error) {
	limit := 100
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxRunsShown {
			return nil, fmt.Errorf("limit %q is not a number from 1 to %d", s, maxRunsShown)
		}
		limit = n
	}
	all := b.history.all()
	if job := q.Get("job"); job != "" {
		all = b.history.of(job)
	}
	list := wire.List[wire.BackupRun]{Items: []wire.BackupRun{}}
	before := q.Get("before")
	for _, rec := range all {
		if before != "" && rec.ID >= before {
			continue
		}
		if len(list.Items) == limit {
			list.Next = list.Items[limit-1].ID
			break
		}
		if r := b.running(rec.Job); r != nil && rec.State == stateRunning {
			rec = r.record()
		}
		list.Items = append(list.Items, rec)
	}
	return list, nil
}

func (b *Backup) viewRun(_ context.Context, q url.Values) (any, error) {
	id := q.Get("id")
	for _, rec := range b.history.all() {
		if rec.ID != id {
			continue
		}
		if r := b.running(rec.Job); r != nil && rec.State == stateRunning {
			rec = r.record()
		}
		return rec, nil
	}
	return nil, fmt.Errorf("no backup run %q is kept; the newest %d of each job are", id, maxRuns)
}

func (b *Backup) viewTargets(context.Context, url.Values) (any, error) {
	o := b.options()
	list := wire.List[wire.BackupTarget]{Items: []wire.BackupTarget{}}
	for _, t := range o.Targets {
		list.Items = append(list.Items, b.wireTarget(&o, &t))
	}
	return list, nil
}

func (b *Backup) wireTarget(o *Options, t *Target) wire.BackupTarget {
	w := wire.BackupTarget{
		Name: t.Name, Address: t.Address, User: t.User, Path: t.Path, Protocol: string(t.Protocol), Policy: t.Policy.Name,
		Jobs: append([]string{}, o.jobsOf(t.Name)...), Ours: matrix(t.Policy.List), Theirs: map[string][]string{}, Common: map[string][]string{}, State: "not-yet",
	}
	seen, ok := b.contact(t.Name)
	if !ok {
		return w
	}
	w.Looked, w.State, w.Server = moment(seen.at), "reached", seen.result.Banner
	if seen.err != nil {
		w.State, w.Why = "failed", seen.err.Error()
	}
	if seen.space {
		w.Free, w.Total = &seen.free, &seen.total
	}
	if offer := seen.result.Offer; offer != nil {
		w.Theirs = map[string][]string{
			"kex": offer.KEX, "host_key": offer.HostKey, "cipher_c2s": offer.CipherC2S, "cipher_s2c": offer.CipherS2C,
			"mac_c2s": offer.MACC2S, "mac_s2c": offer.MACS2C,
		}
		for category, theirs := range w.Theirs {
			w.Common[category] = slices.DeleteFunc(slices.Clone(w.Ours[category]), func(name string) bool { return !slices.Contains(theirs, name) })
		}
	}
	if h := seen.result.Handshake; h != nil && h.Done {
		w.Chosen = algorithms(t.Policy.Name, h.Negotiated)
	}
	return w
}

// matrix is a policy by category, the directions apart.
func matrix(list func(sshpolicy.Category) []string) map[string][]string {
	return map[string][]string{
		"kex": list(sshpolicy.KEX), "host_key": list(sshpolicy.HostKey), "cipher_c2s": list(sshpolicy.Cipher), "cipher_s2c": list(sshpolicy.Cipher),
		"mac_c2s": list(sshpolicy.MAC), "mac_s2c": list(sshpolicy.MAC),
	}
}

// viewPolicy shows each policy that a target uses, and who can do its
// algorithms.
func (b *Backup) viewPolicy(context.Context, url.Values) (any, error) {
	o := b.options()
	list := wire.List[wire.BackupPolicy]{Items: []wire.BackupPolicy{}}
	for _, t := range o.Targets {
		i := slices.IndexFunc(list.Items, func(p wire.BackupPolicy) bool { return p.Name == t.Policy.Name })
		if i < 0 {
			p := wire.BackupPolicy{Name: t.Policy.Name, Why: t.Policy.Why}
			for _, c := range sshpolicy.Categories() {
				for _, name := range t.Policy.List(c) {
					p.Algorithms = append(p.Algorithms, wire.BackupPolicyAlgorithm{
						Category: string(c), Name: name, Go: sshpolicy.Go.Can(c, name), OpenSSH: sshpolicy.OpenSSH.Can(c, name),
					})
				}
			}
			list.Items = append(list.Items, p)
			i = len(list.Items) - 1
		}
		list.Items[i].Targets = append(list.Items[i].Targets, t.Name)
	}
	return list, nil
}
