package netdiag

import "slices"

// The fault codes causes belong to. A wrong clock belongs to the identity, all
// others to the endpoint.
const (
	CodeDNS        = "connectivity/dns-failed"
	CodeTCP        = "connectivity/tcp-failed"
	CodeProxy      = "connectivity/proxy-failed"
	CodeTLS        = "connectivity/tls-failed"
	CodeClientCert = "connectivity/client-cert-rejected"
	CodeHTTP       = "connectivity/http-error"
	CodeClock      = "identity/clock-wrong"
)

// Remedy is one step that mends a cause.
type Remedy struct {
	Text    string `json:"text"`
	Impact  string `json:"impact,omitempty"`  // what else it changes; "" for nothing
	Command string `json:"command,omitempty"` // of this program, to prepare or to prove it
}

// row is what is known of a cause.
type row struct {
	cause     Cause
	step      StepName // where it belongs
	code      string
	qualifier string
	text      string
	remedy    Remedy
}

// Causes lists every cause in the order of the ladder.
func Causes() []Cause {
	var all []Cause
	for _, rows := range [][]row{lowRows, highRows} {
		for _, r := range rows {
			all = append(all, r.cause)
		}
	}
	return all
}

// row looks c up; the zero row when c is "" or foreign.
func (c Cause) row() row {
	for _, rows := range [][]row{lowRows, highRows} {
		if i := slices.IndexFunc(rows, func(r row) bool { return r.cause == c }); i >= 0 {
			return rows[i]
		}
	}
	return row{}
}

// Text says in one clause what is wrong.
func (c Cause) Text() string { return c.row().text }

// Step is the rung of the ladder c belongs to.
func (c Cause) Step() StepName { return c.row().step }

// Code is the fault code c belongs to; "" when it is no fault of the endpoint.
func (c Cause) Code() string { return c.row().code }

// Qualifier is the variant within the code.
func (c Cause) Qualifier() string { return c.row().qualifier }

// Remedies are the steps that mend c, in order; none for "".
func (c Cause) Remedies() []Remedy {
	r := c.row()
	if r.cause == "" {
		return nil
	}
	return []Remedy{r.remedy, proof}
}

// proof is the last step of every remedy.
var proof = Remedy{Text: "Prove the repair: climb the ladder again.", Command: "allclear probe tls HOST:443"}

// lowRows are the causes up to the proxy; nothing changes them.
var lowRows = []row{
	{
		BadTarget, StepLocal, "", "target", "the target's own settings cannot be used",
		Remedy{"Correct the address, root certificates, pins or proxy named in the detail.", "", "allclear config check"},
	},
	{
		ClockBeforeFloor, StepLocal, CodeClock, "local-clock", "this machine's clock shows a time that is certainly past",
		Remedy{"Start time synchronisation on this machine (chronyd, systemd-timesyncd) or set the clock.", "certificates of every program are judged anew", "allclear verify"},
	},
	{
		OwnCertUnreadable, StepLocal, CodeClientCert, "unreadable", "our own client certificate or key cannot be read",
		Remedy{"Put a PEM certificate and its unencrypted PEM key where the configuration points.", "", "allclear config check"},
	},
	{
		OwnCertKeyMismatch, StepLocal, CodeClientCert, "key-mismatch", "our own client certificate and key do not belong together",
		Remedy{"Install the key that the certificate was requested with, or request a new certificate.", "", "allclear verify"},
	},
	{
		OwnCertExpired, StepLocal, CodeClientCert, "expired", "our own client certificate has expired",
		Remedy{"Renew the client certificate with the authority that issued it.", "the endpoint is unusable until then", "allclear verify"},
	},
	{
		OwnCertNotYetValid, StepLocal, CodeClientCert, "not-yet-valid", "our own client certificate is not yet valid",
		Remedy{"Compare this machine's clock with a good one; if it is right, wait for the certificate's start or have it reissued.", "", "allclear verify"},
	},
	{
		NoRoute, StepLocal, CodeTCP, "no-route", "this machine has no route to the address",
		Remedy{"Add a default route or a route to the address (ip route get ADDRESS shows what is missing).", "", "allclear verify"},
	},
	{
		NoAddressV4, StepLocal, CodeTCP, "no-address-v4", "this machine has no IPv4 address",
		Remedy{"Give an interface an IPv4 address, or allow IPv6 for this endpoint.", "", "allclear verify"},
	},
	{
		NoAddressV6, StepLocal, CodeTCP, "no-address-v6", "this machine has no IPv6 address",
		Remedy{"Give an interface a global IPv6 address, or allow IPv4 for this endpoint.", "", "allclear verify"},
	},
	{
		Cancelled, StepLocal, "", "", "the look was called off before it ended",
		Remedy{"Look again.", "", "allclear verify"},
	},
	{
		DNSNXDomain, StepDNS, CodeDNS, "nxdomain", "the name does not exist",
		Remedy{"Check the spelling of the name, then the zone: a resolver says that it does not exist.", "", "allclear verify"},
	},
	{
		DNSNoData, StepDNS, CodeDNS, "nodata", "the name exists and has no address",
		Remedy{"Add an A or AAAA record for the name.", "", "allclear verify"},
	},
	{
		DNSNoDataA, StepDNS, CodeDNS, "nodata-a", "the name has no IPv4 address",
		Remedy{"Add an A record, or allow IPv6 for this endpoint.", "", "allclear verify"},
	},
	{
		DNSNoDataAAAA, StepDNS, CodeDNS, "nodata-aaaa", "the name has no IPv6 address",
		Remedy{"Add an AAAA record, or allow IPv4 for this endpoint.", "", "allclear verify"},
	},
	{
		DNSServFail, StepDNS, CodeDNS, "servfail", "the resolver could not find out (SERVFAIL)",
		Remedy{"Look at the resolver's log: broken DNSSEC or an unreachable authoritative server are the usual reasons.", "", "allclear verify"},
	},
	{
		DNSRefused, StepDNS, CodeDNS, "refused", "the resolver refuses to answer us",
		Remedy{"Allow this machine in the resolver's access list, or use a resolver that serves it.", "", "allclear verify"},
	},
	{
		DNSTimeout, StepDNS, CodeDNS, "timeout", "the resolver does not answer",
		Remedy{"Check that the resolver runs and that UDP and TCP port 53 pass between here and it.", "", "allclear verify"},
	},
	{
		DNSUnreachable, StepDNS, CodeDNS, "resolver-unreachable", "the resolver cannot be reached",
		Remedy{"Check the nameserver lines of /etc/resolv.conf: nothing listens there, or there is no way to it.", "", "allclear verify"},
	},
	{
		DNSSinkhole, StepDNS, CodeDNS, "sinkhole", "the name resolves to a sinkhole",
		Remedy{"Exempt the name in the DNS filter that answers with a blocking address.", "the filter no longer guards this name", "allclear verify"},
	},
	{
		DNSPrivate, StepDNS, CodeDNS, "private", "a public name resolves to a private address",
		Remedy{"Find the resolver or split zone that answers with a private address; correct it or use another resolver.", "", "allclear verify"},
	},
	{
		DNSDisagree, StepDNS, CodeDNS, "disagree", "the resolvers contradict each other",
		Remedy{"Compare the zone on both resolvers; an out-of-date secondary or a split zone is the usual reason.", "", "allclear verify"},
	},
	{
		DNSBadAnswer, StepDNS, CodeDNS, "bad-answer", "the resolver's answer makes no sense",
		Remedy{"Check what really listens at the resolver's address.", "", "allclear verify"},
	},
	{
		DNSResolverFailing, StepDNS, CodeDNS, "resolver-failing", "one of the resolvers fails",
		Remedy{"Repair or remove the resolver named in the detail: it slows every look-up.", "", "allclear verify"},
	},
	{
		TCPRefused, StepTCP, CodeTCP, "refused", "nothing listens on this port",
		Remedy{"Start the service, or correct the port.", "", "allclear verify"},
	},
	{
		TCPReset, StepTCP, CodeTCP, "reset", "the connection is reset as soon as it stands",
		Remedy{"A firewall or load balancer in front of the service ends the connection; look at its log for our address.", "", "allclear verify"},
	},
	{
		TCPClosed, StepTCP, CodeTCP, "closed", "the connection is closed as soon as it stands",
		Remedy{"The service or a load balancer without a live back end hangs up at once; look at its log and access list.", "", "allclear verify"},
	},
	{
		TCPTimeout, StepTCP, CodeTCP, "timeout", "no answer to the connection request",
		Remedy{"Allow TCP to this address and port in the firewalls on the way; then check that the machine is up.", "", "allclear verify"},
	},
	{
		TCPHostUnreachable, StepTCP, CodeTCP, "host-unreachable", "the host cannot be reached",
		Remedy{"The last router says that the host is not there: check that it is up and in the right network.", "", "allclear verify"},
	},
	{
		TCPNetUnreachable, StepTCP, CodeTCP, "net-unreachable", "the network cannot be reached",
		Remedy{"A router on the way has no route to the network; ask who runs it.", "", "allclear verify"},
	},
	{
		TCPDenied, StepTCP, CodeTCP, "denied-locally", "this machine's own policy forbids the connection",
		Remedy{"Look for a prohibit route, a local firewall rule or a sandbox that forbids this connection.", "", "allclear verify"},
	},
	{
		TCPFailed, StepTCP, CodeTCP, "other", "the connection fails",
		Remedy{"Read the system's error in the detail.", "", "allclear verify"},
	},
	{
		TCPIPv6Broken, StepTCP, CodeTCP, "ipv6-broken", "IPv6 fails while IPv4 works",
		Remedy{"Repair IPv6 on the way or at the service, or withdraw the AAAA record: clients that try IPv6 first are slow.", "", "allclear verify"},
	},
	{
		TCPIPv4Broken, StepTCP, CodeTCP, "ipv4-broken", "IPv4 fails while IPv6 works",
		Remedy{"Repair IPv4 on the way or at the service, or withdraw the A record.", "", "allclear verify"},
	},
	{
		TCPPartly, StepTCP, CodeTCP, "partly", "some of the addresses fail",
		Remedy{"Repair the service at the addresses named in the detail, or withdraw their records.", "", "allclear verify"},
	},
	{
		ProxyUnreachable, StepProxy, CodeProxy, "unreachable", "the proxy cannot be reached",
		Remedy{"Check the proxy's address and port in the configuration, and that it runs.", "", "allclear config check"},
	},
	{
		ProxyTLS, StepProxy, CodeProxy, "tls", "TLS to the proxy fails",
		Remedy{"Check that the proxy speaks TLS on this port (https:// or http://) and that its authority is trusted.", "", "allclear config check"},
	},
	{
		ProxyAuth, StepProxy, CodeProxy, "auth", "the proxy wants us to log in (407)",
		Remedy{"Give the proxy's user and password, or exempt this machine; the scheme it offers is in the evidence.", "", "allclear config check"},
	},
	{
		ProxyForbidden, StepProxy, CodeProxy, "blocked", "the proxy forbids this destination (403)",
		Remedy{"Allow the destination in the proxy's rules.", "", "allclear verify"},
	},
	{
		ProxyBadGateway, StepProxy, CodeProxy, "refused", "the proxy cannot reach the destination (502, 503)",
		Remedy{"The proxy runs; check name resolution and the way from the proxy to the destination.", "", "allclear verify"},
	},
	{
		ProxyTimeout, StepProxy, CodeProxy, "gateway-timeout", "the proxy got no answer from the destination (504)",
		Remedy{"The proxy runs; check the firewall between the proxy and the destination.", "", "allclear verify"},
	},
	{
		ProxyHang, StepProxy, CodeProxy, "hang", "the proxy never answers CONNECT",
		Remedy{"Restart or unload the proxy; it takes connections and does not serve them.", "", "allclear verify"},
	},
	{
		ProxyClosed, StepProxy, CodeProxy, "closed", "the proxy hangs up on CONNECT",
		Remedy{"Check that the proxy allows CONNECT to this port.", "", "allclear verify"},
	},
	{
		ProxyNotHTTP, StepProxy, CodeProxy, "not-http", "what listens there is no HTTP proxy",
		Remedy{"Correct the proxy's address, or use https:// when the proxy speaks TLS.", "", "allclear config check"},
	},
	{
		ProxyStatus, StepProxy, CodeProxy, "status", "the proxy refuses with another status",
		Remedy{"Read the status in the evidence and look at the proxy's log.", "", "allclear verify"},
	},
}
