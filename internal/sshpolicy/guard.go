package sshpolicy

import (
	"hash/maphash"
	"maps"
	"sync"

	"golang.org/x/crypto/ssh"
)

// MaxRefusals is how many refused logins in a row may happen at a server before
// only an operator's wish or a changed credential tries again: servers lock
// accounts.
const MaxRefusals = 3

// Guards count refused logins by server, whoever tried them: all who log in at a
// server share one. They live as long as the process.
type Guards struct {
	seed maphash.Seed

	mu sync.Mutex // guards of
	of map[string]*Guard
}

// NewGuards returns guards that have counted nothing.
func NewGuards() *Guards { return &Guards{seed: maphash.MakeSeed(), of: map[string]*Guard{}} }

// At returns the guard of a server.
func (g *Guards) At(server string) *Guard {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of[server] == nil {
		g.of[server] = &Guard{seed: g.seed}
	}
	return g.of[server]
}

// Keep forgets the servers that are not named.
func (g *Guards) Keep(servers map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.of, func(name string, _ *Guard) bool { return !servers[name] })
}

// Guard counts the refused logins of one server.
type Guard struct {
	seed maphash.Seed

	mu       sync.Mutex // guards the fields below
	refusals int
	refused  uint64 // digest of the credential that was refused last
}

// Held claims that this credential was refused too often for another try that
// nobody asked for.
func (g *Guard) Held(login Login) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusals >= MaxRefusals && g.digest(login) == g.refused
}

// Refuse counts a refusal and returns how many there were in a row.
func (g *Guard) Refuse(login Login) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.digest(login); d != g.refused {
		g.refusals, g.refused = 0, d
	}
	g.refusals++
	return g.refusals
}

// Accept ends the count.
func (g *Guard) Accept() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusals, g.refused = 0, 0
}

// Refusals is how many there were in a row.
func (g *Guard) Refusals() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusals
}

// digest tells credentials apart within this process, and tells nothing else of
// them: its seed is random and never leaves the process.
func (g *Guard) digest(login Login) uint64 {
	var h maphash.Hash
	h.SetSeed(g.seed)
	parts := []string{login.User, string(login.Password), ""}
	if login.Key != nil {
		parts[2] = ssh.FingerprintSHA256(login.Key.PublicKey())
	}
	for _, p := range parts {
		maphash.WriteComparable(&h, p)
	}
	return h.Sum64()
}
