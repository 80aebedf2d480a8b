package sshpolicy

import "slices"

// Direction of an algorithm: client to server or server to client. Ciphers and
// MACs are negotiated for each direction on its own.
type Direction string

// The directions; key exchange and host key have none.
const (
	Both Direction = ""
	C2S  Direction = "c2s"
	S2C  Direction = "s2c"
)

// List is the judgement of one category (and direction).
type List struct {
	Offered []string `json:"offered"` // by the server, in its order
	Allowed []string `json:"allowed"` // by the policy, in its order
	Common  []string `json:"common"`  // in the policy's order
	// Chosen is what the negotiation yields: the first of the client's list
	// that the server has (RFC 4253 section 7.1); "" when there is none.
	Chosen string `json:"chosen"`
	// NotNeeded: the chosen cipher authenticates by itself, so a MAC is not
	// negotiated and an empty Common does no harm. Only for MAC.
	NotNeeded bool `json:"not_needed,omitempty"`
}

// Directions is the judgement of a category that has two directions.
type Directions struct {
	C2S List `json:"c2s"`
	S2C List `json:"s2c"`
}

// Verdicts is the judgement of all four categories.
type Verdicts struct {
	KEX     List       `json:"kex"`
	HostKey List       `json:"host_key"`
	Cipher  Directions `json:"cipher"`
	MAC     Directions `json:"mac"`
}

// Gap is one category (and direction) without a common algorithm.
type Gap struct {
	Category  Category  `json:"category"`
	Direction Direction `json:"direction"` // "" for key exchange and host key
	Offered   []string  `json:"offered"`
	Allowed   []string  `json:"allowed"`
	// Smallest is the one name whose addition at the server closes the gap:
	// the first allowed one that its software is known to have.
	Smallest string `json:"smallest"`
}

// Judge compares a server's offer with a policy, all categories at once.
func Judge(l Lists, p Policy) (Verdicts, []Gap) {
	v := Verdicts{
		KEX:     judgeList(l.KEX, p.KEX),
		HostKey: judgeList(l.HostKey, p.HostKeys),
		Cipher:  Directions{C2S: judgeList(l.CipherC2S, p.Ciphers), S2C: judgeList(l.CipherS2C, p.Ciphers)},
		MAC:     Directions{C2S: judgeList(l.MACC2S, p.MACs), S2C: judgeList(l.MACS2C, p.MACs)},
	}
	v.MAC.C2S.NotNeeded = isAEAD(v.Cipher.C2S.Chosen)
	v.MAC.S2C.NotNeeded = isAEAD(v.Cipher.S2C.Chosen)
	if v.MAC.C2S.NotNeeded {
		v.MAC.C2S.Chosen = ""
	}
	if v.MAC.S2C.NotNeeded {
		v.MAC.S2C.Chosen = ""
	}
	var gaps []Gap
	v.each(func(c Category, d Direction, l List) {
		if len(l.Common) == 0 && !l.NotNeeded {
			gaps = append(gaps, Gap{Category: c, Direction: d, Offered: l.Offered, Allowed: l.Allowed})
		}
	})
	return v, gaps
}

// each visits the six lists in order.
func (v Verdicts) each(visit func(Category, Direction, List)) {
	visit(KEX, Both, v.KEX)
	visit(HostKey, Both, v.HostKey)
	visit(Cipher, C2S, v.Cipher.C2S)
	visit(Cipher, S2C, v.Cipher.S2C)
	visit(MAC, C2S, v.MAC.C2S)
	visit(MAC, S2C, v.MAC.S2C)
}

func judgeList(offered, allowed []string) List {
	l := List{Offered: orEmpty(offered), Allowed: orEmpty(allowed), Common: []string{}}
	for _, name := range allowed {
		if slices.Contains(offered, name) {
			l.Common = append(l.Common, name)
		}
	}
	if len(l.Common) > 0 {
		l.Chosen = l.Common[0]
	}
	return l
}

// missing names the categories of the gaps, each once, in order.
func missing(gaps []Gap) []Category {
	names := []Category{}
	for _, g := range gaps {
		if !slices.Contains(names, g.Category) {
			names = append(names, g.Category)
		}
	}
	return names
}

// isAEAD reports whether a cipher authenticates by itself (RFC 5647, OpenSSH
// PROTOCOL.chacha20poly1305), so that the negotiated MAC is ignored.
func isAEAD(cipher string) bool {
	switch cipher {
	case "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com",
		"AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "aes128-gcm", "aes256-gcm", "chacha20-poly1305":
		return true
	}
	return false
}

// orEmpty keeps null out of JSON.
func orEmpty(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// sameWays joins the two directions of a category where they lack the same:
// people need to be told once.
func sameWays(gaps []Gap) []Gap {
	var all []Gap
	for _, g := range gaps {
		i := slices.IndexFunc(all, func(o Gap) bool {
			return o.Category == g.Category && slices.Equal(o.Offered, g.Offered) && slices.Equal(o.Allowed, g.Allowed)
		})
		if i < 0 {
			all = append(all, g)
			continue
		}
		all[i].Direction = Both
	}
	return all
}
