// Package api serves the agent to the command line, the page and machines. One
// table ([Routes]) says which paths exist, who may use them, at which door and
// what they do.
//
// There are two doors. The unix socket takes everything; it knows its callers
// by the uid that the kernel vouches for. The TCP door, on loopback only, shows
// metrics and health, and hands everything else to the page, which has rights of
// its own.
//
// It decides nothing: what is believed, proved or done is package agent's. It
// keeps no state but its open streams.
package api
