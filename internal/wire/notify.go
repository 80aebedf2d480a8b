package wire

import "time"

// NotifySink is how the telling of one receiver goes.
type NotifySink struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`        // webhook, alertmanager, syslog, email, snmp, journald
	Template    string `json:"template"`    // of a webhook; "" is the CloudEvents form
	Destination string `json:"destination"` // safe to show: of a URL the scheme and host only
	State       string `json:"state"`       // ok, failing, idle (nothing was sent since the start)
	// ToldSeq is the event up to which everything due was told; Lag is how many
	// events the journal is ahead of it, LagSeconds how old the oldest message is
	// that could not be delivered yet.
	ToldSeq       uint64     `json:"told_seq"`
	Lag           uint64     `json:"lag"`
	LagSeconds    float64    `json:"lag_seconds"`
	Pending       int        `json:"pending"`   // messages due now
	Told          int        `json:"told"`      // faults that it was told of and not told to be over
	Delivered     uint64     `json:"delivered"` // messages since the start of the agent
	LastDelivered *time.Time `json:"last_delivered"`
	LastAnswer    string     `json:"last_answer"`
	Failures      int        `json:"failures"` // in a row
	LastError     string     `json:"last_error"`
	LastErrorAt   *time.Time `json:"last_error_at"`
	NextTry       *time.Time `json:"next_try"` // while it fails
	Digests       uint64     `json:"digests"`  // messages that stood for many, since the start
	Folded        uint64     `json:"folded"`   // messages not sent one by one because they were too late
}

// NotifyTestRequest names the sink to test.
type NotifyTestRequest struct {
	Sink string `json:"sink"`
}

// NotifyTest is what came of a test message.
type NotifyTest struct {
	Sink        string `json:"sink"`
	Kind        string `json:"kind"`
	Destination string `json:"destination"`
	OK          bool   `json:"ok"`
	Answer      string `json:"answer"` // what the receiver said
	Error       string `json:"error"`
	DurationMS  int64  `json:"duration_ms"`
}
