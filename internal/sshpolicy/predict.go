package sshpolicy

import (
	"fmt"
	"slices"
)

// Prediction says what would become of a target, without touching it.
type Prediction struct {
	Target string `json:"target"`
	Policy string `json:"policy"`
	Server string `json:"server"` // "OpenSSH_9.2p1"
	// Next is the release that the server is imagined to have, "" when only the
	// policy changes.
	Next    string   `json:"next,omitempty"`
	Breaks  bool     `json:"breaks"`
	Missing []Gap    `json:"missing"`
	Reason  string   `json:"reason"` // one sentence
	Remedy  []Remedy `json:"remedy"` // what prevents it; empty when nothing breaks
	// Lost are the allowed algorithms that the next release no longer offers,
	// although something common remains.
	Lost []string `json:"lost,omitempty"`
}

// Predict judges what an earlier look saw against another policy (seed 000: an
// upgrade of the client tightened the policy and working backups stopped). ok
// is false when the look saw no offer.
func Predict(r Result, p Policy) (pr Prediction, ok bool) {
	if r.Offer == nil {
		return Prediction{}, false
	}
	_, gaps := Judge(*r.Offer, p)
	pr = Prediction{Target: r.Target, Policy: p.Name, Server: r.Software, Breaks: len(gaps) > 0, Missing: gaps, Remedy: []Remedy{}}
	if !pr.Breaks {
		pr.Reason = fmt.Sprintf("the server offers something that policy %s allows in every category", p.Name)
		return pr, true
	}
	for i := range gaps {
		gaps[i].Smallest = smallestAddition(gaps[i], r.Server)
	}
	pr.Reason = fmt.Sprintf("policy %s allows nothing of what the server offers for %s", p.Name, joinCategories(missing(gaps)))
	pr.Remedy = negotiationRemedies(gaps, r.Server)
	return pr, true
}

// PredictUpgrade judges what the server would offer after its upgrade to the
// next major release. A list that is its release's default moves to the next
// default; any other was configured and stays. ok is false when the
// software, its release or a next one is not known.
func PredictUpgrade(r Result, p Policy) (pr Prediction, ok bool) {
	now, next, ok := releasesOf(r.Server)
	if !ok || r.Offer == nil {
		return Prediction{}, false
	}
	later := upgraded(*r.Offer, now, next)
	_, gaps := Judge(later, p)
	_, today := Judge(*r.Offer, p)
	pr = Prediction{
		Target: r.Target, Policy: p.Name, Server: r.Software, Next: "OpenSSH_" + next.Version,
		Breaks: len(gaps) > len(today), Missing: gaps, Remedy: []Remedy{},
	}
	for _, name := range r.Offer.KEX {
		if slices.Contains(p.KEX, name) && !slices.Contains(later.KEX, name) {
			pr.Lost = append(pr.Lost, name)
		}
	}
	switch {
	case pr.Breaks:
		pr.Reason = fmt.Sprintf("OpenSSH %s no longer offers %s by default, and with it goes all that policy %s allows for %s",
			next.Version, join(pr.Lost), p.Name, joinCategories(missing(gaps)))
		pr.Remedy = keepRemedies(*r.Offer, gaps)
	case len(gaps) > 0:
		pr.Reason = fmt.Sprintf("the server fails policy %s already; OpenSSH %s does not mend it", p.Name, next.Version)
	case len(pr.Lost) > 0:
		pr.Reason = fmt.Sprintf("OpenSSH %s no longer offers %s by default; other algorithms of policy %s remain", next.Version, join(pr.Lost), p.Name)
	default:
		pr.Reason = fmt.Sprintf("OpenSSH %s still offers what policy %s needs", next.Version, p.Name)
	}
	return pr, true
}

// releasesOf finds the server's release and the newest of the next major one.
func releasesOf(s Software) (now, next release, ok bool) {
	if s.Family != "openssh" || s.Major() < 0 {
		return release{}, release{}, false
	}
	var haveNow, haveNext bool
	for _, r := range knowledge().releases {
		major := Software{Version: r.Version}.Major()
		if compareVersions(r.Version, s.Release()) == 0 {
			now, haveNow = r, true
		}
		if major == s.Major()+1 {
			next, haveNext = r, true // the last one wins: releases ascend
		}
	}
	return now, next, haveNow && haveNext
}

// upgraded is the offer after the upgrade.
func upgraded(l Lists, now, next release) Lists {
	if isDefault(KEX, l.KEX, now) {
		l.KEX = next.KEX
	}
	if isDefault(Cipher, l.CipherC2S, now) && isDefault(Cipher, l.CipherS2C, now) {
		l.CipherC2S, l.CipherS2C = next.Cipher, next.Cipher
	}
	if isDefault(MAC, l.MACC2S, now) && isDefault(MAC, l.MACS2C, now) {
		l.MACC2S, l.MACS2C = next.MAC, next.MAC
	}
	if subset(l.HostKey, now.HostKey) { // a server names only what it has keys for
		var kept []string
		for _, name := range next.HostKey {
			if slices.ContainsFunc(l.HostKey, func(o string) bool {
				return keyTypeOf(o) == keyTypeOf(name)
			}) {
				kept = append(kept, name)
			}
		}
		l.HostKey = kept
	}
	return l
}

// isDefault reports whether an offer is its release's default list. Vendors
// backport names (Debian's 9.2 has sntrup761x25519-sha512, which is of 9.9), so
// names that a later release offers by default may stand beside it.
func isDefault(c Category, offered []string, now release) bool {
	if !subset(now.list(c), offered) {
		return false
	}
	for _, name := range offered {
		if !slices.Contains(now.list(c), name) && !slices.ContainsFunc(knowledge().releases, func(r release) bool {
			return compareVersions(r.Version, now.Version) > 0 && slices.Contains(r.list(c), name)
		}) {
			return false
		}
	}
	return true
}

func subset(a, b []string) bool {
	for _, name := range a {
		if !slices.Contains(b, name) {
			return false
		}
	}
	return true
}

// keepRemedies write today's list down before the upgrade: a list that is
// configured survives it, a default does not. Every name of it is one that both
// releases know.
func keepRemedies(l Lists, gaps []Gap) []Remedy {
	today := map[Category][]string{KEX: l.KEX, HostKey: l.HostKey, Cipher: l.CipherC2S, MAC: l.MACC2S}
	var steps []Remedy
	for _, g := range perCategory(gaps) {
		line := SSHDLine(Gap{Category: g.Category, Offered: today[g.Category]})
		steps = append(steps, Remedy{
			Text: fmt.Sprintf("Before the upgrade, put this line in front of every other %s line and of any Include of sshd_config: a written list survives the upgrade. %s",
				sshdKeyword(g.Category), line),
			Impact: "none today: it is what the server offers now",
			Line:   line,
		})
	}
	return append(steps, Remedy{
		Text: "Check the file before and after the upgrade.", Impact: impactNone,
		Command: "sshd -t && sshd -T | grep -Ei '^(kex|ciphers|macs|hostkeyalg)'",
	})
}
