package watch

import (
	"allclear/internal/fault"
	"allclear/internal/netdiag"
)

// ladderFacts are the sense keys of a climb whose change is news; ladderReadings
// are those that differ from look to look of an unchanged fault: text with port
// numbers in it, the address out of several, the certificate of one of several
// servers behind a name, what depends on timing.
var (
	ladderFacts = []string{
		"target", "server_name", "cause", "name", "source", "proxy", "scheme", "status", "grpc_status",
		"version", "cipher", "tls_version", "server_version", "server_speaks", "speaks",
		"peer_subject", "peer_issuer", "accepted_issuers", "sent", "client_subject", "client_serial", "client_not_after",
	}
	ladderReadings = []string{
		"address", "detail", "clock", "offset_s", "hello_bytes", "first_bytes", "resolvers", "acceptance",
		"peer_sha256", "peer_not_after",
	}
)

var (
	ladderStep = fault.Remedy{
		Text:   "Climb the ladder step by step and see where it ends.",
		Impact: "a few connections to the endpoint", Command: "allclear probe tls {target}",
	}
	verifyTLS = fault.Remedy{Text: "Look again: the fault clears when this step succeeds.", Impact: "one connection to the endpoint", Command: "allclear verify {resource}"}
)

// connectivityFaults are told apart by cause: the look itself names the step,
// the cause and its remedy; what stands here is what all causes share.
func connectivityFaults() []fault.Entry {
	entry := func(code fault.Code, severity fault.Severity, title, impact, cause, raise, clear string, step fault.Remedy) fault.Entry {
		return fault.Entry{
			Code: code, Severity: severity, Title: title, Impact: impact, Cause: cause, Raise: raise, Clear: clear,
			Remedy: []fault.Remedy{ladderStep, step, verifyTLS},
			Facts:  ladderFacts, Applies: "every watched TLS or HTTP endpoint",
		}
	}
	const impact = "What depends on this endpoint cannot reach it."
	all := []fault.Entry{
		entry(CodeDNS, fault.Major, "Name of the endpoint does not resolve", impact,
			"The name is wrong, unknown to the resolver, or the resolver does not answer: {detail}",
			"name resolution gives no usable address", "the name resolves",
			fault.Remedy{Text: "Mend the name, the zone or the resolver.", Impact: "all who use this resolver see the change"}),
		entry(CodeTCP, fault.Major, "Endpoint cannot be reached by TCP", impact,
			"No address of the endpoint accepts a connection: {detail}",
			"the connection fails on all addresses", "a connection is made",
			fault.Remedy{Text: "Allow TCP to this address and port in all firewalls in between, and see that the service listens.", Impact: "opens one outbound connection"}),
		entry(CodeProxy, fault.Major, "Proxy does not let us through", impact,
			"The proxy cannot be reached, wants credentials, or refuses this destination: {detail}",
			"CONNECT is not answered with success", "the proxy opens the tunnel",
			fault.Remedy{Text: "Mend the proxy's rule or our credentials for it.", Impact: "the proxy lets this destination through"}),
		entry(CodeTLS, fault.Major, "TLS with the endpoint fails", impact,
			"The handshake or the server's certificate is not acceptable: {detail}",
			"the handshake fails, or the certificate is not the one to trust", "the handshake succeeds with a trusted certificate",
			fault.Remedy{Text: "Mend the server's certificate or TLS version, exempt the connection from inspection, or trust the right authority.", Impact: "depends on the side that is changed"}),
		entry(CodeClientCert, fault.Critical, "Endpoint refuses our certificate", "We cannot prove who we are: everything behind this endpoint is closed to us.",
			"The server does not accept the client certificate: {detail}",
			"the certificate is refused by a TLS alert, by silence after it, or by 401 or 403", "the server accepts it",
			fault.Remedy{Text: "Renew the certificate, or have its authority accepted by the server.", Impact: "sessions with the old certificate end when it is replaced"}),
		entry(CodeHTTP, fault.Major, "Endpoint answers with an error", "What depends on this endpoint gets no service, although the connection works.",
			"The answer is not the one expected: {detail}",
			"status, content or gRPC status is not the expected one", "the expected answer comes",
			fault.Remedy{Text: "See to the service behind the endpoint; honour Retry-After where it sends one.", Impact: "none here"}),
	}
	for i := range all {
		all[i].Readings, all[i].Variants = ladderReadings, causeVariants(&all[i])
		if all[i].Code == CodeTLS {
			all[i].CausedBy = []fault.Code{CodeCertExpired}
		}
	}
	return all
}

// causeVariants are the causes of package netdiag that lead to the entry's code,
// so that each can be read about offline. Causes that one repair mends share a
// qualifier; the first speaks for them.
func causeVariants(e *fault.Entry) (all []fault.Variant) {
	known := map[string]bool{}
	for _, c := range netdiag.Causes() {
		if c.Code() != string(e.Code) || known[c.Qualifier()] {
			continue
		}
		known[c.Qualifier()] = true
		all = append(all, fault.Variant{
			Name: c.Qualifier(), Title: e.Title + ": " + c.Text(),
			Remedy: ladderSteps("{resource}", "{target}", c),
		})
	}
	return all
}
