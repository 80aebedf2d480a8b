package wire

import (
	"time"

	"allclear/internal/fault"
)

// Support is a support bundle. It is built from the fields here and from
// nothing else: no configuration text, no credential, no path of a credential
// can get into it.
type Support struct {
	At       time.Time      `json:"at"`
	Node     string         `json:"node"`
	Version  Version        `json:"version"`
	Host     SupportHost    `json:"host"`
	Process  SupportProcess `json:"process"`
	Journal  SupportJournal `json:"journal"`
	Status   SupportStatus  `json:"status"`
	Faults   []SupportFault `json:"faults"`
	Checks   []SupportCheck `json:"checks"`
	Events   []SupportEvent `json:"events"` // the newest, oldest first
	Watching []Protects     `json:"watching"`
}

// SupportHost is what the machine is.
type SupportHost struct {
	OS     string `json:"os"`
	Kernel string `json:"kernel"`
	CPUs   int    `json:"cpus"`
	Memory uint64 `json:"memory_bytes"`
}

// SupportProcess is how the agent's process is.
type SupportProcess struct {
	StartedAt  time.Time `json:"started_at"`
	RSS        uint64    `json:"rss_bytes"`
	Goroutines int       `json:"goroutines"`
	Root       bool      `json:"root"`
}

// SupportJournal is how the journal is.
type SupportJournal struct {
	Epoch    string `json:"epoch"`
	Seq      uint64 `json:"seq"`
	Held     int    `json:"held"`
	Failing  bool   `json:"failing"`
	SetAside bool   `json:"set_aside"`
	Bytes    int64  `json:"bytes"`
	Cleared  int    `json:"cleared"`
}

// SupportStatus is the verdict.
type SupportStatus struct {
	Verdict string  `json:"verdict"`
	Summary Summary `json:"summary"`
}

// SupportFault is a fault without its evidence's free text.
type SupportFault struct {
	ID         uint64          `json:"id"`
	Code       fault.Code      `json:"code"`
	Qualifier  string          `json:"qualifier,omitempty"`
	Resource   string          `json:"resource"`
	Severity   fault.Severity  `json:"severity"`
	State      fault.Condition `json:"state"`
	RaisedAt   *time.Time      `json:"raised_at"`
	ClearedAt  *time.Time      `json:"cleared_at"`
	LastLook   *time.Time      `json:"last_look"`
	Count      uint64          `json:"count"`
	Stale      bool            `json:"stale"`
	Unverified bool            `json:"unverified"`
	Flapping   bool            `json:"flapping"`
	Masked     bool            `json:"masked"`
}

// SupportCheck is a check and how its newest look went.
type SupportCheck struct {
	ID         string     `json:"id"`
	State      string     `json:"state"`
	Every      string     `json:"every"`
	LastAt     *time.Time `json:"last_at"`
	DurationMS int64      `json:"duration_ms"`
	Failed     bool       `json:"failed"`
}

// SupportEvent is an event without its free text.
type SupportEvent struct {
	Seq      uint64     `json:"seq"`
	Kind     fault.Kind `json:"kind"`
	Code     fault.Code `json:"code,omitempty"`
	Resource string     `json:"resource,omitempty"`
	At       time.Time  `json:"at"`
}
