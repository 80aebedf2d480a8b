package netdiag

// highRows are the causes from TLS upwards; nothing changes them.
var highRows = []row{
	{
		TLSNotTLS, StepTransport, CodeTLS, "not-tls", "what answers on this port does not speak TLS",
		Remedy{"Correct the port, or switch TLS on at the service; the first bytes are in the evidence.", "", "allclear verify"},
	},
	{
		TLSClosed, StepTransport, CodeTLS, "closed", "the server closes after our hello without a word",
		Remedy{"Look at the server's log; a middlebox that filters by server name does the same.", "", "allclear verify"},
	},
	{
		TLSReset, StepTransport, CodeTLS, "reset", "the connection is reset after our hello",
		Remedy{"A middlebox that filters by server name is the usual reason; look at its log.", "", "allclear verify"},
	},
	{
		TLSSilent, StepTransport, CodeTLS, "silent", "the server takes our hello and never answers",
		Remedy{"The port accepts and nobody serves: look at the service behind it for overload or a stuck process.", "", "allclear verify"},
	},
	{
		TLSStalled, StepTransport, CodeTLS, "stalled", "the server's answer stops in the middle",
		Remedy{"Look at the service for a stuck process and at the way for loss.", "", "allclear verify"},
	},
	{
		TLSMTU, StepTransport, CodeTLS, "mtu-black-hole", "big packets are lost on the way (path MTU black hole)",
		Remedy{"Let ICMP \"fragmentation needed\" pass, or clamp the MSS on the router or tunnel.", "", "allclear verify"},
	},
	{
		TLSBigHello, StepTransport, CodeTLS, "big-hello", "a middlebox cannot take a ClientHello of more than one packet",
		Remedy{"Update the middlebox: post-quantum key shares make the hello bigger than one packet.", "", "allclear verify"},
	},
	{
		TLSVersion, StepNegotiate, CodeTLS, "version", "no TLS version in common",
		Remedy{"Allow TLS 1.2 or 1.3 at the server; what it speaks is in the evidence.", "old clients of that server may fail", "allclear verify"},
	},
	{
		TLSCipher, StepNegotiate, CodeTLS, "cipher", "no cipher suite, group or signature algorithm in common",
		Remedy{"Allow an ECDHE suite with AES-GCM or ChaCha20 at the server.", "old clients of that server may fail", "allclear verify"},
	},
	{
		TLSName, StepNegotiate, CodeTLS, "sni", "the server does not serve this name",
		Remedy{"Correct the server name, or add the name to the server's configuration.", "", "allclear verify"},
	},
	{
		TLSALPN, StepNegotiate, CodeTLS, "alpn", "no application protocol in common",
		Remedy{"Check that this port serves the protocol that is wanted (h2, http/1.1).", "", "allclear verify"},
	},
	{
		TLSAlert, StepNegotiate, CodeTLS, "alert", "the server ends the handshake with an alert",
		Remedy{"Look at the server's log for the alert named in the evidence.", "", "allclear verify"},
	},
	{
		TLSProtocol, StepNegotiate, CodeTLS, "protocol", "the server breaks the TLS protocol",
		Remedy{"Update the server or the middlebox in front of it.", "", "allclear verify"},
	},
	{
		ServerCertExpired, StepServerCert, CodeTLS, "expired", "the server's certificate has expired",
		Remedy{"Renew the server's certificate, and check that the server loads the new one.", "", "allclear verify"},
	},
	{
		ServerCertNotYetValid, StepServerCert, CodeTLS, "not-yet-valid", "the server's certificate is not yet valid",
		Remedy{"Compare this machine's clock with a good one; if it is right, have the certificate reissued.", "", "allclear verify"},
	},
	{
		ServerCertUnknownCA, StepServerCert, CodeTLS, "untrusted", "the server's certificate comes from an authority we do not trust",
		Remedy{"Configure the authority's root as ca, or have the server send its intermediate certificates.", "whoever holds that root can stand for the server", "allclear config check"},
	},
	{
		ServerCertSelfSigned, StepServerCert, CodeTLS, "self-signed", "the server's certificate is signed by itself",
		Remedy{"Pin its key, or give the server a certificate of an authority.", "", "allclear config check"},
	},
	{
		ServerCertName, StepServerCert, CodeTLS, "name", "the server's certificate is for another name",
		Remedy{"Connect by a name that the certificate holds, set server_name, or have it reissued.", "", "allclear config check"},
	},
	{
		ServerCertPurpose, StepServerCert, CodeTLS, "purpose", "the server's certificate is not for servers",
		Remedy{"Have it reissued with the extended key usage serverAuth.", "", "allclear verify"},
	},
	{
		ServerCertPin, StepServerCert, CodeTLS, "pin", "the server's key is not the pinned one",
		Remedy{"If the key was changed on purpose, pin the new one; if not, treat this as an attack.", "a wrong pin trusts an impostor", "allclear config check"},
	},
	{
		ServerCertIntercepted, StepServerCert, CodeTLS, "intercepted", "somebody in between answers for the server (TLS inspection)",
		Remedy{"Exempt this destination from TLS inspection.", "the inspection no longer sees this traffic", "allclear verify"},
	},
	{
		ServerCertInvalid, StepServerCert, CodeTLS, "invalid", "the server's certificate chain is not valid",
		Remedy{"Read the detail and have the chain reissued.", "", "allclear verify"},
	},
	{
		ClientCertIssuer, StepClientCert, CodeClientCert, "issuer-not-accepted", "the server does not take certificates of our issuer, so none was sent",
		Remedy{"Have the server accept our issuer, or use a certificate of one of the issuers it lists.", "", "allclear verify"},
	},
	{
		ClientCertAlgorithm, StepClientCert, CodeClientCert, "algorithm", "the server does not take our key's algorithm, so no certificate was sent",
		Remedy{"Use a certificate with a key the server's signature algorithms allow.", "", "allclear verify"},
	},
	{
		ClientCertRequired, StepClientCert, CodeClientCert, "required", "the server demands a client certificate",
		Remedy{"Configure client_cert and client_key of an issuer the server lists.", "", "allclear config check"},
	},
	{
		ClientCertExpired, StepClientCert, CodeClientCert, "expired", "the server says that our certificate has expired",
		Remedy{"Compare the clocks of both machines, then renew the certificate.", "", "allclear verify"},
	},
	{
		ClientCertNotYetValid, StepClientCert, CodeClientCert, "not-yet-valid", "the server refuses our certificate, which has only just begun to be valid",
		Remedy{"Compare the clocks of both machines.", "", "allclear verify"},
	},
	{
		ClientCertUnknownCA, StepClientCert, CodeClientCert, "unknown-ca", "the server does not know our certificate's authority",
		Remedy{"Add our authority to the server's list of client authorities, with its intermediates.", "", "allclear verify"},
	},
	{
		ClientCertRevoked, StepClientCert, CodeClientCert, "revoked", "the server says that our certificate is revoked",
		Remedy{"Enrol for a new certificate; ask the authority why this one was revoked.", "", "allclear verify"},
	},
	{
		ClientCertPurpose, StepClientCert, CodeClientCert, "purpose", "our certificate is not for clients",
		Remedy{"Have it reissued with the extended key usage clientAuth.", "", "allclear verify"},
	},
	{
		ClientCertRejected, StepClientCert, CodeClientCert, "rejected", "the server refuses our client certificate",
		Remedy{"Look at the server's log for our serial; accept the certificate there or renew it.", "", "allclear verify"},
	},
	{
		ClientCertClosed, StepClientCert, CodeClientCert, "closed", "the server hangs up on our client certificate without an alert",
		Remedy{"Look at the server's log for our serial.", "", "allclear verify"},
	},
	{
		ClientCertStatus, StepClientCert, CodeClientCert, "http", "the web server refuses our client certificate with a status",
		Remedy{"Look at the web server's error log (nginx: client SSL certificate verify error) for our serial.", "", "allclear verify"},
	},
	{
		HTTPPortal, StepHTTP, CodeHTTP, "portal", "a portal or block page answers instead of the service",
		Remedy{"Log in to the network's portal, or exempt this destination in the web filter.", "", "allclear verify"},
	},
	{
		HTTPForeignRedirect, StepHTTP, CodeHTTP, "redirect", "the answer sends us to another host",
		Remedy{"Use the address it points to, or find out who redirects.", "", "allclear verify"},
	},
	{
		HTTPUnauthorized, StepHTTP, CodeHTTP, "401", "the service does not know us (401)",
		Remedy{"Check the credentials used for this service.", "", "allclear verify"},
	},
	{
		HTTPForbidden, StepHTTP, CodeHTTP, "403", "the service forbids this (403)",
		Remedy{"Give this client the right it lacks at the service.", "", "allclear verify"},
	},
	{
		HTTPNotFound, StepHTTP, CodeHTTP, "404", "the service does not have this path (404)",
		Remedy{"Correct the path, or check that the service's version offers it.", "", "allclear config check"},
	},
	{
		HTTPProxyAuth, StepHTTP, CodeHTTP, "407", "an unseen proxy wants us to log in (407)",
		Remedy{"Configure the proxy and its credentials: one sits on the way without our knowing.", "", "allclear config check"},
	},
	{
		HTTPRateLimited, StepHTTP, CodeHTTP, "429", "the service says that we ask too often (429)",
		Remedy{"Wait as long as Retry-After says, then ask less often.", "", "allclear verify"},
	},
	{
		HTTPServerError, StepHTTP, CodeHTTP, "5xx", "the service fails (5xx)",
		Remedy{"Look at the service's own log.", "", "allclear verify"},
	},
	{
		HTTPStatus, StepHTTP, CodeHTTP, "status", "the service answers with a status that was not expected",
		Remedy{"Compare the status in the evidence with expect_status.", "", "allclear config check"},
	},
	{
		HTTPType, StepHTTP, CodeHTTP, "type", "the service answers with another type of content",
		Remedy{"Check the path, and what really answers there.", "", "allclear config check"},
	},
	{
		HTTPTruncated, StepHTTP, CodeHTTP, "truncated", "the answer is cut off",
		Remedy{"Look at the service and at proxies on the way for crashes and size limits.", "", "allclear verify"},
	},
	{
		HTTPClosed, StepHTTP, CodeHTTP, "closed", "the server hangs up instead of answering",
		Remedy{"Look at the service's log for a crash.", "", "allclear verify"},
	},
	{
		HTTPReset, StepHTTP, CodeHTTP, "reset", "the connection is reset instead of an answer",
		Remedy{"Look at the service's log, then at firewalls on the way.", "", "allclear verify"},
	},
	{
		HTTPTimeout, StepHTTP, CodeHTTP, "timeout", "no answer to the request in time",
		Remedy{"Look at the service for overload or a stuck back end.", "", "allclear verify"},
	},
	{
		HTTPMalformed, StepHTTP, CodeHTTP, "malformed", "the answer is not HTTP",
		Remedy{"Check what really listens on this port.", "", "allclear verify"},
	},
	{
		GRPCUnimplemented, StepHTTP, CodeHTTP, "grpc-unimplemented", "the server does not offer this gRPC service (not licensed or not enabled)",
		Remedy{"Enable or license the service on the server.", "", "allclear verify"},
	},
	{
		GRPCError, StepHTTP, CodeHTTP, "grpc", "the gRPC call fails",
		Remedy{"Read the gRPC status in the evidence and look at the service's log.", "", "allclear verify"},
	},
	{
		GRPCNoH2, StepHTTP, CodeHTTP, "grpc-needs-h2", "gRPC needs HTTP/2, which is not spoken here",
		Remedy{"Let HTTP/2 pass at the load balancer or proxy on the way.", "", "allclear verify"},
	},
	{
		ClockSkew, StepClock, CodeClock, "skew", "our clock and the server's differ by more than 30 seconds",
		Remedy{"Start time synchronisation on both machines.", "", "allclear verify"},
	},
	{
		ClockWrong, StepClock, CodeClock, "wrong", "our clock and the server's differ by more than 5 minutes",
		Remedy{"Start time synchronisation on the machine whose clock is wrong; compare both with a third.", "certificates are judged anew", "allclear verify"},
	},
}
