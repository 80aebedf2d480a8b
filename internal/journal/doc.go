// Package journal keeps what a node believes and how it came to believe it.
//
// The [Store] owns the one [fault.Set] of the node behind a single writer. An
// event and the belief that it changes are one SQLite transaction, written
// through to the disk before anybody sees the change. Events are numbered from
// 1 without gaps within an epoch, and each carries the hash of the one before.
//
// A disk that is full, broken or hanging makes no fault invisible: raises and
// whatever makes a fault more visible go on in memory and are written, in
// order, when the disk is back; whatever makes a fault less visible is refused
// with [ErrRefused].
//
// Here live the single writer, the events and beliefs on disk, the records of
// what receivers were told, the cursors of followers, retention, and start-up
// after a crash or with a broken database. What a fault is and how it moves is
// package fault; who looks is package check; who tells people is package
// notify.
package journal
