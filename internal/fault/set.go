package fault

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits bound what a node holds. Reaching one is never silent: see [Strain].
type Limits struct {
	Active     int // active faults; drills do not count, system/* is exempt
	SenseBytes int // keys and values of one fault's sense
	TextBytes  int
}

// DefaultLimits are those of the design.
func DefaultLimits() Limits { return Limits{Active: 10_000, SenseBytes: 4096, TextBytes: 1024} }

// Set is all the faults of one node and what follows from their being
// together. It is not safe for concurrent use. Every change goes through
// [Step]; a change that could not be stored is taken back with Revert.
type Set struct {
	cat       *Catalogue
	limits    Limits
	faults    map[Key]*Fault
	byID      map[uint64]*Fault
	followers map[Key][]Key // cause -> active faults that declare it
	nextID    uint64
	summary   Summary
	tried     map[Key]uint64   // of causes that somebody follows: start of the newest look
	refused   map[Key]struct{} // present, but not raised for the limit
	cut       map[Key]struct{} // active, with sense or text cut
	log       []saved
}

// saved is a fault as it was before a change.
type saved struct {
	key Key
	was *Fault // nil: it did not exist
}

// NewSet returns an empty set.
func NewSet(cat *Catalogue, limits Limits) *Set {
	return &Set{
		cat: cat, limits: limits, nextID: 1,
		faults: map[Key]*Fault{}, byID: map[uint64]*Fault{}, followers: map[Key][]Key{}, tried: map[Key]uint64{},
		refused: map[Key]struct{}{}, cut: map[Key]struct{}{},
	}
}

// ErrUnknownCode says that the catalogue has no such code.
var ErrUnknownCode = errors.New("no such fault code")

// Restore takes over the beliefs of an earlier process, folded with the boot
// event. Every one of them is older than any look to come.
func (s *Set) Restore(beliefs []Belief, boot Event) {
	for _, b := range beliefs {
		f := Fold(Fault{Belief: b}, boot)
		f.live.lookedAt = boot.Clock.Boot
		s.nextID = max(s.nextID, b.ID+1)
		s.put(&f)
	}
	s.log = s.log[:0]
}

// Get returns the fault of key; nil if there is none. It must not be changed.
// The set never changes it either: a change puts another in its place.
func (s *Set) Get(k Key) *Fault { return s.faults[k] }

// Find returns the key of the fault with that id.
func (s *Set) Find(id uint64) (Key, bool) {
	if f := s.byID[id]; f != nil {
		return f.Key, true
	}
	return Key{}, false
}

// Stamp records the number that the journal gave the fault's last event.
func (s *Set) Stamp(k Key, seq uint64) {
	if f := s.faults[k]; f != nil {
		f.live.seq = seq
	}
}

// Seq is the number of the fault's last event, 0 if the journal has none.
func (f *Fault) Seq() uint64 { return f.live.seq }

// Len is the number of faults, cleared ones included.
func (s *Set) Len() int { return len(s.faults) }

// Keys returns the keys of all faults by id.
func (s *Set) Keys() []Key {
	keys := slices.Collect(maps.Keys(s.faults))
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(s.faults[a].ID, s.faults[b].ID) })
	return keys
}

// Apply steps one fault and whatever its change does to others: masks and lent
// severity. It returns the events in order.
func (s *Set) Apply(k Key, in Input, now Now) ([]Event, error) {
	if !s.knows(k, in) {
		return nil, fmt.Errorf("%w: %s", ErrUnknownCode, k.Code)
	}
	old := s.faults[k]
	events := s.step(k, s.entry(k.Code), in, &now)
	// A look makes fresh without an event what no tick has yet called stale.
	if freshened := old != nil && old.Stale(now.Clock) && !s.faults[k].Stale(now.Clock); freshened || len(events) > 0 {
		events = append(events, s.relate(k, &now)...)
	}
	return events, nil
}

// step moves one fault and advances now past the events it made.
func (s *Set) step(k Key, e *Entry, in Input, now *Now) []Event {
	old := s.faults[k]
	f := Fault{Belief: Belief{Key: k, ID: s.nextID}}
	if old != nil {
		f = *old
	}
	if _, ok := in.(RemedyStart); ok && s.remedying(k.Resource) {
		return nil
	}
	in, cut := s.bound(in)
	next, events := Step(f, e, in, *now)
	if s.overLimit(&next, events) {
		s.refused[k] = struct{}{}
		return nil
	}
	s.strain(&f, &next, in, cut)
	if len(events) == 0 && next.blank() {
		if old != nil {
			s.save(k, old)
			s.remove(k)
		}
		return nil
	}
	s.save(k, old)
	if old == nil {
		s.nextID++
	}
	s.put(&next)
	now.Shown = now.Shown.Add(time.Duration(len(events)) * time.Microsecond)
	return events
}

func (s *Set) overLimit(f *Fault, events []Event) bool {
	return len(events) > 0 && events[0].Kind == KindRaise && counted(f.Key) &&
		s.limits.Active > 0 && s.summary.Active >= s.limits.Active
}

// counted claims that the limit on active faults concerns the key. The node's
// own faults are exempt, or reaching the limit could not be told.
func counted(k Key) bool { return !k.Drill() && !Covers("system", string(k.Code)) }

// bound makes text and sense of an observation valid UTF-8, or they would come
// back from the journal as something else, and cuts them to their limits.
func (s *Set) bound(in Input) (_ Input, cut bool) {
	o, ok := in.(Observation)
	if !ok || o.Text == "" && len(o.Sense) == 0 && len(o.Remedy) == 0 {
		return in, false
	}
	text := strings.ToValidUTF8(o.Text, replacement)
	sense, cut := o.Sense.valid().limit(s.limits.SenseBytes)
	if n := s.limits.TextBytes; n > 0 && len(text) > n {
		text, cut = clip(text, max(0, n-len(ellipsis))), true
	}
	steps, cutSteps := boundSteps(o.Remedy, s.limits.SenseBytes)
	o.Text, o.Sense, o.Remedy = text, sense, steps
	return o, cut || cutSteps
}

// boundSteps makes a look's own steps valid UTF-8 and cuts their texts: lines in
// them are built from what foreign machines sent. A command is dropped rather
// than cut or mended.
func boundSteps(steps []Remedy, n int) (_ []Remedy, cut bool) {
	bounded := func(s Remedy) Remedy {
		s.Text, s.Impact = strings.ToValidUTF8(s.Text, replacement), strings.ToValidUTF8(s.Impact, replacement)
		if n > 0 && len(s.Text) > n {
			s.Text, cut = clip(s.Text, max(0, n-len(ellipsis))), true
		}
		if n > 0 && len(s.Command) > n || !utf8.ValidString(s.Command) {
			s.Command, cut = "", true
		}
		return s
	}
	for i, s := range steps {
		if b := bounded(s); b != s {
			steps = slices.Clone(steps)
			for j := i; j < len(steps); j++ {
				steps[j] = bounded(steps[j])
			}
			break
		}
	}
	return steps, cut
}

// strain keeps the lists of what met a limit, for what a look of the owner's
// says and for what is gone. Drills strain nothing.
func (s *Set) strain(was, f *Fault, in Input, cut bool) {
	o, look := in.(Observation)
	if look && (o.Verdict == Unknown || was.foreign(o.Look.Check)) {
		return
	}
	if _, retired := in.(Retire); look || retired {
		delete(s.refused, f.Key)
	}
	switch {
	case !f.Active && f.live.running != Present:
		delete(s.cut, f.Key)
	case look && cut && !f.Key.Drill():
		s.cut[f.Key] = struct{}{}
	case look:
		delete(s.cut, f.Key)
	}
}

// put stores a fault and keeps the indexes and counters true.
func (s *Set) put(f *Fault) {
	old := s.faults[f.Key]
	if old != nil {
		s.summary.count(old, -1)
	}
	s.faults[f.Key] = f
	s.byID[f.ID] = f
	s.summary.count(f, +1)
	if old != nil && old.Active == f.Active && slices.Equal(old.Causes, f.Causes) {
		return
	}
	if old != nil {
		s.unfollow(old)
	}
	if f.Active {
		for _, c := range f.Causes {
			s.followers[c] = append(s.followers[c], f.Key)
		}
	}
}

func (s *Set) unfollow(f *Fault) {
	if !f.Active {
		return
	}
	for _, c := range f.Causes {
		s.followers[c] = slices.DeleteFunc(s.followers[c], func(k Key) bool { return k == f.Key })
		if len(s.followers[c]) == 0 {
			delete(s.followers, c)
			delete(s.tried, c)
		}
	}
}

func (s *Set) remove(k Key) {
	f := s.faults[k]
	if f == nil {
		return
	}
	s.summary.count(f, -1)
	s.unfollow(f)
	delete(s.faults, k)
	delete(s.byID, f.ID)
}

func (s *Set) save(k Key, old *Fault) { s.log = append(s.log, saved{k, old}) }

// Checkpoint says where Revert may return to; Commit forgets all before.
func (s *Set) Checkpoint() int { return len(s.log) }

// Commit makes all changes final.
func (s *Set) Commit() { s.log = s.log[:0] }

// Revert takes back the changes made since the checkpoint.
func (s *Set) Revert(checkpoint int) {
	for i := len(s.log) - 1; i >= checkpoint; i-- {
		was := s.log[i]
		if was.was == nil {
			s.remove(was.key)
			continue
		}
		s.put(was.was)
	}
	s.log = s.log[:checkpoint]
}

// Forget removes cleared faults for ever, history that was pruned, and returns
// those it did remove. What is active, pending or shelved stays.
func (s *Set) Forget(keys ...Key) (gone []Key) {
	for _, k := range keys {
		if f := s.faults[k]; f != nil && !f.concerns() {
			s.remove(k)
			gone = append(gone, k)
		}
	}
	return gone
}

// concerns claims that somebody may still care about the fault's being there.
func (f *Fault) concerns() bool {
	return f.Active || f.Shelf != nil || f.live.running == Present
}

// Ticking returns the keys of the faults that time can move.
func (s *Set) Ticking(now Clock) []Key {
	var keys []Key
	for k, f := range s.faults {
		if f.due(s.entry, now) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Resource, b.Resource))
}

// Strain says which limits are hit.
type Strain struct {
	Active, MaxActive int
	Refused           []Key // present but not raised
	Cut               []Key // sense or text cut
}

// Strain returns how near the set is to its limits.
func (s *Set) Strain() Strain {
	return Strain{
		Active: s.summary.Active, MaxActive: s.limits.Active,
		Refused: slices.SortedFunc(maps.Keys(s.refused), compareKeys),
		Cut:     slices.SortedFunc(maps.Keys(s.cut), compareKeys),
	}
}
