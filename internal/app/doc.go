// Package app is the composition root: it builds the agent out of its parts by
// plain calls, maps the configuration to each part's own options, checks what
// the configuration means, and gives the commands that need no agent what they
// need. It is the only package that may import everything, and it hosts the
// test that holds the others to the map.
package app
