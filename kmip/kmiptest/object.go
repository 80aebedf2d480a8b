package kmiptest

import (
	"slices"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// object is a managed object. One that lies in the store is never changed: who changes an object changes a copy.
type object struct {
	id    string
	kind  kmip.ObjectType
	value *item       // Symmetric Key, Certificate and so on; nil once destroyed
	size  int         // bytes that it takes, set when it is stored
	attrs []attribute // all but Unique Identifier, Object Type and State, which follow from the rest
}

// objectType is a kind of object with the item that carries it.
type objectType struct {
	kind   kmip.ObjectType
	tag    ttlv.Tag
	since  version
	before version // the version that dropped it, 0 when none has
}

func (t objectType) in(v version) bool { return v >= t.since && (t.before == 0 || v < t.before) }

func objectTypes() []objectType {
	return []objectType{
		{kmip.ObjectTypeCertificate, ttlv.TagCertificate, kmip.V1_0, 0},
		{kmip.ObjectTypeSymmetricKey, ttlv.TagSymmetricKey, kmip.V1_0, 0},
		{kmip.ObjectTypePublicKey, ttlv.TagPublicKey, kmip.V1_0, 0},
		{kmip.ObjectTypePrivateKey, ttlv.TagPrivateKey, kmip.V1_0, 0},
		{kmip.ObjectTypeSplitKey, ttlv.TagSplitKey, kmip.V1_0, 0},
		{kmip.ObjectTypeTemplate, ttlv.TagTemplate, kmip.V1_0, kmip.V2_0},
		{kmip.ObjectTypeSecretData, ttlv.TagSecretData, kmip.V1_0, 0},
		{kmip.ObjectTypeOpaqueObject, ttlv.TagOpaqueObject, kmip.V1_0, 0},
		{kmip.ObjectTypePGPKey, ttlv.TagPGPKey, kmip.V1_2, 0},
	}
}

func typeOf(kind uint32) (objectType, bool) {
	all := objectTypes()
	i := slices.IndexFunc(all, func(t objectType) bool { return uint32(t.kind) == kind })
	if i < 0 {
		return objectType{}, false
	}
	return all[i], true
}

// clone answers a copy whose attributes may be changed.
func (o *object) clone() *object {
	c := *o
	c.attrs = slices.Clone(o.attrs)
	return &c
}

// attr answers the value of an attribute's first instance, nil when there is none.
func (o *object) attr(t ttlv.Tag) *item { return o.attrByName(t.String()) }

func (o *object) attrByName(name string) *item {
	for i := range o.attrs {
		if o.attrs[i].name == name {
			return o.attrs[i].value
		}
	}
	return nil
}

// when answers a date of the object, zero when it is not set.
func (o *object) when(t ttlv.Tag) time.Time { return o.attr(t).time() }

// set puts an attribute that has one instance.
func (o *object) set(value *item) {
	name := value.tag.String()
	value = value.retag(ttlv.TagAttributeValue)
	for i := range o.attrs {
		if o.attrs[i].name == name {
			o.attrs[i].value = value
			return
		}
	}
	o.attrs = append(o.attrs, attribute{name: name, value: value})
}

// drop removes all instances of an attribute.
func (o *object) drop(t ttlv.Tag) {
	name := t.String()
	o.attrs = slices.DeleteFunc(o.attrs, func(a attribute) bool { return a.name == name })
}

// append adds an instance with the next free index.
func (o *object) append(a attribute) {
	a.index = 0
	for _, b := range o.attrs {
		if b.name == a.name && b.vendor == a.vendor {
			a.index = max(a.index, b.index+1)
		}
	}
	o.attrs = append(o.attrs, a)
}

// find answers the place of an instance; index -1 means the first.
func (o *object) find(vendor, name string, index int32) int {
	return slices.IndexFunc(o.attrs, func(a attribute) bool {
		return a.name == name && a.vendor == vendor && (index < 0 || a.index == index)
	})
}

// stateful tells whether objects of the kind have a state: all cryptographic ones (KMIP 1.4 section 3.22).
func (o *object) stateful() bool {
	return o.kind != kmip.ObjectTypeTemplate && o.kind != kmip.ObjectTypeOpaqueObject
}

// state follows from the dates (KMIP 1.4 section 3.22, figure 1).
func (o *object) state(now time.Time) kmip.State {
	reached := func(t ttlv.Tag) bool {
		d := o.attr(t)
		return d != nil && !d.time().After(now)
	}
	switch {
	case o.attr(ttlv.TagDestroyDate) != nil && o.attr(ttlv.TagCompromiseDate) != nil:
		return kmip.StateDestroyedCompromised
	case o.attr(ttlv.TagDestroyDate) != nil:
		return kmip.StateDestroyed
	case o.attr(ttlv.TagCompromiseDate) != nil:
		return kmip.StateCompromised
	case reached(ttlv.TagDeactivationDate):
		return kmip.StateDeactivated
	case reached(ttlv.TagActivationDate):
		return kmip.StateActive
	}
	return kmip.StatePreActive
}

func (o *object) destroyed() bool { return o.attr(ttlv.TagDestroyDate) != nil }
func (o *object) archived() bool  { return o.attr(ttlv.TagArchiveDate) != nil }

// names answers the object's names.
func (o *object) names() []string {
	var out []string
	for _, a := range o.attrs {
		if a.name == "Name" {
			out = append(out, a.value.kid(ttlv.TagNameValue).text())
		}
	}
	return out
}

// all answers every attribute that clients of the version know, in the order of the rules.
func (o *object) all(v version, now time.Time) []attribute {
	derived := []attribute{
		{name: "Unique Identifier", value: text(ttlv.TagAttributeValue, o.id)},
		{name: "Object Type", value: enum(ttlv.TagAttributeValue, o.kind)},
	}
	if o.stateful() {
		derived = append(derived, attribute{name: "State", value: enum(ttlv.TagAttributeValue, o.state(now))})
	}
	out := make([]attribute, 0, len(o.attrs)+len(derived))
	for _, a := range slices.Concat(derived, o.attrs) {
		if knows(v, a.name) {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b attribute) int { return rank(a.name) - rank(b.name) })
	return out
}

// rank orders attributes; those without a rule come last.
func rank(name string) int {
	for i := range rules {
		if rules[i].name() == name {
			return i
		}
	}
	return len(rules)
}

// block answers the key block, nil for an object without one.
func (o *object) block() *item { return o.value.kid(ttlv.TagKeyBlock) }

// material answers the key bytes of an unwrapped key in one of the formats made of bytes.
func (o *object) material() []byte {
	return o.block().at(ttlv.TagKeyValue, ttlv.TagKeyMaterial).octets()
}
