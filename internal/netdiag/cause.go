package netdiag

// Cause is one exact reason why an endpoint cannot be used: a stable kebab-case
// word, "" for none.
type Cause string

// The causes, step by step. What each means is in its row of the table of
// remedies; tests demand that every one has a row.
const (
	// local.
	BadTarget          Cause = "bad-target"
	ClockBeforeFloor   Cause = "clock-before-floor"
	OwnCertUnreadable  Cause = "own-cert-unreadable"
	OwnCertKeyMismatch Cause = "own-cert-key-mismatch"
	OwnCertExpired     Cause = "own-cert-expired"
	OwnCertNotYetValid Cause = "own-cert-not-yet-valid"
	NoRoute            Cause = "no-route"
	NoAddressV4        Cause = "no-address-v4"
	NoAddressV6        Cause = "no-address-v6"
	Cancelled          Cause = "cancelled"

	// dns.
	DNSNXDomain        Cause = "dns-nxdomain"
	DNSNoData          Cause = "dns-nodata"
	DNSNoDataA         Cause = "dns-nodata-a"
	DNSNoDataAAAA      Cause = "dns-nodata-aaaa"
	DNSServFail        Cause = "dns-servfail"
	DNSRefused         Cause = "dns-refused"
	DNSTimeout         Cause = "dns-timeout"
	DNSUnreachable     Cause = "dns-resolver-unreachable"
	DNSSinkhole        Cause = "dns-sinkhole"
	DNSPrivate         Cause = "dns-private-answer"
	DNSDisagree        Cause = "dns-resolvers-disagree"
	DNSBadAnswer       Cause = "dns-bad-answer"
	DNSResolverFailing Cause = "dns-resolver-failing"

	// tcp.
	TCPRefused         Cause = "tcp-refused"
	TCPReset           Cause = "tcp-reset"
	TCPClosed          Cause = "tcp-closed"
	TCPTimeout         Cause = "tcp-timeout"
	TCPHostUnreachable Cause = "tcp-host-unreachable"
	TCPNetUnreachable  Cause = "tcp-net-unreachable"
	TCPDenied          Cause = "tcp-denied-locally"
	TCPFailed          Cause = "tcp-failed"
	TCPIPv6Broken      Cause = "tcp-ipv6-broken"
	TCPIPv4Broken      Cause = "tcp-ipv4-broken"
	TCPPartly          Cause = "tcp-partly"

	// proxy.
	ProxyUnreachable Cause = "proxy-unreachable"
	ProxyTLS         Cause = "proxy-tls-failed"
	ProxyAuth        Cause = "proxy-auth"
	ProxyForbidden   Cause = "proxy-forbidden"
	ProxyBadGateway  Cause = "proxy-bad-gateway"
	ProxyTimeout     Cause = "proxy-gateway-timeout"
	ProxyHang        Cause = "proxy-hang"
	ProxyClosed      Cause = "proxy-closed"
	ProxyNotHTTP     Cause = "proxy-not-http"
	ProxyStatus      Cause = "proxy-status"

	// tls-transport.
	TLSNotTLS   Cause = "tls-not-tls"
	TLSClosed   Cause = "tls-closed"
	TLSReset    Cause = "tls-reset"
	TLSSilent   Cause = "tls-silent"
	TLSStalled  Cause = "tls-stalled"
	TLSMTU      Cause = "tls-mtu-black-hole"
	TLSBigHello Cause = "tls-big-hello"

	// tls-negotiation.
	TLSVersion  Cause = "tls-version"
	TLSCipher   Cause = "tls-cipher"
	TLSName     Cause = "tls-name-refused"
	TLSALPN     Cause = "tls-alpn"
	TLSAlert    Cause = "tls-alert"
	TLSProtocol Cause = "tls-protocol"

	// server-certificate.
	ServerCertExpired     Cause = "server-cert-expired"
	ServerCertNotYetValid Cause = "server-cert-not-yet-valid"
	ServerCertUnknownCA   Cause = "server-cert-unknown-ca"
	ServerCertSelfSigned  Cause = "server-cert-self-signed"
	ServerCertName        Cause = "server-cert-name"
	ServerCertPurpose     Cause = "server-cert-purpose"
	ServerCertPin         Cause = "server-cert-pin"
	ServerCertIntercepted Cause = "server-cert-intercepted"
	ServerCertInvalid     Cause = "server-cert-invalid"

	// client-certificate.
	ClientCertIssuer      Cause = "client-cert-issuer-not-accepted"
	ClientCertAlgorithm   Cause = "client-cert-algorithm"
	ClientCertRequired    Cause = "client-cert-required"
	ClientCertExpired     Cause = "client-cert-expired"
	ClientCertNotYetValid Cause = "client-cert-not-yet-valid"
	ClientCertUnknownCA   Cause = "client-cert-unknown-ca"
	ClientCertRevoked     Cause = "client-cert-revoked"
	ClientCertPurpose     Cause = "client-cert-wrong-purpose"
	ClientCertRejected    Cause = "client-cert-rejected"
	ClientCertClosed      Cause = "client-cert-closed"
	ClientCertStatus      Cause = "client-cert-refused-by-http"

	// http.
	HTTPPortal          Cause = "http-portal"
	HTTPForeignRedirect Cause = "http-foreign-redirect"
	HTTPUnauthorized    Cause = "http-unauthorized"
	HTTPForbidden       Cause = "http-forbidden"
	HTTPNotFound        Cause = "http-not-found"
	HTTPProxyAuth       Cause = "http-proxy-auth"
	HTTPRateLimited     Cause = "http-rate-limited"
	HTTPServerError     Cause = "http-server-error"
	HTTPStatus          Cause = "http-unexpected-status"
	HTTPType            Cause = "http-unexpected-type"
	HTTPTruncated       Cause = "http-truncated"
	HTTPClosed          Cause = "http-closed"
	HTTPReset           Cause = "http-reset"
	HTTPTimeout         Cause = "http-timeout"
	HTTPMalformed       Cause = "http-malformed"
	GRPCUnimplemented   Cause = "grpc-unimplemented"
	GRPCError           Cause = "grpc-error"
	GRPCNoH2            Cause = "grpc-needs-h2"

	// clock.
	ClockSkew  Cause = "clock-skew"
	ClockWrong Cause = "clock-wrong"
)
