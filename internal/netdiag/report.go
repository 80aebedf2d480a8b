package netdiag

import (
	"maps"
	"strconv"
	"strings"
	"time"
)

// StepName is a rung of the ladder.
type StepName string

// The steps, in the order they are climbed.
const (
	StepLocal      StepName = "local"
	StepDNS        StepName = "dns"
	StepTCP        StepName = "tcp"
	StepProxy      StepName = "proxy"
	StepTransport  StepName = "tls-transport"
	StepNegotiate  StepName = "tls-negotiation"
	StepServerCert StepName = "server-certificate"
	StepClientCert StepName = "client-certificate"
	StepHTTP       StepName = "http"
	StepClock      StepName = "clock"
)

// StepNames lists the steps in order.
func StepNames() []StepName {
	return []StepName{
		StepLocal, StepDNS, StepTCP, StepProxy, StepTransport, StepNegotiate,
		StepServerCert, StepClientCert, StepHTTP, StepClock,
	}
}

// Outcome is how a step ended.
type Outcome string

// The outcomes.
const (
	OK       Outcome = "ok"
	Failed   Outcome = "failed"
	Warning  Outcome = "warning"   // something is wrong here, but the ladder goes on
	NotTried Outcome = "not-tried" // not reached, or not needed; Detail says which
)

// Report is what one climb of the ladder found.
type Report struct {
	Target     string    `json:"target"`
	Address    string    `json:"address,omitempty"` // ip:port that was used
	ServerName string    `json:"server_name,omitempty"`
	Start      time.Time `json:"start"`
	DurationMS int64     `json:"duration_ms"`

	OK     bool     `json:"ok"`
	Cause  Cause    `json:"cause"` // "" when OK
	Step   StepName `json:"step,omitempty"`
	Detail string   `json:"detail,omitempty"`

	Steps    []Step    `json:"steps"`
	Warnings []Finding `json:"warnings,omitempty"`
	TLS      *TLSInfo  `json:"tls,omitempty"`
	HTTP     *HTTPInfo `json:"http,omitempty"`
	// ClockOffsetMS is the server's Date minus our clock; nil when no Date came.
	ClockOffsetMS *int64 `json:"clock_offset_ms,omitempty"`
}

// Step is one rung, or one address of the TCP rung.
type Step struct {
	Name       StepName          `json:"name"`
	Outcome    Outcome           `json:"outcome"`
	Cause      Cause             `json:"cause,omitempty"`
	Detail     string            `json:"detail,omitempty"`
	Start      time.Time         `json:"start,omitzero"`
	DurationMS float64           `json:"duration_ms"`
	Address    string            `json:"address,omitempty"`
	Family     string            `json:"family,omitempty"` // "ip4" or "ip6"
	BytesIn    int64             `json:"bytes_in,omitempty"`
	BytesOut   int64             `json:"bytes_out,omitempty"`
	TCP        *TCPInfo          `json:"tcp_info,omitempty"`
	Peers      []Peer            `json:"peers,omitempty"` // certificates presented, leaf first
	Evidence   map[string]string `json:"evidence,omitempty"`
}

// Finding is something wrong that did not stop the ladder.
type Finding struct {
	Step   StepName `json:"step"`
	Cause  Cause    `json:"cause"`
	Detail string   `json:"detail,omitempty"`
}

// TLSInfo is what was negotiated.
type TLSInfo struct {
	Version         string   `json:"version"` // "1.3"
	Cipher          string   `json:"cipher,omitempty"`
	Group           string   `json:"group,omitempty"`
	ALPN            string   `json:"alpn,omitempty"`
	Peers           []Peer   `json:"peers,omitempty"`
	ClientCertAsked bool     `json:"client_cert_asked"`
	ClientCertSent  bool     `json:"client_cert_sent"`
	AcceptedIssuers []string `json:"accepted_issuers,omitempty"` // as the server lists them, at most 32
	// Acceptance says how the client certificate was proved to be accepted:
	// "handshake" (TLS 1.2), "ticket", "settings", "data" or "silence"; "first-read"
	// when nobody waited for it.
	Acceptance string `json:"acceptance,omitempty"`
}

// HTTPInfo is the answer, without its body.
type HTTPInfo struct {
	Proto       string `json:"proto"`
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Server      string `json:"server,omitempty"`
	Location    string `json:"location,omitempty"`
	RetryAfter  string `json:"retry_after,omitempty"`
	GRPCStatus  string `json:"grpc_status,omitempty"`
	GRPCMessage string `json:"grpc_message,omitempty"`
	BodyBytes   int64  `json:"body_bytes"`

	authenticate string // WWW-Authenticate
}

// TCPInfo is what the kernel measured (tcp(7), TCP_INFO).
type TCPInfo struct {
	RTTMicros       uint32 `json:"rtt_us"`
	Retransmits     uint32 `json:"retransmits"` // segments, since the connect
	SendMSS         uint32 `json:"send_mss"`
	ReceiveMSS      uint32 `json:"receive_mss"`
	PathMTU         uint32 `json:"path_mtu"`
	UnackedSegments uint32 `json:"unacked_segments"`
}

// Warned reports whether cause is among the warnings.
func (r *Report) Warned(cause Cause) bool {
	for _, w := range r.Warnings {
		if w.Cause == cause {
			return true
		}
	}
	return false
}

// Code is the fault code the cause belongs to, such as
// "connectivity/tls-failed"; "" when all is well. A wrong clock is
// "identity/clock-wrong". A 401 or 403 to a client certificate that was sent,
// without another way to authenticate, is a rejected certificate.
func (r *Report) Code() string {
	if r.refusedByStatus() {
		return CodeClientCert
	}
	return r.Cause.Code()
}

func (r *Report) refusedByStatus() bool {
	return (r.Cause == HTTPUnauthorized || r.Cause == HTTPForbidden) &&
		r.TLS != nil && r.TLS.ClientCertSent && r.HTTP != nil && r.HTTP.authenticate == ""
}

// Qualifier is the variant within the code, such as "intercepted".
func (r *Report) Qualifier() string { return r.Cause.Qualifier() }

// Remedies are the steps that mend the cause, in order; none when all is well.
func (r *Report) Remedies() []Remedy { return r.Cause.Remedies() }

// Sense returns the facts of the failing step as flat pairs, for the evidence
// of a fault. Values that change from look to look (times, RTT) are left out.
func (r *Report) Sense() map[string]string {
	s := map[string]string{}
	put := func(k, v string) {
		if v != "" {
			s[k] = v
		}
	}
	put("step", string(r.Step))
	put("cause", string(r.Cause))
	put("qualifier", r.Qualifier())
	put("detail", r.Detail)
	put("address", r.Address)
	put("server_name", r.ServerName)
	for _, st := range r.Steps {
		if st.Name == r.Step && st.Outcome == Failed && st.Cause == r.Cause {
			put("addr_family", st.Family)
			put("address", st.Address)
			maps.Copy(s, st.Evidence)
			delete(s, "clock")
			break
		}
	}
	if r.TLS != nil {
		put("tls_version", r.TLS.Version)
		put("accepted_issuers", strings.Join(r.TLS.AcceptedIssuers, "; "))
		if len(r.TLS.Peers) > 0 {
			put("peer_subject", r.TLS.Peers[0].Subject)
			put("peer_issuer", r.TLS.Peers[0].Issuer)
			put("peer_sha256", r.TLS.Peers[0].SHA256)
			put("peer_not_after", r.TLS.Peers[0].NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if r.HTTP != nil {
		put("status", strconv.Itoa(r.HTTP.Status))
		put("grpc_status", r.HTTP.GRPCStatus)
	}
	return s
}
