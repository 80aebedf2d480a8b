package agent

import (
	"context"
	"slices"
	"strings"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// AlarmModule is the YANG module that holds an identity for every code.
const AlarmModule = "allclear-alarm-types"

// AlarmIdentity is the name of a code's identity in AlarmModule: an identifier
// of YANG has no "/".
func AlarmIdentity(code fault.Code) string { return strings.ReplaceAll(string(code), "/", ".") }

const (
	alarmChanges = 32   // RFC 8632: max-alarm-status-changes, its default
	alarmsAtMost = 2000 // with their history; more alarms show their newest change only
)

// Alarms returns the faults as RFC 8632 has them. Drills are left out.
func (a *Agent) Alarms(ctx context.Context) (wire.AlarmsDocument, error) {
	var doc wire.AlarmsDocument
	doc.Alarms.Inventory = a.alarmTypes()
	views, _ := a.opts.Recorder.Page(0, 1<<30, func(f *fault.Fault) bool { return f.Count > 0 && !f.Key.Drill() })
	counts := map[string]*wire.AlarmCount{}
	list, shelved := &doc.Alarms.List, &doc.Alarms.Shelved
	list.Alarms, shelved.Alarms = []wire.Alarm{}, []wire.Alarm{}
	for i := range views {
		v := &views[i]
		alarm, err := a.alarm(ctx, v, i < alarmsAtMost)
		if err != nil {
			return doc, err
		}
		if v.Shelved {
			alarm.TimeCreated = nil
			shelved.Alarms = append(shelved.Alarms, alarm)
			shelved.LastChanged = later(shelved.LastChanged, alarm.LastChanged)
			continue
		}
		list.Alarms = append(list.Alarms, alarm)
		list.LastChanged = later(list.LastChanged, alarm.LastChanged)
		c := counts[alarm.Severity]
		if c == nil {
			c = &wire.AlarmCount{Severity: alarm.Severity}
			counts[alarm.Severity] = c
		}
		c.Total++
		if alarm.Cleared {
			c.Cleared++
		} else {
			c.NotCleared++
		}
	}
	list.Number, shelved.Number = len(list.Alarms), len(shelved.Alarms)
	doc.Alarms.Summary = summarise(counts, shelved.Number > 0)
	return doc, nil
}

func later(t *time.Time, u time.Time) *time.Time {
	if t == nil || u.After(*t) {
		return &u
	}
	return t
}

func summarise(counts map[string]*wire.AlarmCount, shelves bool) wire.AlarmSummary {
	s := wire.AlarmSummary{Counts: []wire.AlarmCount{}}
	for sev := fault.Critical; sev >= fault.Warning; sev-- {
		if c := counts[sev.String()]; c != nil {
			s.Counts = append(s.Counts, *c)
		}
	}
	if shelves {
		s.ShelvesActive = []any{nil}
	}
	return s
}

func (a *Agent) alarmTypes() wire.AlarmInventory {
	inv := wire.AlarmInventory{Types: []wire.AlarmType{}}
	for _, e := range a.opts.Catalogue.All() {
		if e.Never != "" {
			continue
		}
		general := e.General()
		inv.Types = append(inv.Types, wire.AlarmType{
			ID: AlarmModule + ":" + AlarmIdentity(e.Code), WillClear: !e.ByOperator,
			Severities: []string{e.Severity.String()}, Description: general.Title + ". " + general.Cause,
		})
	}
	return inv
}

// alarm is one fault. Its first change is the newest and says what the alarm
// itself says, as RFC 8632 section 4.3 demands.
func (a *Agent) alarm(ctx context.Context, v *fault.View, history bool) (wire.Alarm, error) {
	created := v.Raised.UTC()
	alarm := wire.Alarm{
		Resource: v.Key.Resource, TypeID: AlarmModule + ":" + AlarmIdentity(v.Key.Code), TimeCreated: &created,
		Cleared: !v.Active, LastRaised: v.Raised.UTC(), Severity: v.Shown.String(), Text: alarmText(v.Title, v.Text),
	}
	newest := wire.AlarmChange{Time: v.Changed.UTC(), Severity: alarm.Severity, Text: alarm.Text}
	if alarm.Cleared {
		newest.Severity = "cleared"
	}
	alarm.Changes = []wire.AlarmChange{newest}
	alarm.LastChanged = newest.Time
	if !history {
		return alarm, nil
	}
	events, err := a.opts.Recorder.History(ctx, v.Key, 2*alarmChanges, 0)
	if err != nil {
		return alarm, err
	}
	for _, ev := range events {
		if act, ok := operatorAct(ev); ok {
			alarm.Operators = append(alarm.Operators, act)
			alarm.LastChanged = *later(&alarm.LastChanged, act.Time)
		}
	}
	for _, c := range statusChanges(events, v.Title) {
		if c.Time.Before(newest.Time) && len(alarm.Changes) < alarmChanges {
			alarm.Changes = append(alarm.Changes, c)
			created = c.Time
		}
	}
	return alarm, nil
}

func alarmText(title, text string) string {
	if text == "" {
		return title
	}
	return title + ": " + text
}

// statusChanges turns events, newest first, into changes in the same order. The
// severity is that of the look, raised by an escalation or lent by followers.
func statusChanges(events []fault.Event, title string) []wire.AlarmChange {
	var changes []wire.AlarmChange
	var b fault.Fault
	for _, ev := range slices.Backward(events) {
		b = fault.Fold(b, ev)
		c := wire.AlarmChange{Time: ev.At.UTC(), Severity: b.Shown().String(), Text: alarmText(title, b.Text)}
		switch ev.Kind {
		case fault.KindRaise, fault.KindAdopt, fault.KindChange, fault.KindEscalate:
		case fault.KindClear:
			c.Severity = "cleared"
		default:
			continue
		}
		if c.Severity == fault.None.String() {
			continue // the raise itself is not in these events
		}
		changes = append(changes, c)
	}
	slices.Reverse(changes)
	return changes
}

func operatorAct(ev fault.Event) (wire.AlarmOperatorAct, bool) {
	act := wire.AlarmOperatorAct{Time: ev.At.UTC(), Operator: ev.By, Text: ev.Reason}
	switch ev.Kind {
	case fault.KindAck:
		act.State = "ack"
	case fault.KindUnack, fault.KindVerifyFailed, fault.KindVerifyInconclusive:
		act.State = "none"
	case fault.KindShelve:
		act.State = "shelved"
	case fault.KindUnshelve:
		act.State = "un-shelved"
	default:
		return act, false
	}
	if act.Operator == "" {
		act.Operator = "allclear"
	}
	return act, true
}
