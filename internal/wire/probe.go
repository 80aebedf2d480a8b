package wire

import (
	"time"

	"allclear/internal/fault"
)

// SSHProbe is what one look at an SSH server found, without credentials.
type SSHProbe struct {
	Target        string         `json:"target"`
	Address       string         `json:"address"`
	Reachable     bool           `json:"reachable"`
	Banner        string         `json:"banner"`
	Software      string         `json:"software"`
	Policy        string         `json:"policy"`
	OK            bool           `json:"ok"`
	Categories    SSHCategories  `json:"categories"`
	Missing       []string       `json:"missing"` // categories without a common algorithm
	MissingDetail []SSHGap       `json:"missing_detail"`
	Code          string         `json:"code"` // "" when ok and when inconclusive
	Qualifier     string         `json:"qualifier"`
	Inconclusive  bool           `json:"inconclusive,omitempty"` // this host could not look: says nothing of the server
	Error         string         `json:"error"`
	Remedy        []fault.Remedy `json:"remedy"`
	HostKey       *SSHHostKey    `json:"host_key_proved"` // null until the server has signed
	Handshake     *SSHHandshake  `json:"handshake"`       // null when not tried
	Proofs        []SSHProof     `json:"proofs,omitempty"`
	Connections   int            `json:"connections"`
	DurationMS    int64          `json:"duration_ms"`
}

// SSHCategories is the judgement of all four categories of algorithms.
type SSHCategories struct {
	KEX     SSHList       `json:"kex"`
	HostKey SSHList       `json:"host_key"`
	Cipher  SSHDirections `json:"cipher"`
	MAC     SSHDirections `json:"mac"`
}

// SSHDirections keeps client to server and server to client apart.
type SSHDirections struct {
	C2S SSHList `json:"c2s"`
	S2C SSHList `json:"s2c"`
}

// SSHList compares one name-list of the server with the policy.
type SSHList struct {
	Offered   []string `json:"offered"`
	Allowed   []string `json:"allowed"`
	Common    []string `json:"common"`
	Chosen    string   `json:"chosen"`
	NotNeeded bool     `json:"not_needed,omitempty"` // the cipher authenticates by itself
}

// SSHGap is one category, and direction, without a common algorithm.
type SSHGap struct {
	Category  string   `json:"category"`
	Direction string   `json:"direction"` // c2s, s2c, or "" where there is none
	Offered   []string `json:"offered"`
	Allowed   []string `json:"allowed"`
	Smallest  string   `json:"smallest"` // the one name that would close the gap
}

// SSHHostKey is the key that the server has proved to hold.
type SSHHostKey struct {
	Type        string `json:"type"`
	Algorithm   string `json:"algorithm"`
	Fingerprint string `json:"fingerprint"`
	Bits        int    `json:"bits"`
	KnownHosts  string `json:"known_hosts"` // the line to trust it by
}

// SSHHandshake is the outcome of a real key exchange.
type SSHHandshake struct {
	Done          bool          `json:"done"`
	Why           string        `json:"why,omitempty"` // why it was not tried
	Negotiated    SSHNegotiated `json:"negotiated"`
	GroupBits     int           `json:"group_bits,omitempty"` // of the DH modulus; 0 for curves
	GroupChosenBy string        `json:"group_chosen_by,omitempty"`
	Strict        bool          `json:"strict"`
}

// SSHNegotiated are the algorithms of one key exchange.
type SSHNegotiated struct {
	KEX       string `json:"kex"`
	HostKey   string `json:"host_key"`
	CipherC2S string `json:"cipher_c2s"`
	CipherS2C string `json:"cipher_s2c"`
	MACC2S    string `json:"mac_c2s"`
	MACS2C    string `json:"mac_s2c"`
}

// SSHProof is one key exchange tried on its own.
type SSHProof struct {
	Algorithm  string `json:"algorithm"`
	Outcome    string `json:"outcome"` // ok, failed, not-tried
	Why        string `json:"why,omitempty"`
	Code       string `json:"code"`
	Qualifier  string `json:"qualifier"`
	GroupBits  int    `json:"group_bits,omitempty"`
	DurationMS int64  `json:"duration_ms"`
}

// EndpointProbe is one climb of the ladder to a TLS or HTTP endpoint.
type EndpointProbe struct {
	Target     string          `json:"target"`
	Address    string          `json:"address"` // ip:port that was used
	ServerName string          `json:"server_name"`
	OK         bool            `json:"ok"`
	Code       string          `json:"code"` // "" when ok and when inconclusive
	Qualifier  string          `json:"qualifier"`
	Cause      string          `json:"cause"` // stable id of what is wrong
	Step       string          `json:"step"`  // the rung that failed
	Error      string          `json:"error"`
	Remedy     []fault.Remedy  `json:"remedy"`
	Steps      []LadderStep    `json:"steps"`
	Warnings   []LadderFinding `json:"warnings"`
	TLS        *TLSFacts       `json:"tls"`  // null when no handshake was finished
	HTTP       *HTTPFacts      `json:"http"` // null when no answer came
	DurationMS int64           `json:"duration_ms"`
}

// LadderStep is one rung.
type LadderStep struct {
	Name       string            `json:"name"`
	Outcome    string            `json:"outcome"` // ok, failed, warning, not-tried
	Cause      string            `json:"cause"`
	Detail     string            `json:"detail"`
	Address    string            `json:"address,omitempty"`
	Family     string            `json:"family,omitempty"`
	DurationMS float64           `json:"duration_ms"`
	Evidence   map[string]string `json:"evidence,omitempty"`
}

// LadderFinding is something wrong that did not stop the climb.
type LadderFinding struct {
	Step   string `json:"step"`
	Cause  string `json:"cause"`
	Detail string `json:"detail"`
}

// TLSFacts is what was negotiated.
type TLSFacts struct {
	Version         string        `json:"version"`
	Cipher          string        `json:"cipher"`
	Group           string        `json:"group"`
	ALPN            string        `json:"alpn"`
	ClientCertAsked bool          `json:"client_cert_asked"`
	AcceptedIssuers []string      `json:"accepted_issuers,omitempty"`
	Certificates    []Certificate `json:"certificates"` // as presented, leaf first
}

// Certificate names a certificate and its life.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"`
	SPKI      string    `json:"spki"`
	DNSNames  []string  `json:"dns_names,omitempty"`
}

// HTTPFacts is an HTTP answer without its body.
type HTTPFacts struct {
	Proto       string `json:"proto"`
	Status      int    `json:"status"`
	ContentType string `json:"content_type"`
	Server      string `json:"server"`
	Location    string `json:"location,omitempty"`
}
