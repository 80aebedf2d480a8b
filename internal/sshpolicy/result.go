package sshpolicy

import (
	"slices"
	"strconv"
	"strings"
)

// Result is everything that one look at a server found. It marshals to the
// JSON of "allclear probe ssh".
type Result struct {
	Target    string   `json:"target"`    // what the operator calls it
	Address   string   `json:"address"`   // host:port that was dialled
	Reachable bool     `json:"reachable"` // TCP connected
	Banner    string   `json:"banner"`    // the version line, printable
	Software  string   `json:"software"`  // "OpenSSH_9.2p1"
	Server    Software `json:"server"`
	Policy    string   `json:"policy"`
	// OK: the policy is met, and everything that was asked for beyond it
	// (key exchange, pin, login) succeeded.
	OK         bool     `json:"ok"`
	Categories Verdicts `json:"categories"`
	// Offer holds all ten name-lists; nil when none was read.
	Offer         *Lists     `json:"offer"`
	Missing       []Category `json:"missing"`
	MissingDetail []Gap      `json:"missing_detail"`
	// Code is the fault code, "" when OK and when Inconclusive.
	Code      string `json:"code"`
	Qualifier string `json:"qualifier"`
	// Inconclusive: we could not look (cancelled, out of file handles); this
	// says nothing about the server.
	Inconclusive bool         `json:"inconclusive,omitempty"`
	Error        string       `json:"error"` // "" when OK
	Remedy       []Remedy     `json:"remedy"`
	HostKey      *ServerKey   `json:"host_key_proved,omitempty"` // nil until the server has signed
	Handshake    *Handshake   `json:"handshake,omitempty"`       // nil when not tried
	Auth         *AuthOutcome `json:"auth,omitempty"`            // nil without a login
	Proofs       []Proof      `json:"proofs,omitempty"`
	// Fallback lists the key exchanges that died before one worked, or before
	// there was none left to try. Only a session falls back; a look does not.
	Fallback    []Proof `json:"fallback,omitempty"`
	Connections int     `json:"connections"` // TCP connections this look made
	DurationMS  int64   `json:"duration_ms"`

	Err error `json:"-"` // typed; Classify gives Code and Qualifier
	// LoginWanted: a login was asked for. When it was not reached, Auth is nil
	// and the login stays unjudged.
	LoginWanted bool `json:"-"`
	// Culprit is the error of the first key exchange that died, also where the
	// next one worked; nil when none died or nothing fell back.
	Culprit *CryptoError `json:"-"`
}

// Negotiated are the algorithms of one key exchange, directions apart. A MAC
// is "" where the cipher authenticates by itself.
type Negotiated struct {
	KEX       string `json:"kex"`
	HostKey   string `json:"host_key"`
	CipherC2S string `json:"cipher_c2s"`
	CipherS2C string `json:"cipher_s2c"`
	MACC2S    string `json:"mac_c2s"`
	MACS2C    string `json:"mac_s2c"`
}

// Handshake is the outcome of a real key exchange.
type Handshake struct {
	// Done: keys were exchanged, the host key signed them, and one message each
	// way was encrypted, authenticated and understood.
	Done bool `json:"done"`
	// Why it was not tried, "" when it was.
	Why        string     `json:"why,omitempty"`
	Negotiated Negotiated `json:"negotiated"`
	// GroupBits is the size of the Diffie-Hellman modulus; 0 for curves.
	GroupBits int `json:"group_bits,omitempty"`
	// GroupChosenBy is "server" for group exchange, "name" for a fixed group.
	GroupChosenBy string `json:"group_chosen_by,omitempty"`
	Strict        bool   `json:"strict"` // strict key exchange: the counter-measure to Terrapin (CVE-2023-48795)
}

// AuthOutcome is the outcome of a login.
type AuthOutcome struct {
	User    string   `json:"user"`
	OK      bool     `json:"ok"`
	Method  string   `json:"method"`  // the one that was accepted, "" when none
	Offered []string `json:"offered"` // by the server
	Tried   []string `json:"tried"`
	Message string   `json:"message"` // the server's own words, printable
}

// Proof is the outcome of one key exchange tried on its own.
type Proof struct {
	Algorithm  string `json:"algorithm"`
	Outcome    string `json:"outcome"` // one of the Proof constants
	Why        string `json:"why,omitempty"`
	Code       string `json:"code"`
	Qualifier  string `json:"qualifier"`
	GroupBits  int    `json:"group_bits,omitempty"`
	DurationMS int64  `json:"duration_ms"`
}

// Outcomes of a Proof.
const (
	ProofOK       = "ok"
	ProofFailed   = "failed"
	ProofNotTried = "not-tried"
)

// Verdict of a look on one fault code; a code that is not listed was not
// reached and stays unknown.
type Verdict string

// The verdicts.
const (
	Present       Verdict = "present"
	Absent        Verdict = "absent"
	NotApplicable Verdict = "not-applicable"
)

// Judgement is what one look proves about one fault code.
type Judgement struct {
	Code      string
	Verdict   Verdict
	Qualifier string
	Why       string // for NotApplicable
	Err       error  // for Present
}

// Judged lists what this look proves. It never names a code that the look did
// not reach, so the caller can pass it on as it is.
func (r Result) Judged() []Judgement {
	if r.Inconclusive {
		return nil
	}
	var all []Judgement
	judge := func(code string, reached bool) bool {
		switch {
		case r.Code == code:
			all = append(all, Judgement{Code: code, Verdict: Present, Qualifier: r.Qualifier, Err: r.Err})
			return false
		case reached:
			all = append(all, Judgement{Code: code, Verdict: Absent})
		}
		return reached
	}
	done := r.Handshake != nil && r.Handshake.Done
	_ = judge(CodeNameNotResolved, r.Reachable || r.Code == CodeUnreachable) &&
		judge(CodeUnreachable, r.Reachable) &&
		judge(CodeNotSSH, r.Offer != nil) &&
		judge(CodeNoCommonAlgorithm, r.Offer != nil) &&
		(r.Culprit != nil || judge(CodeCryptoError, done))
	if r.Culprit != nil {
		_, kind := r.Culprit.Fault()
		all = append(all, Judgement{Code: CodeCryptoError, Verdict: Present, Qualifier: kind, Err: r.Culprit})
	}
	if k := r.HostKey; k != nil && k.Pin != PinNotChecked && (r.Code != CodeCryptoError || done && r.Culprit != nil) {
		judge(CodeHostKeyUnknown, true)
		judge(CodeHostKeyChanged, true)
	}
	switch {
	case !r.LoginWanted:
		all = append(all, Judgement{Code: CodeAuthFailed, Verdict: NotApplicable, Why: "no login is configured"})
	case r.Auth != nil:
		judge(CodeAuthFailed, r.Auth.OK)
	}
	return all
}

// Facts are the stable findings, as sense data of a fault: no times, no
// counters, so that an unchanged server gives an unchanged map.
func (r Result) Facts() map[string]string {
	f := map[string]string{"address": r.Address, "policy": r.Policy}
	set := func(key, value string) {
		if value != "" {
			f[key] = value
		}
	}
	set("qualifier", r.Qualifier)
	set("banner", r.Banner)
	set("software", r.Software)
	for _, g := range sameWays(r.MissingDetail) {
		key := string(g.Category)
		if g.Direction != Both {
			key += "_" + string(g.Direction)
		}
		set(key+"_offered", join(g.Offered))
		set(key+"_allowed", join(g.Allowed))
		set(key+"_smallest", g.Smallest)
	}
	if len(r.Missing) > 0 {
		set("missing", joinCategories(r.Missing))
	}
	if k := r.HostKey; k != nil {
		set("host_key", k.Type+" "+k.Fingerprint)
		set("pinned", string(k.Pin))
	}
	if h := r.Handshake; h != nil {
		set("kex", h.Negotiated.KEX)
		set("cipher", h.Negotiated.CipherC2S)
		set("mac", h.Negotiated.MACC2S)
		set("host_key_algorithm", h.Negotiated.HostKey)
		if h.GroupBits > 0 {
			set("group_bits", strconv.Itoa(h.GroupBits))
		}
	}
	r.errorFacts(set)
	return f
}

// errorFacts adds what only the typed error knows.
func (r Result) errorFacts(set func(key, value string)) {
	switch e := r.Err.(type) {
	case *ConnError:
		set("step", e.Step)
		set("errno", e.Errno)
		set("rcode", e.RCode)
		set("resolver", e.Server)
	case *NotSSHError:
		set("first_bytes", printable(string(e.First), firstBytes))
		set("looks_like", e.Guess)
		set("why", e.Why)
	case *CryptoError:
		set("kex", e.Negotiated.KEX) // which may not be the one that was used in the end
		if used := r.used(); used != e.Negotiated.KEX {
			set("kex_used", used)
		}
		set("step", e.Step)
		set("server_said", e.Server)
		set("fips_mode", strconv.FormatBool(e.FIPS))
	case *HostKeyError:
		set("expected", strings.Join(e.Pins, ", "))
		set("known_hosts", e.Key.Line)
	case *AuthError:
		set("user", e.Outcome.User)
		set("methods_offered", strings.Join(e.Outcome.Offered, ", "))
		set("methods_tried", strings.Join(e.Outcome.Tried, ", "))
		set("server_said", e.Outcome.Message)
	}
}

// used is the key exchange that a session fell back to, or "".
func (r Result) used() string {
	if r.Culprit == nil || r.Handshake == nil || !r.Handshake.Done {
		return ""
	}
	return r.Handshake.Negotiated.KEX
}

// Readings are the findings that change from look to look.
func (r Result) Readings() map[string]string {
	return map[string]string{
		"duration_ms": strconv.FormatInt(r.DurationMS, 10),
		"connections": strconv.Itoa(r.Connections),
	}
}

func joinCategories(all []Category) string {
	var names []string
	for _, c := range all {
		names = append(names, string(c))
	}
	return strings.Join(names, ",")
}

// fail records why a look did not succeed.
func (r *Result) fail(err error) {
	r.Err, r.Error = err, err.Error()
	r.Code, r.Qualifier = Classify(err)
	r.Inconclusive = r.Code == ""
}

// algorithms lists the negotiated names by category, for the comparison with
// the policy.
func (n Negotiated) algorithms(c Category) []string {
	var names []string
	switch c {
	case KEX:
		names = []string{n.KEX}
	case HostKey:
		names = []string{n.HostKey}
	case Cipher:
		names = []string{n.CipherC2S, n.CipherS2C}
	case MAC:
		names = []string{n.MACC2S, n.MACS2C}
		names = slices.DeleteFunc(names, func(s string) bool { return s == "" }) // the cipher does it
	}
	return names
}
