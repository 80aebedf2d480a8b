// Package keyserver looks after the servers that keep this host's keys: which
// there are, whether each really gives the keys that are used here, and what
// could still be opened if one were gone. It owns the codes keyserver/*.
//
// A validation is one climb over twelve steps, from a source address on this
// node to the newest key on every clone; it stops at the first step without
// which the next would mean nothing. It does here what a storage system does
// with mkkeyserver, chkeyserver and testkeyserver (seed 002), and names the
// exact cause where those name a class of them.
//
// How keys are fetched, remembered and renewed is the matter of package keyring;
// how things are sealed, of package envelope; the protocol, of package kmip; the
// causes of a connection that cannot be made, of package netdiag. What their
// answers mean for which fault is decided here and nowhere else.
package keyserver
