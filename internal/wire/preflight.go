package wire

// Change is what is planned: what would break if it came?
type Change struct {
	Policy        string `json:"policy,omitempty"`  // an SSH policy
	MinTLS        string `json:"min_tls,omitempty"` // "1.2" or "1.3"
	ServerUpgrade bool   `json:"server_upgrade,omitempty"`
}

// Finding is what the change does to one watched thing.
type Finding struct {
	Target  string   `json:"target"`
	Kind    string   `json:"kind"`    // ssh, tls
	Verdict string   `json:"verdict"` // works, breaks, unknown
	Basis   string   `json:"basis"`   // looked, or predicted from which knowledge
	Missing []string `json:"missing"`
	Why     string   `json:"why"`
	Remedy  []string `json:"remedy"` // the lines that prevent it
}
