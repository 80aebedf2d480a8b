package fault

import (
	"slices"
	"time"
)

// Fold applies one event to the belief of f. Nothing else writes a belief, so
// what a node believes is always what its journal says; folding a fault's
// events from the zero Fault rebuilds it. Events of other keys leave f alone.
func Fold(f Fault, ev Event) Fault {
	if ev.Kind == KindBoot {
		f.foldBoot(ev)
		return f
	}
	if ev.Key == (Key{}) {
		return f
	}
	if f.Key == (Key{}) {
		f.Key, f.ID = ev.Key, ev.ID
	}
	if f.Key != ev.Key {
		return f
	}
	f.ID = ev.ID
	shown := f.Shown()
	f.foldKind(ev)
	if f.Mark != nil && f.Mark.Kind == OpAck && f.Active && f.Shown() > shown {
		f.Mark = nil // an ack never survives a higher severity
	}
	return f
}

func (b *Belief) foldKind(ev Event) {
	switch ev.Kind {
	case KindRaise:
		b.foldRaise(ev)
	case KindAdopt:
		known := max(b.Notice, ev.Notice, 1) // 0 is a raise that was tried and not answered
		b.foldRaise(ev)
		b.Notice = known // whoever was told of it needs no word; only its clear is news
	case KindClear:
		b.foldClear(ev)
	case KindChange:
		b.foldChange(ev)
	case KindAck:
		b.Mark = &Marked{Kind: OpAck, By: ev.By, At: ev.At, Reason: ev.Reason}
	case KindUnack:
		b.Mark = nil
	case KindFix:
		b.Mark = &Marked{Kind: OpFix, By: ev.By, At: ev.At, Reason: ev.Reason, Due: ev.Due}
	case KindVerifyFailed, KindVerifyInconclusive:
		b.Mark = nil
		b.Notice++
	case KindShelve:
		b.Shelf = &Shelf{End: ev.Due, By: ev.By, Reason: ev.Reason}
	case KindUnshelve:
		b.Shelf = nil
		b.Notice++
	case KindMask:
		b.MaskedBy = ev.Causes
	case KindUnmask:
		b.MaskedBy = nil
		b.Notice++
	case KindFlapOn:
		b.Flapping = true
	case KindFlapOff:
		b.Flapping = false
	case KindStale:
		b.StaleTold = true
	case KindFresh:
		b.StaleTold = false
	case KindEscalate:
		b.Escalated, b.Escalate = ev.Severity, ev.Due
		b.Escalations++
		b.Notice++
	case KindRemedyStart:
		b.foldRemedy(ev)
	case KindRemedyEnd:
		b.Auto = &AutoRun{Starts: b.Auto.starts()}
	}
}

func (b *Belief) foldRaise(ev Event) {
	b.Active = true
	b.Severity, b.Escalated, b.Lent = ev.Severity, None, None
	b.Text, b.Sense, b.Remedy = ev.Text, ev.Sense, ev.Remedy
	b.Check, b.Every, b.Causes = ev.Check, time.Duration(ev.Every), ev.Causes
	b.Raised, b.Changed, b.Cleared, b.ClearReason = ev.At, ev.At, time.Time{}, ""
	b.Mark, b.MaskedBy, b.StaleTold, b.Flapping = nil, nil, false, false
	b.Escalate, b.Escalations = ev.Due, 0
	b.Count++
	b.Occurrence = ev.Occurrence
	b.Notice++
	b.Raises = [3]int64{ev.At.Unix(), b.Raises[0], b.Raises[1]}
	b.Penalty = b.Penalty.add(ev.Clock)
}

func (b *Belief) foldClear(ev Event) {
	b.Active = false
	b.Escalated, b.Lent = None, None
	b.Changed, b.Cleared, b.ClearReason = ev.At, ev.At, ev.Reason
	b.Mark, b.MaskedBy, b.StaleTold, b.Flapping = nil, nil, false, false
	b.Escalate, b.Escalations = nil, 0
	b.Penalty = b.Penalty.add(ev.Clock)
	if ev.Reason == Retired {
		b.Shelf = nil
	}
}

func (b *Belief) foldChange(ev Event) {
	shown := b.Shown()
	b.Changed = ev.At
	if ev.Lent != nil {
		b.Lent = *ev.Lent
	} else {
		b.Severity, b.Text, b.Sense, b.Remedy = ev.Severity, ev.Text, ev.Sense, ev.Remedy
	}
	if b.Shown() != shown {
		b.Notice++
	}
}

func (b *Belief) foldRemedy(ev Event) {
	starts := append(slices.Clone(b.Auto.starts()), ev.Clock)
	b.Auto = &AutoRun{InFlight: ev.By, Starts: starts[max(0, len(starts)-maxBudget):]}
}

func (a *AutoRun) starts() []Clock {
	if a == nil {
		return nil
	}
	return a.Starts
}

// foldBoot carries what runs on the boot's clock into the new boot, and forgets
// automatic remedies that the old process had running.
func (b *Belief) foldBoot(ev Event) {
	last := ev.Clock
	if ev.Last != nil {
		last = *ev.Last
	}
	if b.Shelf != nil {
		s := *b.Shelf
		s.End = s.End.Rebase(last, ev.Clock)
		b.Shelf = &s
	}
	if b.Mark != nil && b.Mark.Due != nil {
		m := *b.Mark
		m.Due = m.Due.Rebase(last, ev.Clock)
		b.Mark = &m
	}
	if b.Escalate != nil {
		b.Escalate = b.Escalate.Rebase(last, ev.Clock)
	}
	b.Penalty = b.Penalty.rebase(last, ev.Clock)
	if b.Auto != nil && b.Auto.InFlight != "" {
		b.Auto = &AutoRun{Starts: b.Auto.Starts}
	}
}
