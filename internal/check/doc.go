// Package check runs the looks: it holds what a check is, what a look may
// report, when looks happen, and the health of the checks themselves.
//
// A [Check] looks at one resource and judges its codes; the [Scheduler] runs
// each check on its timer and on demand, one look at a time for each, and hands
// what it found to a [Recorder]. What is believed of it is package fault's
// matter, where it is stored is package journal's. Checks live in the
// subsystems; none lives here but the scheduler's own two: a check that failed
// and a check that does not run.
package check
