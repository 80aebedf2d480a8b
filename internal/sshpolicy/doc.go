// Package sshpolicy judges SSH servers against an algorithm policy.
//
// Here live the policies (data), the probe that reads a server's offer before
// any credential is shown, the judgement of all four algorithm categories at
// once, the key exchange that proves the offer, host key pins, an optional
// login, the remedy lines per server software, and the prediction of what a
// stricter policy or the server's next release would break. Real sessions live
// here too: Dial makes one under a policy, by the library or by the ssh program,
// and Files stores and reads files in it, by SFTP or SCP, and never calls a part
// of a file the whole.
//
// Not here: faults, checks and schedules (they belong to the subsystem that
// watches a server) and anything that lowers a policy. A name that the policy
// or the library does not know is an error, never dropped: the library would
// drop it silently and, with nothing left, fall back to its own defaults.
package sshpolicy
