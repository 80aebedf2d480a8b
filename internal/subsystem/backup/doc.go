// Package backup makes copies of what matters, at a place reached by SSH, and
// proves that they can be restored: jobs with their schedules, runs with their
// stages, retention, verification, restore and restore drills. It owns the
// codes backup/*.
//
// How a server is reached is the matter of package sshpolicy; what a repository
// and an archive are is that of the packages repository and archive below this
// one; what is read and what a restored tree looks like that of source and
// extract. Whether a server still answers and still fits its policy belongs to
// package watch, which hears of every connection made here. Nothing here writes
// a restored file: entries are streamed to the caller, who writes them with its
// own rights.
package backup
