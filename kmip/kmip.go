// Package kmip speaks the Key Management Interoperability Protocol of OASIS, versions
// 1.0 to 1.4, 2.0 and 2.1, as far as whoever keeps and fetches keys needs it.
//
// [Request] and [Response] are whole messages, for client and server; each operation has
// a payload struct of its own. [Client] is a client that trusts no answer: version,
// operation, count and payload are validated, every read has a deadline, and every
// failure has a type: [*Error] for what the server refused, [*ProtocolError] for
// what it should not have answered, [*TransportError] for the way there. It never sends a
// time stamp, never relies on the ID placeholder, and never sends a Create twice.
//
// A server is not here but in package kmip/kmiptest, and the encoding is in package
// kmip/ttlv.
package kmip
