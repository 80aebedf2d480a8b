package wire

import (
	"time"

	"allclear/internal/fault"
)

// DrillRequest names the codes to drill; none means all.
type DrillRequest struct {
	Codes []fault.Code `json:"codes"`
}

// DrillReport is what happened when a thing was really broken and repaired.
type DrillReport struct {
	Code     fault.Code  `json:"code"`
	Run      string      `json:"run"`
	Resource string      `json:"resource"`
	Passed   bool        `json:"passed"`
	Why      string      `json:"why,omitempty"` // why not
	Steps    []DrillStep `json:"steps"`
}

// DrillStep is one stage of a drill.
type DrillStep struct {
	Name string    `json:"name"` // prepare, well, break, raised, repair, cleared, retire
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	Seq  uint64    `json:"seq,omitempty"` // of the event that proves it
}
