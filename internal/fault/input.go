package fault

import "time"

// Input is what can move a fault: an [Observation], an [Operator]'s word, a
// [Tick] of the clock, what happened at its causes or followers ([Mask],
// [Lend]), the end of its check ([Retire]), a trace of it found without a
// belief ([Adoption]), or an automatic remedy ([RemedyStart], [RemedyEnd]).
type Input interface{ input() }

// Observation is what a look says of one key.
type Observation struct {
	Key      Key
	Verdict  Verdict
	Severity Severity // None: the entry's
	Text     string   // the error that showed it, for people; may be empty
	Sense    Sense
	Remedy   []Remedy // steps that the look knows better than the catalogue; nil: the catalogue's
	Look     *Look
}

// Look is one run of a check. Looks are ordered by a process-wide counter and
// not by a clock: Started and Ended are two readings of it, Started < Ended.
type Look struct {
	Check          string
	Trigger        Trigger
	Started, Ended uint64
	At             Clock // when it started
	Every          time.Duration
	Timeout        time.Duration
	Causes         []Key
	// Complete says that the look has enumerated all sub-resources of Resource:
	// faults of Codes below it that it did not name are retired.
	Complete     bool
	Resource     string
	Codes        []Code
	Observations []Observation
}

// Op is what an operator does to a fault.
type Op string

// The operator's words. Fix only asks for a look.
const (
	OpAck      Op = "ack"
	OpUnack    Op = "unack"
	OpShelve   Op = "shelve"
	OpUnshelve Op = "unshelve"
	OpFix      Op = "fix"
)

// Operator is a person's word on a fault.
type Operator struct {
	Op     Op
	By     string
	Reason string
	For    time.Duration // shelve: how long, at most MaxShelf
	// Timeout is the owner check's: a fix without an answer in twice this time
	// counts as inconclusive.
	Timeout time.Duration
}

// MaxShelf is the longest a fault may be shelved.
const MaxShelf = 30 * 24 * time.Hour

// Tick lets time pass. An urgent one makes only what must not wait for a disk
// that fails: what makes a fault more visible.
type Tick struct{ Urgent bool }

// Mask says which of the fault's own causes hide it now; none ends the mask.
type Mask struct{ By []Key }

// Lend says the highest severity among the faults that this one masks.
type Lend struct{ Severity Severity }

// Retire says that no check judges the fault any more.
type Retire struct{}

// Adoption makes a fault active again of which only a trace is left, so that
// its clear will be told.
type Adoption struct {
	Severity Severity
	Check    string
	Every    time.Duration
	Causes   []Key
	// Occurrence and Notice are the highest that any receiver was told, if known.
	Occurrence, Notice uint64
}

// RemedyStart says that an automatic remedy begins, RemedyEnd that it ended.
type (
	RemedyStart struct{ Action string }
	RemedyEnd   struct{ Action, Result string }
)

func (Observation) input() {}
func (Operator) input()    {}
func (Tick) input()        {}
func (Mask) input()        {}
func (Lend) input()        {}
func (Retire) input()      {}
func (Adoption) input()    {}
func (RemedyStart) input() {}
func (RemedyEnd) input()   {}
