package kmiptest

import (
	"fmt"
	"slices"
	"strings"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// Object is what a test may know of an object without asking for it by KMIP.
type Object struct {
	ID       string
	Type     kmip.ObjectType
	State    kmip.State // 0 for objects without one
	Names    []string
	Material []byte // a copy; nil when destroyed or not made of bytes
}

// Objects lists what the server holds now, the oldest first; what is due by replication is taken over before.
func (s *Server) Objects() []Object {
	now := s.options().Now()
	s.store.catchUp(now)
	var out []Object
	for _, o := range s.store.all() {
		e := Object{ID: o.id, Type: o.kind, Names: o.names(), Material: slices.Clone(o.material())}
		if o.stateful() {
			e.State = o.state(now)
		}
		out = append(out, e)
	}
	return out
}

// Find answers the object with the identifier or the name.
func (s *Server) Find(idOrName string) (Object, bool) {
	all := s.Objects()
	i := slices.IndexFunc(all, func(o Object) bool { return o.ID == idOrName || slices.Contains(o.Names, idOrName) })
	if i < 0 {
		return Object{}, false
	}
	return all[i], true
}

// Lose removes an object altogether, as no operation of KMIP does: a server that was restored from an old backup.
func (s *Server) Lose(id string) error {
	if s.store.get(id) == nil {
		return fmt.Errorf("the server has no object %q", id)
	}
	return s.store.forget(id)
}

// Overwrite gives a symmetric key other bytes under the same identifier: a clone that was split from its master. The
// attributes stay as they are.
func (s *Server) Overwrite(id string, material []byte) error {
	return s.store.change(id, func(o *object) error {
		if o.block() == nil || o.material() == nil {
			return fmt.Errorf("object %q holds no key bytes", id)
		}
		b := deep(o.block())
		*b.at(ttlv.TagKeyValue, ttlv.TagKeyMaterial) = *octets(ttlv.TagKeyMaterial, slices.Clone(material))
		o.value = o.withBlock(b)
		return nil
	})
}

// ParseRole reads a role: "", stand-alone, master, clone or multi-master.
func ParseRole(text string) (Role, error) {
	switch r := Role(strings.ToLower(text)); r {
	case "stand-alone":
		return StandAlone, nil
	case StandAlone, Master, Clone, MultiMaster:
		return r, nil
	}
	return "", fmt.Errorf("role %q is none of stand-alone, master, clone, multi-master", text)
}
