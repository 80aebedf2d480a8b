// Package fault is the core of allclear: what a fault is, how it is raised and
// how, on evidence alone, it is cleared.
//
// It holds the codes' form, the catalogue entry, verdicts, the inputs of the
// state machine, the pure state machine itself ([Step], [Fold]), and the
// [Set] of all faults of one node with what follows from their being together:
// masking by causes, lent severity, limits, counters, and what a receiver is to
// be told ([Due]).
//
// It does no I/O, starts no goroutine and reads no clock: every moment comes in
// as a [Now]. Who stores the events is package journal; who looks is package
// check.
//
// The rules are those of RFC 8632 (alarm management), ITU-T X.733 (severities)
// and ISA 18.2 (shelving, flood, chatter). Two of them carry the rest: nothing
// but a look that began after the last bad one clears a fault, and not looking
// changes nothing.
package fault
