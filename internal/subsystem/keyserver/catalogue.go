package keyserver

import (
	"time"

	"allclear/internal/fault"
)

// The codes of key servers.
const (
	CodeKMIPError         fault.Code = "keyserver/kmip-error"
	CodeUnsupported       fault.Code = "keyserver/unsupported"
	CodeUnreachable       fault.Code = "keyserver/unreachable"
	CodeTLSFailed         fault.Code = "keyserver/tls-failed"
	CodePrimaryConflict   fault.Code = "keyserver/primary-conflict"
	CodeNoPrimary         fault.Code = "keyserver/no-primary"
	CodeKeyMissing        fault.Code = "keyserver/key-missing"
	CodeKeyWrong          fault.Code = "keyserver/key-wrong"
	CodeClientNotAccepted fault.Code = "keyserver/client-not-accepted"
	CodeSlow              fault.Code = "keyserver/slow"
	CodeDegraded          fault.Code = "keyserver/degraded"
	CodeRedundancyLost    fault.Code = "keyserver/redundancy-lost"
	CodeAllLost           fault.Code = "keyserver/all-lost"
	CodeCertExpiring      fault.Code = "keyserver/cert-expiring"
	CodeReplicaLag        fault.Code = "keyserver/replica-lag"
	CodeRekeyFailed       fault.Code = "keyserver/rekey-failed"
	CodeRekeyStale        fault.Code = "keyserver/rekey-stale"
	CodeRecoveryUnproven  fault.Code = "keyserver/recovery-unproven"
	CodeRemovalRefused    fault.Code = "keyserver/removal-refused"
)

// serverCodes are those that a validation of one server judges.
func serverCodes() []fault.Code {
	return []fault.Code{
		CodeUnreachable, CodeTLSFailed, CodeClientNotAccepted, CodeUnsupported, CodeKMIPError, CodePrimaryConflict,
		CodeKeyMissing, CodeKeyWrong, CodeReplicaLag, CodeSlow, CodeCertExpiring,
	}
}

// The legacy names of seed 002: one error code, and the event that says what it
// means.
const legacyError = "1785"

// connectionKeys are the sense keys of a connection that could not be made, from
// netdiag.
var connectionKeys = []string{
	"cause", "address", "server_name", "addr_family", "alert", "errno", "first_bytes", "speaks", "server_speaks", "server_version",
	"tls_version", "accepted_issuers", "peer_subject", "peer_issuer", "peer_sha256", "peer_not_after",
	"client_subject", "client_serial", "client_not_after", "sent", "resolver", "answers",
}

// connectionFacts are connectionKeys without those that every code has.
var connectionFacts = []string{
	"target", "cause", "address", "addresses_tried", "source", "links", "file", "server_name", "first_bytes", "speaks", "server_speaks",
	"server_version", "tls_version", "accepted_issuers", "peer_subject", "peer_issuer", "peer_sha256", "peer_not_after",
	"client_subject", "client_serial", "client_not_after", "sent", "resolver", "answers", "device_group",
}

var (
	exchangeFacts = []string{
		"operation", "error_code", "result_status", "result_reason", "result_message", "protocol_version", "unique_id",
	}
	keyFacts = []string{"key_name", "generation", "state"}
)

const (
	readsOnly   = "none, reads only"
	oneLook     = "one validation of the server"
	everyServer = "every key server, validated from this node"
)

// testAgain is the last step of every remedy of a server.
func testAgain(name string) fault.Remedy {
	return fault.Remedy{Text: "Validate it again: the fault clears when the validation passes.", Impact: oneLook, Command: "allclear keyserver test " + name}
}

func steps(texts ...fault.Remedy) []fault.Remedy { return append(texts, testAgain("{resource}")) }

func text(s, impact string) fault.Remedy { return fault.Remedy{Text: s, Impact: impact} }

func run(s, impact, command string) fault.Remedy {
	return fault.Remedy{Text: s, Impact: impact, Command: command}
}

// Faults are the catalogue entries of this package.
func Faults() []fault.Entry {
	var all []fault.Entry
	all = append(all, connectionFaults()...)
	all = append(all, protocolFaults()...)
	all = append(all, keyFaults()...)
	all = append(all, groupFaults()...)
	return append(all, renewalFaults()...)
}

func connectionFaults() []fault.Entry {
	return []fault.Entry{unreachable(), tlsFailed(), clientNotAccepted(), certExpiring()}
}

func unreachable() fault.Entry {
	return fault.Entry{
		Code: CodeUnreachable, Legacy: []string{legacyError, "086008"}, Severity: fault.Major,
		Severities: "critical when no other server of the group is usable",
		Title:      "Key server cannot be reached from this node",
		Impact:     "No key can be had from it. While another server of the group answers, nothing else stops.",
		Cause:      "This node cannot make a connection to {target}: seed 002 asks for the service address of this node, the cable, and the server's address and port.",
		Raise:      "the name does not resolve, this node has no source address of the right family, or TCP or the first TLS packet gets no answer",
		Clear:      "this node connects",
		Remedy: steps(
			text("See that this node has a service address of the server's family: IPv4 for an IPv4 server, IPv6 for an IPv6 one.", readsOnly),
			text("See that the link is up and the cable is in, on this node.", readsOnly),
			run("See that address and port of the server are right; correct them if not.", "the server is validated at once", "allclear keyserver show {resource}"),
		),
		Variants: []fault.Variant{
			{Name: "no-source-address-v4", Title: "This node has no IPv4 address to reach the key server from", Cause: "The server has an IPv4 address; every node needs a service address of that family (seed 002, event 086008, action 1)."},
			{Name: "no-source-address-v6", Title: "This node has no IPv6 address to reach the key server from", Cause: "The server has an IPv6 address; every node needs a service address of that family (seed 002, event 086008, action 1)."},
			{Name: "no-route", Title: "This node has no route to the key server", Cause: "It has an address of the family and knows no way to {target}."},
			{Name: "link-down", Title: "No link of this node is up", Cause: "No interface has a carrier: {links}. The cable is out, or the switch port is off (seed 002, event 086008, action 2)."},
			{Name: "denied-locally", Title: "This node's own policy forbids the connection", Cause: "A prohibit route, a local firewall rule or a sandbox."},
			{Name: "dns", Title: "The key server's name does not resolve", Cause: "The resolvers do not answer, or do not know it."},
			{Name: "refused", Title: "Nothing listens on the key server's port", Cause: "The server is down, or the port is not its own."},
			{Name: "timeout", Title: "The key server does not answer", Cause: "The machine is down, or a firewall drops the packets."},
			{Name: "reset", Title: "The key server resets the connection", Cause: "A firewall or load balancer in front of it ends the connection."},
			{Name: "closed", Title: "The key server closes the connection at once", Cause: "A load balancer without a live server behind it, or an access list."},
			{Name: "host-unreachable", Title: "The key server's host cannot be reached", Cause: "The last router says that it is not there."},
			{Name: "net-unreachable", Title: "The key server's network cannot be reached", Cause: "A router on the way has no route to it."},
			{Name: "other", Title: "The connection to the key server fails", Cause: "The system's error is in the evidence."},
			{Name: "tls-reset", Title: "The connection is reset as soon as TLS begins", Cause: "A middlebox that filters by server name, or a server without a certificate."},
			{Name: "tls-closed", Title: "The connection is closed as soon as TLS begins", Cause: "A middlebox that filters by server name, or a server without a certificate."},
		},
		Facts: connectionFacts, Applies: everyServer,
	}
}

func tlsFailed() fault.Entry {
	return fault.Entry{
		Code: CodeTLSFailed, Legacy: []string{"086008 step 4", "086006 step 3"}, Severity: fault.Major,
		Title:  "TLS with the key server fails",
		Impact: "No key can be had from it: a server that is not proved to be the right one is never asked.",
		Cause:  "The server and this node do not agree on TLS, or its certificate is not good. The exact reason is in the evidence.",
		Raise:  "versions, cipher suites, or the server's certificate do not fit, or it asks for no client certificate", Clear: "the handshake is good",
		Remedy: steps(
			text("See that all certificates of the server are valid: start and end dates, PEM format (seed 002, event 086008, action 4).", readsOnly),
			text("See that the server is set up for TLS 1.2 or later (seed 002, event 086006, action 3).", readsOnly),
		),
		Variants: tlsVariants(), Facts: connectionFacts, Applies: everyServer,
	}
}

func clientNotAccepted() fault.Entry {
	return fault.Entry{
		Code: CodeClientNotAccepted, Legacy: []string{"086006 step 2"}, Severity: fault.Major,
		Title:  "Key server does not accept our certificate",
		Impact: "No key can be had from it.",
		Cause:  "Our certificate is not known there, not approved yet, or not usable.",
		Raise:  "the server refuses our certificate by a TLS alert or by a KMIP reason, or we have none to show", Clear: "the server answers a request of ours",
		Remedy: steps(
			text("Accept this node's certificate on the key server, subject {client_subject}, serial {client_serial} (seed 002, event 086006, action 2).", "the server gives this node its keys"),
			text("If the server has device groups, put this node's certificate into the group whose keys it needs.", "the server gives this node the keys of the group"),
		),
		Variants: clientVariants(), Facts: append(append([]string{}, connectionFacts...), exchangeFacts...), Applies: everyServer,
	}
}

func certExpiring() fault.Entry {
	return fault.Entry{
		Code: CodeCertExpiring, Legacy: []string{"086008 step 4"}, Severity: fault.Warning,
		Severities: "major below 14 days, or a tenth of a shorter life",
		Title:      "A certificate that the key server needs ends soon",
		Impact:     "Nothing yet; when it ends, no key can be had from the server.",
		Cause:      "It is valid until {not_after} and was not renewed.",
		Raise:      "less than 60 days are left, or a third of a shorter life", Clear: "a certificate with more time left is in place",
		Remedy: []fault.Remedy{
			text("Renew it. A new certificate of ours must be accepted on every key server before it replaces the old one.", "none while the old one is still valid"),
			run("Validate the server again.", oneLook, "allclear keyserver test {server}"),
		},
		Variants: []fault.Variant{
			{Name: "server", Title: "The key server's certificate ends soon"},
			{Name: "client", Title: "Our certificate for the key server ends soon"},
			{Name: "ca", Title: "The authority of the key server's certificate ends soon"},
		},
		Facts: []string{"subject", "issuer", "serial", "not_before", "not_after", "file", "server"}, Readings: []string{"days_left", "life_left"},
		Applies: "the server's certificate, ours, and the configured authority above the server's",
	}
}

func tlsVariants() []fault.Variant {
	return []fault.Variant{
		{Name: "version", Title: "No TLS version in common with the key server", Cause: "It speaks {server_speaks}; wanted is TLS 1.2 or later (seed 002, event 086006, action 3)."},
		{Name: "cipher", Title: "No cipher suite in common with the key server", Cause: "It speaks {server_speaks}. A PyKMIP server with an RSA key needs legacy_tls in its group."},
		{Name: "server-expired", Title: "The key server's certificate has expired", Cause: "It was valid until {peer_not_after}."},
		{Name: "not-yet-valid", Title: "The key server's certificate is not yet valid", Cause: "One of the two clocks is wrong, or it was put in place too early."},
		{Name: "name", Title: "The key server's certificate is for another name", Cause: "It is not issued for {server_name}: the address is another server's, or server_name must be set."},
		{Name: "untrusted", Title: "The key server's certificate comes from an authority that is not trusted", Cause: "Issued by {peer_issuer}, which the configured ca does not hold."},
		{Name: "self-signed", Title: "The key server's certificate is signed by itself", Cause: "Pin its key, or configure it as ca."},
		{Name: "purpose", Title: "The key server's certificate is not for servers", Cause: "Its extended key usage lacks serverAuth."},
		{Name: "pin", Title: "The key server's key is not the pinned one", Cause: "It was replaced, or somebody stands in between."},
		{Name: "intercepted", Title: "Somebody in between answers for the key server", Cause: "TLS inspection: exempt this connection from it."},
		{Name: "invalid", Title: "The key server's certificate chain is not valid", Cause: "The reason is in the evidence."},
		{Name: "not-pem", Title: "The authority of the key server cannot be read", Cause: "The file {file} is not there, or holds no certificate in PEM (seed 002, event 086008, action 4)."},
		{Name: "not-asked", Title: "The key server asks for no client certificate", Cause: "Mutual TLS is off: it would give keys to anybody. Switch it on at the server."},
		{Name: "not-tls", Title: "What answers on the port does not speak TLS", Cause: "It begins with {first_bytes}: the port is another service's."},
		{Name: "silent", Title: "The key server takes our hello and never answers", Cause: "The port accepts and nobody serves: overload, or a stuck process."},
		{Name: "stalled", Title: "The key server's answer stops in the middle", Cause: "A stuck process, or loss on the way."},
		{Name: "mtu-black-hole", Title: "Big packets to the key server are lost", Cause: "ICMP is filtered and a link on the way has a smaller MTU."},
		{Name: "big-hello", Title: "A middlebox cannot take our TLS hello", Cause: "It does not fit one packet; update the middlebox."},
		{Name: "alert", Title: "The key server ends the handshake with an alert", Cause: "The alert is in the evidence."},
		{Name: "sni", Title: "The key server does not serve the name", Cause: "It does not know {server_name}."},
		{Name: "alpn", Title: "No application protocol in common with the key server", Cause: "The port is another service's."},
		{Name: "protocol", Title: "The key server breaks the TLS protocol", Cause: "Update it, or the middlebox in front of it."},
	}
}

func clientVariants() []fault.Variant {
	renew := []fault.Remedy{
		text("Renew our certificate {client_serial}, have the key server accept the new one, and put it in place.", "none"),
		testAgain("{resource}"),
	}
	put := []fault.Remedy{
		text("Put a certificate in PEM and its key without a passphrase where the object names them.", "none"),
		run("See which files the object names.", readsOnly, "allclear keyserver show {resource}"),
		testAgain("{resource}"),
	}
	return []fault.Variant{
		{Name: "pending", Title: "Key server has not approved our certificate yet", Cause: "It knows the certificate and lets it ask for nothing: an operator of the server must accept it."},
		{Name: "denied", Title: "Key server does not know our certificate", Cause: "It refuses every request with it: it was never accepted there, or was taken away."},
		{Name: "eku", Title: "Our certificate is not for clients", Cause: "Its extended key usage lacks clientAuth."},
		{Name: "unreadable", Title: "Our certificate or its key cannot be read", Cause: "The file is not there, is no PEM, or may not be read.", Remedy: put},
		{Name: "key-mismatch", Title: "Our certificate and its key do not belong together", Cause: "One of the two files was replaced without the other.", Remedy: put},
		{Name: "expired", Title: "Our certificate has expired", Cause: "It was valid until {client_not_after}.", Remedy: renew},
		{Name: "not-yet-valid", Title: "Our certificate is not yet valid", Cause: "One of the two clocks is wrong, or it was put in place too early."},
		{Name: "issuer-not-accepted", Title: "Key server takes no certificates of our issuer", Cause: "It accepts {accepted_issuers}; ours is of another authority, so none was sent."},
		{Name: "algorithm", Title: "Key server does not take our key's algorithm", Cause: "No certificate was sent."},
		{Name: "required", Title: "Key server demands a certificate and got none", Cause: "None is configured, or none that it takes."},
		{Name: "unknown-ca", Title: "Key server does not know our certificate's authority", Cause: "Add our authority to its list of client authorities."},
		{Name: "revoked", Title: "Key server says that our certificate is revoked", Cause: "Its authority took it back."},
		{Name: "rejected", Title: "Key server refuses our certificate", Cause: "Its log names the reason for our serial {client_serial}."},
		{Name: "closed", Title: "Key server hangs up on our certificate", Cause: "Its log names the reason for our serial {client_serial}."},
	}
}

func protocolFaults() []fault.Entry {
	return []fault.Entry{kmipError(), unsupported(), primaryConflict(), slow()}
}

func kmipError() fault.Entry {
	return fault.Entry{
		Code: CodeKMIPError, Legacy: []string{legacyError, "086006"}, Severity: fault.Major,
		Severities: "critical on the primary, and on the last usable server of a group",
		Title:      "Key server reports a KMIP error",
		Impact:     "The server is reached and does not do what it is asked for: keys cannot be had from it, or not be made.",
		Cause:      "The problem is on the server: operation {operation}, reason {result_reason}, \"{result_message}\".",
		Raise:      "an operation of the validation is refused, or gets no answer that KMIP allows", Clear: "the same operation is done",
		Remedy: steps(
			text("Find the problem on the key server with the reason and the message shown here; its log has the same.", readsOnly),
			text("See that this node's certificate was accepted on the key server (seed 002, event 086006, action 2).", readsOnly),
			text("See that the server is set up for TLS 1.2 or later (seed 002, event 086006, action 3).", readsOnly),
		),
		Variants: []fault.Variant{
			{Name: "refused", Title: "Key server refuses an operation"},
			{Name: "malformed", Title: "Key server's answer is not KMIP", Cause: "It answers {operation} with something that the protocol forbids: {result_message}."},
			{Name: "no-answer", Title: "Key server does not answer a request", Cause: "It took {operation} and said nothing in time."},
			{Name: "hung-up", Title: "Key server hangs up on a request", Cause: "It closed the connection instead of answering {operation}."},
			{Name: "broken", Title: "The connection to the key server breaks", Cause: "It broke during {operation}."},
		},
		Facts: append(append([]string{}, exchangeFacts...), "device_group"), Applies: everyServer,
	}
}

func unsupported() fault.Entry {
	return fault.Entry{
		Code: CodeUnsupported, Legacy: []string{legacyError, "086007"}, Severity: fault.Major,
		Title:  "Key server is of an unsupported type or version",
		Impact: "It is not used: nobody has tried whether it keeps keys as it should.",
		Cause:  "It calls itself \"{vendor}\"; wanted is {required}.",
		Raise:  "the product is not that of the profile, its code level is too old, or there is no common KMIP version", Clear: "product, level, version and operations fit",
		Remedy: []fault.Remedy{
			run("See that this is the right server: address, port, profile. Correct them if not.", "the server is validated at once", "allclear keyserver show {resource}"),
			text("Upgrade the key server to a supported level (seed 002, event 086007: ISKLM 2.6.0.0 or later, KMIP 1.3 or later).", "as the server's maker says"),
			testAgain("{resource}"),
		},
		Variants: []fault.Variant{
			{Name: "type", Title: "Key server is of another type than its profile"},
			{Name: "software", Title: "Key server's software is too old", Cause: "{product} {level} was found; wanted is {required}."},
			{Name: "kmip-version", Title: "No KMIP version in common with the key server", Cause: "It offers KMIP {offered}; wanted is {required}."},
			{Name: "operations", Title: "Key server lacks operations", Cause: "It does not list what is needed: {required}."},
		},
		Facts: []string{"vendor", "product", "level", "server_information", "offered", "required"}, Applies: everyServer,
	}
}

func primaryConflict() fault.Entry {
	return fault.Entry{
		Code: CodePrimaryConflict, Legacy: []string{legacyError, "086009"}, Severity: fault.Major,
		Title:  "Key server is defined as the primary but is a clone",
		Impact: "Keys can still be read. None can be made: a renewal would fail.",
		Cause:  "{defined_primary} is defined as the primary and says that it is a {reported_role}: the roles were changed on the servers.",
		Raise:  "the server that is defined as the primary says that it is a clone", Clear: "a validation of this server finds the role right, or it is no longer defined as the primary",
		Remedy: []fault.Remedy{
			run("See which server is defined as the primary, and what each says it is.", readsOnly, "allclear keyserver list"),
			text("Find on the key servers which one has the role MASTER. If the one defined here is right, the servers contradict themselves: call their support, and do not repeat this.", readsOnly),
			text("Define the right one: allclear keyserver set --primary NAME. It is validated at once. This fault belongs to the old primary: it clears with its next validation.", "keys are made on the other server from then on"),
			testAgain("{resource}"),
		},
		Facts: []string{"defined_primary", "reported_role", "masters"}, Applies: "the server that is defined as the primary of its group",
	}
}

func slow() fault.Entry {
	return fault.Entry{
		Code: CodeSlow, Severity: fault.Minor,
		Title:  "Key server is slow",
		Impact: "What needs a key waits; near the time allowed for one exchange it fails.",
		Cause:  "An exchange takes longer than the group's limit of {limit}.",
		Raise:  "the 95th percentile of the exchanges of a quarter of an hour is above the limit (2 s unless set), or one takes longer than 10 s", Clear: "no validation within a quarter of an hour was slow, or the one that an operator asks for is not",
		Remedy: steps(text("Look at the load of the server and at the network to it. Servers are asked in the order of their speed: the others carry the load meanwhile.", readsOnly)),
		Variants: []fault.Variant{
			{Name: "p95", Title: "Key server is slow"}, {Name: "single", Title: "An exchange with the key server takes very long"},
		},
		Facts: []string{"limit"}, Readings: []string{"operation", "p95_ms", "worst_ms", "exchanges"}, Applies: everyServer,
	}
}

// rekeyStale is how long a renewal may wait to be committed.
const rekeyStale = 24 * time.Hour
