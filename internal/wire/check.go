package wire

import (
	"time"

	"allclear/internal/fault"
)

// Check is a check with its plan and the record of its newest look.
type Check struct {
	ID       string       `json:"id"`
	Name     string       `json:"name"`
	Resource string       `json:"resource"`
	Codes    []fault.Code `json:"codes"`
	Every    string       `json:"every"`
	Timeout  string       `json:"timeout"`
	Next     time.Time    `json:"next"`
	Running  bool         `json:"running"`
	State    string       `json:"state"` // proved, faulty, not-monitored, stale, not-yet, failing
	Last     *Look        `json:"last"`  // null before the first look
	// LastConclusive is when a look last judged something; null before that.
	LastConclusive *time.Time `json:"last_conclusive"`
}

// Look is the record of one look.
type Look struct {
	Check      string           `json:"check"`
	At         time.Time        `json:"at"`
	DurationMS int64            `json:"duration_ms"`
	Trigger    fault.Trigger    `json:"trigger"`
	Verdicts   []CheckedVerdict `json:"verdicts"`
	Proved     []string         `json:"proved"`
	Failure    string           `json:"failure,omitempty"` // why the look said nothing
	Refused    string           `json:"refused,omitempty"` // why what it found was not stored
}

// CheckedVerdict is what a look says of one code.
type CheckedVerdict struct {
	Code     fault.Code    `json:"code"`
	Resource string        `json:"resource"`
	Verdict  fault.Verdict `json:"verdict"`
	Why      string        `json:"why,omitempty"`
}

// Status is the answer to "is all well?".
type Status struct {
	Node     string `json:"node"`
	Version  string `json:"version"`
	Epoch    string `json:"epoch"`
	Seq      uint64 `json:"seq"`
	Verdict  string `json:"verdict"` // all-clear, faults, not-yet-known
	Sentence string `json:"sentence"`
	// Summary counts faults; drills are apart.
	Summary Summary `json:"summary"`
	Faults  []Fault `json:"faults"` // active, worst first, at most 100
	// Proved is what the newest looks have proved.
	Proved []Proof `json:"proved"`
	// NotMonitored, Stale and NotYet are the gaps: what nobody vouches for.
	NotMonitored []Gap      `json:"not_monitored"`
	Stale        []Gap      `json:"stale"`
	NotYet       []Gap      `json:"not_yet"`
	Subsystems   []Protects `json:"subsystems"`
	StartedAt    time.Time  `json:"started_at"`
	At           time.Time  `json:"at"`
}

// Summary counts the active faults.
type Summary struct {
	Active   int            `json:"active"`
	Severity map[string]int `json:"severity"`
	Acked    int            `json:"acked"`
	Shelved  int            `json:"shelved"`
	Masked   int            `json:"masked"`
	Stale    int            `json:"stale"`
	Flapping int            `json:"flapping"`
	Drills   int            `json:"drills"`
	Checks   int            `json:"checks"`
	// Conclusive counts the checks with a conclusive look not older than three
	// intervals.
	Conclusive int `json:"conclusive"`
}

// Proof is one thing that a look has proved.
type Proof struct {
	Check    string    `json:"check"`
	Resource string    `json:"resource"`
	Text     string    `json:"text"`
	At       time.Time `json:"at"`
}

// Gap is something that nobody vouches for, and why.
type Gap struct {
	Check    string     `json:"check,omitempty"`
	Code     fault.Code `json:"code,omitempty"`
	Resource string     `json:"resource"`
	Why      string     `json:"why"`
}

// Protects says what a subsystem does right now.
type Protects struct {
	Name   string `json:"name"`
	State  string `json:"state"` // working, faulty, not-configured
	Text   string `json:"text"`
	Checks int    `json:"checks"`
}

// Progress is a step of long work.
type Progress struct {
	Stage   string  `json:"stage"`
	Percent float64 `json:"percent,omitempty"` // 0..100
	Text    string  `json:"text,omitempty"`
}
