// Package netdiag finds the one exact cause why an endpoint cannot be used. It
// climbs a ladder of steps: what is local, DNS, TCP by family and address, the
// proxy, TLS transport, TLS negotiation, the server's certificate, the client's
// certificate, HTTP or gRPC, the clock. The first step that fails names the
// cause; later steps say that they were not tried. It also judges certificate
// files, and foretells what a higher TLS minimum would break.
//
// What does not live here: faults, schedules and configuration. Causes map to
// fault codes as plain strings, because this package imports nothing of ours.
//
// Anchors: RFC 8446 (TLS 1.3), RFC 9110 (HTTP), RFC 9113 (HTTP/2); seed 001,
// which tells its operator to run nslookup and telnet by hand.
package netdiag
