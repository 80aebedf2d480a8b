// Package envelope keeps secrets sealed on disk. Each protected thing (the password of a repository, the identity of an
// archive, a secret that the configuration names) is a small file with slots, after the manner of LUKS: a random data
// key seals the secret, and every slot holds that data key wrapped under another key (one of a key server, the local
// key file, the offline recovery key). Whoever has any one of these keys opens the thing; slots come and go without
// the secret being touched.
//
// Here live the file format ([Record] and the header in it), the [Keeper] that protects and opens, the local key file
// ([LocalKey]), the recovery key, and memory for secrets ([Secret]). Where keys of key servers come from, when they
// are renewed and what is a fault are the business of others: they hand in a [KeySource].
//
// # What holds
//
//   - A thing is stored twice. A crash at any point leaves the old header or the new one readable, and one damaged
//     copy costs nothing: [Keeper.Repair] writes it anew from the other.
//   - Every wrapped key is bound to its thing and slot (AES-256-GCM with both as additional data), the secret to the
//     thing, and the whole header to the data key by a MAC: a slot moved between things or a list of slots changed by
//     hand does not open. An older whole header put back in place of a newer one is not noticed.
//   - Nothing is sealed with the recovery key alone, and its private half is never stored.
//
// # What memory cannot promise
//
// [Secret] keeps bytes outside of the Go heap, locked against swapping where RLIMIT_MEMLOCK allows and left out of core
// dumps, and wipes them. What the runtime's own ciphers keep (an expanded AES key, a parsed age identity) lies on the
// heap until it is collected, and the plain slices that [Keeper.Open] answers are the caller's to clear. A process that
// may read this one's memory reads its keys.
package envelope
