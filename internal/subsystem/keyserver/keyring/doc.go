// Package keyring looks after keys that key servers keep for this node and that are really used: it gets them for
// package envelope ([Source]), remembers which one is current ([Ring]) and renews it without a moment in which
// something could not be opened. Which servers there are, how they are spoken to and validated, and what is a fault is
// the business of package keyserver; what the keys open is the business of envelope.
//
// # Renewing a key
//
// A renewal goes through the phases of [Phase], each stored before the next begins, so that a process killed at any
// point takes it up again where it was:
//
//	named     a unique name is chosen
//	sent      Create is about to be sent to the primary, once and never again
//	created   the key has an identifier and a check value
//	proved    every server of the group gives the same bytes              <- Prepare ends here
//	slotted   every thing has a slot for it
//	verified  every slot opened with the key as the clones give it
//	committed new things go under it; the old slots are still there       <- Commit ends here
//	retiring  after the grace time and a green validation the old slots go
//	dropped   no copy of any header has one; the old key is destroyed     <- Retire ends here
//
// [Ring.Cancel] goes back from every phase before retiring. What holds at every instant, whatever is killed or fails:
// each thing has a slot that opens with a key that exists on a server. A key is destroyed only after it was proved,
// then and there, that nothing needs it. KMIP's own ReKey is not used: it moves the Name at once.
package keyring
