// Package repository reads and writes backup repositories in the restic repository format, version 2: content-defined
// chunks, stored once, compressed and sealed, with incremental snapshots, locks, retention, pruning, checking and
// restoring. What is written here opens with the program restic (0.14 and later), and the other way round; Debian's
// restic is the judge in the tests.
//
// A [Repository] lies in a [Store], a folder of files somewhere: at an SFTP server, or local ([Dir]). Which files are
// backed up comes from outside as a sequence of [Entry], and what is restored goes out as a sequence of [Item]: this
// package opens no file of the protected host and writes none. When backups run, where passwords are kept and what is
// told to people is not decided here either.
//
// Order of writes (what makes a crash at any instant harmless): packs, then the index files that list them, then the
// snapshot; removal goes the other way round. Every length read from a file is bounded before memory is taken for it.
package repository
