package notify

import (
	"fmt"
	"strconv"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/wire"
)

// Type is what a message says.
type Type string

// The types of message.
const (
	Raise  Type = "raise"
	Change Type = "change" // still active, but something that must be heard is new
	Clear  Type = "clear"
	Digest Type = "digest" // stands for many messages to people
	Resync Type = "resync" // all that is active: whatever else the receiver believes is over
	Test   Type = "test"
)

// Message is what one receiver is told at a time.
type Message struct {
	Type Type
	// ID is the idempotency key: node/epoch/seq of the fault's last event. The
	// same state told again has the same id.
	ID   string
	Node string
	At   time.Time // of the event told of; of the message itself for a digest, resync or test
	// Fault is the state now, of raise, change and clear.
	Fault wire.Fault
	// Was is the severity under which the receiver knows the fault; None: it does
	// not know it, unless Unsure.
	Was fault.Severity
	// Unsure claims that an earlier message was sent and its answer never came:
	// the receiver may believe either.
	Unsure bool
	// Items are what a digest stands for, or raises of all that is active for a
	// resync.
	Items []Message
	// Late claims that a digest holds what could not be delivered for so long that
	// it is no longer told one by one.
	Late bool
}

// Severity is the severity to show: of a digest the highest in it.
func (m *Message) Severity() fault.Severity {
	s := m.Fault.Severity
	for i := range m.Items {
		if m.Items[i].Type != Clear {
			s = max(s, m.Items[i].Fault.Severity)
		}
	}
	return s
}

// count returns how many items are raises or changes, and how many are clears.
func (m *Message) count() (raised, cleared int) {
	for i := range m.Items {
		if m.Items[i].Type == Clear {
			cleared++
		} else {
			raised++
		}
	}
	return raised, cleared
}

// describe turns what is due into a message. The record told says what the
// receiver knows: nil nothing, notice 0 perhaps something.
func (c *courier) describe(p *journal.Pending) Message {
	f := c.opts.Wire(&p.View.View)
	f.Durable, f.Epoch = p.Durable, p.Epoch
	m := Message{Type: Raise, Node: c.opts.Node, Fault: f, At: when(f.ChangedAt, f.RaisedAt), ID: c.eventID(p)}
	if p.Told != nil {
		m.Was, m.Unsure = p.Told.Severity, p.Told.Notice == 0
	}
	switch {
	case p.Send == fault.SendClear:
		m.Type, m.At = Clear, when(f.ClearedAt, f.ChangedAt)
	case p.Told != nil && !m.Unsure && p.Told.Occurrence == p.Occurrence:
		m.Type = Change
	}
	return m
}

// eventID names the state of one fault for ever. The numbers of events that are not
// on disk yet may be given again after a crash: the time keeps them apart.
func (c *courier) eventID(p *journal.Pending) string {
	id := c.opts.Node + "/" + p.Epoch + "/" + strconv.FormatUint(p.Seq, 10)
	if !p.Durable {
		id += "/" + strconv.FormatInt(since(p).UnixNano(), 10)
	}
	return id
}

// own makes a message that concerns no single fault.
func (c *courier) own(t Type, now time.Time) Message {
	head := c.opts.Journal.Head()
	return Message{
		Type: t, Node: c.opts.Node, At: now.UTC(),
		ID: fmt.Sprintf("%s/%s/%d/%s/%d", c.opts.Node, head.Epoch, head.Seq, t, now.UnixNano()),
	}
}

// when is the first time given.
func when(times ...*time.Time) time.Time {
	for _, t := range times {
		if t != nil && !t.IsZero() {
			return t.UTC()
		}
	}
	return time.Time{}
}

// record is what the receiver knows once it has answered the message; nil:
// nothing more.
func record(p *journal.Pending) *fault.Told {
	if p.Send == fault.SendClear {
		return nil
	}
	return &fault.Told{Occurrence: p.Occurrence, Severity: p.Shown, Notice: p.Notice}
}

// since is when what is due came about.
func since(p *journal.Pending) time.Time {
	if p.Send == fault.SendClear {
		return when(&p.Cleared, &p.Changed)
	}
	return when(&p.Changed, &p.Raised)
}
