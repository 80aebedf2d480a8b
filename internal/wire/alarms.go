package wire

import "time"

// AlarmsDocument is the data of RFC 8632's module ietf-alarms, with the features
// operator-actions, alarm-shelving, alarm-history and alarm-summary, encoded as
// RFC 7951 says. It is read-only.
type AlarmsDocument struct {
	Alarms Alarms `json:"ietf-alarms:alarms"`
}

// Alarms is the container of that name.
type Alarms struct {
	Inventory AlarmInventory `json:"alarm-inventory"`
	Summary   AlarmSummary   `json:"summary"`
	List      AlarmList      `json:"alarm-list"`
	Shelved   ShelvedAlarms  `json:"shelved-alarms"`
}

// AlarmInventory lists every alarm that there can be.
type AlarmInventory struct {
	Types []AlarmType `json:"alarm-type"`
}

// AlarmType is one code of the catalogue.
type AlarmType struct {
	ID          string   `json:"alarm-type-id"`
	Qualifier   string   `json:"alarm-type-qualifier"` // always empty: ours is evidence, not identity
	WillClear   bool     `json:"will-clear"`
	Severities  []string `json:"severity-level,omitempty"`
	Description string   `json:"description"`
}

// AlarmSummary counts the alarms that are not shelved.
type AlarmSummary struct {
	Counts []AlarmCount `json:"alarm-summary"`
	// ShelvesActive is [null], the "empty" of YANG, while something is shelved.
	ShelvesActive []any `json:"shelves-active,omitempty"`
}

// AlarmCount is one severity's count.
type AlarmCount struct {
	Severity   string `json:"severity"`
	Total      int    `json:"total"`
	NotCleared int    `json:"not-cleared"`
	Cleared    int    `json:"cleared"`
}

// AlarmList holds the alarms that are not shelved.
type AlarmList struct {
	Number      int        `json:"number-of-alarms"`
	LastChanged *time.Time `json:"last-changed,omitempty"`
	Alarms      []Alarm    `json:"alarm"`
}

// ShelvedAlarms holds those that are.
type ShelvedAlarms struct {
	Number      int        `json:"number-of-shelved-alarms"`
	LastChanged *time.Time `json:"shelved-alarms-last-changed,omitempty"`
	Alarms      []Alarm    `json:"shelved-alarm"`
}

// Alarm is one fault, active or cleared.
type Alarm struct {
	Resource    string             `json:"resource"`
	TypeID      string             `json:"alarm-type-id"`
	Qualifier   string             `json:"alarm-type-qualifier"`
	TimeCreated *time.Time         `json:"time-created,omitempty"` // not of a shelved one
	Cleared     bool               `json:"is-cleared"`
	LastRaised  time.Time          `json:"last-raised"`
	LastChanged time.Time          `json:"last-changed"`
	Severity    string             `json:"perceived-severity"`
	Text        string             `json:"alarm-text"`
	Changes     []AlarmChange      `json:"status-change"`
	Operators   []AlarmOperatorAct `json:"operator-state-change,omitempty"`
}

// AlarmChange is one change of state, the newest first.
type AlarmChange struct {
	Time     time.Time `json:"time"`
	Severity string    `json:"perceived-severity"` // or "cleared"
	Text     string    `json:"alarm-text"`
}

// AlarmOperatorAct is what an operator did.
type AlarmOperatorAct struct {
	Time     time.Time `json:"time"`
	Operator string    `json:"operator"`
	State    string    `json:"state"` // none, ack, shelved, un-shelved
	Text     string    `json:"text,omitempty"`
}
