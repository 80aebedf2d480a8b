package keyring

import (
	"slices"

	"allclear/internal/envelope"
)

// Survival says of one thing what still opens it.
type Survival struct {
	ID string
	// Openers are the servers that have a key of one of its slots, sorted.
	Openers []string
	// Sole is the one server without which it could not be opened; "" if there are several, none, or a local key.
	Sole string
	// Local and Recovery: a local key opens it; a recovery slot exists.
	Local, Recovery bool
}

// Opens claims that the thing could still be opened, without the recovery key, if that server were gone; "" means none.
func (s Survival) Opens(gone string) bool {
	return s.Local || slices.ContainsFunc(s.Openers, func(o string) bool { return o != gone })
}

// Survive makes the matrix of servers and things: what could still be opened if a server were gone. holds claims that a
// look found the key with the right bytes on the server.
func Survive(things []envelope.Info, servers []string, holds func(server string, ref envelope.SlotRef) bool) []Survival {
	out := make([]Survival, 0, len(things))
	for _, in := range things {
		s := Survival{ID: in.ID, Recovery: in.Recovery}
		for _, ref := range in.Slots {
			s.Local = s.Local || ref.Kind == envelope.KindLocal
		}
		for _, srv := range servers {
			if slices.ContainsFunc(in.Slots, func(ref envelope.SlotRef) bool {
				return ref.Kind == envelope.KindKMIP && holds(srv, ref)
			}) {
				s.Openers = append(s.Openers, srv)
			}
		}
		slices.Sort(s.Openers)
		if len(s.Openers) == 1 && !s.Local {
			s.Sole = s.Openers[0]
		}
		out = append(out, s)
	}
	return out
}
