package kmiptest

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

func (x *exchange) get(in *item) ([]*item, error) {
	o, err := x.usable(in)
	if err != nil {
		return nil, err
	}
	if b := o.block(); b != nil && b.kid(ttlv.TagKeyValue) == nil {
		return nil, refusef(reasonIllegalOperation, "the server has only attributes of object %s", o.id)
	}
	value, err := x.deliver(o, in)
	if err != nil {
		return nil, err
	}
	if o.attr(ttlv.TagFresh).flag() && x.o.Role != Clone {
		if err := x.change(o.id, func(o *object) error { o.set(boolean(ttlv.TagFresh, false)); return nil }); err != nil {
			return nil, err
		}
	}
	return []*item{enum(ttlv.TagObjectType, o.kind), text(ttlv.TagUniqueIdentifier, o.id), value}, nil
}

// deliver answers an object in the form that a Get or Export asks for.
func (x *exchange) deliver(o *object, in *item) (*item, error) {
	wrap := in.kid(ttlv.TagKeyWrappingSpecification)
	switch {
	case x.version >= kmip.V1_4 && !o.attr(ttlv.TagExtractable).flag() && o.attr(ttlv.TagExtractable) != nil:
		return nil, refusef(kmip.ResultReasonNotExtractable, "object %s is not extractable", o.id)
	case x.version >= kmip.V1_4 && o.attr(ttlv.TagSensitive).flag() && wrap == nil:
		return nil, refusef(kmip.ResultReasonSensitive, "object %s is sensitive and leaves the server only wrapped", o.id)
	}
	value, err := o.as(in.kid(ttlv.TagKeyFormatType))
	if err != nil {
		return nil, err
	}
	if in.kid(ttlv.TagKeyCompressionType) != nil {
		return nil, refusef(kmip.ResultReasonKeyCompressionTypeNotSupported, "keys are not compressed")
	}
	if f := x.fault; f != nil && f.Kind == WrongKey && (f.ID == "" || f.ID == o.id) {
		value = otherBytes(value)
	}
	if wrap == nil {
		return value, nil
	}
	return x.wrapped(o, value, wrap)
}

// as answers the object's value with its key in a format.
func (o *object) as(format *item) (*item, error) {
	want := kmip.KeyFormatType(format.enum())
	if format == nil || o.block() == nil || want == o.format() {
		return o.value, nil
	}
	if o.block().kid(ttlv.TagKeyWrappingData) != nil {
		return nil, refusef(reasonKeyFormat, "object %s is wrapped as %s", o.id, o.format())
	}
	var material *item
	switch o.kind {
	case kmip.ObjectTypeSymmetricKey, kmip.ObjectTypeSecretData:
		m := o.material()
		if o.format() == kmip.KeyFormatTypeTransparentSymmetricKey {
			m = o.block().at(ttlv.TagKeyValue, ttlv.TagKeyMaterial, ttlv.TagKey).octets()
		}
		switch {
		case m == nil:
		case want == kmip.KeyFormatTypeRaw:
			material = octets(ttlv.TagKeyMaterial, m)
		case want == kmip.KeyFormatTypeTransparentSymmetricKey:
			material = structure(ttlv.TagKeyMaterial, octets(ttlv.TagKey, m))
		}
	case kmip.ObjectTypePrivateKey:
		key, err := o.private()
		if err != nil {
			break
		}
		if material, err = formatPrivate(key, want); err != nil {
			return nil, err
		}
	case kmip.ObjectTypePublicKey:
		key, err := o.public()
		if err != nil {
			break
		}
		if material, err = formatPublic(key, want); err != nil {
			return nil, err
		}
	}
	if material == nil {
		return nil, refusef(reasonKeyFormat, "object %s cannot be given as %s", o.id, want)
	}
	block := structure(ttlv.TagKeyBlock, enum(ttlv.TagKeyFormatType, want), structure(ttlv.TagKeyValue, material))
	for _, k := range o.block().kids {
		if k.tag != ttlv.TagKeyFormatType && k.tag != ttlv.TagKeyValue {
			block.add(k)
		}
	}
	return o.withBlock(block), nil
}

// withBlock answers the object's value with another key block.
func (o *object) withBlock(block *item) *item {
	out := structure(o.value.tag)
	for _, k := range o.value.kids {
		if k.tag == ttlv.TagKeyBlock {
			k = block
		}
		out.add(k)
	}
	return out
}

// otherBytes answers a copy in which every byte string differs from the original.
func otherBytes(it *item) *item {
	c := *it
	if it.val.Type == ttlv.TypeByteString {
		c.val.Body = bytes.Clone(it.val.Body)
		for i := range c.val.Body {
			c.val.Body[i] ^= 0xA5
		}
	}
	c.kids = make([]*item, len(it.kids))
	for i, k := range it.kids {
		c.kids[i] = otherBytes(k)
	}
	return &c
}

func (x *exchange) getAttributes(in *item) ([]*item, error) {
	o, err := x.described(in)
	if err != nil {
		return nil, err
	}
	asked, err := x.references(in)
	if err != nil {
		return nil, err
	}
	out := structure(ttlv.TagAttributes)
	for _, a := range o.all(x.version, x.now) {
		if len(asked) > 0 && !slices.Contains(asked, reference{a.vendor, a.name}) {
			continue
		}
		out.add(a.encode(x.version))
	}
	id := text(ttlv.TagUniqueIdentifier, o.id)
	if x.version.Major() >= 2 {
		return []*item{id, out}, nil
	}
	return append([]*item{id}, out.kids...), nil
}

// reference names an attribute.
type reference struct{ vendor, name string }

// references reads the attributes that a request asks for.
func (x *exchange) references(in *item) ([]reference, error) {
	var out []reference
	for _, k := range in.kids {
		var r reference
		switch k.tag {
		case ttlv.TagAttributeName:
			r.name = clean(k.text())
		case ttlv.TagAttributeReference:
			r = readReference(k)
		default:
			continue
		}
		if slices.Contains(out, r) {
			return nil, refusef(reasonInvalidMessage, "attribute %q is asked for twice", r.name)
		}
		out = append(out, r)
	}
	return out, nil
}

// readReference reads an Attribute Reference of KMIP 2.x.
func readReference(k *item) reference {
	if k.val.Type == ttlv.TypeEnumeration {
		return reference{name: ttlv.Tag(k.enum()).String()}
	}
	vendor, name := k.kid(ttlv.TagVendorIdentification).text(), clean(k.kid(ttlv.TagAttributeName).text())
	if vendor == "x" || vendor == "y" {
		return reference{name: vendor + "-" + name}
	}
	return reference{vendor, name}
}

func (x *exchange) getAttributeList(in *item) ([]*item, error) {
	o, err := x.described(in)
	if err != nil {
		return nil, err
	}
	out := []*item{text(ttlv.TagUniqueIdentifier, o.id)}
	seen := map[reference]bool{}
	for _, a := range o.all(x.version, x.now) {
		if r := (reference{a.vendor, a.name}); !seen[r] {
			seen[r] = true
			out = append(out, x.refer(a))
		}
	}
	return out, nil
}

// refer names an attribute as clients of the version do.
func (x *exchange) refer(a attribute) *item {
	if x.version.Major() < 2 {
		return text(ttlv.TagAttributeName, a.name)
	}
	if tag, ok := ttlv.TagByName(a.name); ok && a.vendor == "" {
		return enum(ttlv.TagAttributeReference, tag)
	}
	vendor, name := a.vendor, a.name
	if vendor == "" {
		vendor, name, _ = strings.Cut(a.name, "-")
	}
	return structure(ttlv.TagAttributeReference, text(ttlv.TagVendorIdentification, vendor), text(ttlv.TagAttributeName, name))
}

// locate finds the objects that have all the attributes asked for, the newest first (KMIP 1.4 section 4.9).
func (x *exchange) locate(in *item) ([]*item, error) {
	from := in
	if x.version.Major() >= 2 {
		from = in.kid(ttlv.TagAttributes)
	}
	want, err := decodeAttributes(x.version, from)
	if err != nil {
		return nil, err
	}
	for _, a := range want {
		if !knows(x.version, a.name) {
			return nil, refusef(reasonInvalidField, "there is no attribute %q", a.name)
		}
	}
	storage := storageMask(in)
	found := []*item{}
	for _, o := range slices.Backward(x.st.all()) {
		if !x.hides(o.id) && storage.has(o) && fresh(in, o) && x.matches(o, want) {
			found = append(found, text(ttlv.TagUniqueIdentifier, o.id))
		}
	}
	total := len(found)
	if n := in.kid(ttlv.TagOffsetItems); n != nil {
		found = found[min(max(int(n.integer()), 0), len(found)):]
	}
	if n := in.kid(ttlv.TagMaximumItems); n != nil {
		found = found[:min(max(int(n.integer()), 0), len(found))]
	}
	if x.holder = ""; len(found) == 1 {
		x.holder = found[0].text()
	}
	if x.version >= kmip.V1_3 {
		found = append([]*item{integer(ttlv.TagLocatedItems, int32(total))}, found...)
	}
	return found, nil
}

// storage is where to look (KMIP 1.4 section 9.1.3.3.2).
type storage int32

func storageMask(in *item) storage {
	if m := in.kid(ttlv.TagStorageStatusMask); m != nil {
		return storage(m.integer())
	}
	return storage(kmip.StorageStatusMaskOnLineStorage)
}

func (s storage) has(o *object) bool {
	switch {
	case o.destroyed():
		return s&storage(kmip.StorageStatusMaskDestroyedStorage) != 0
	case o.archived():
		return s&storage(kmip.StorageStatusMaskArchivalStorage) != 0
	}
	return s&storage(kmip.StorageStatusMaskOnLineStorage) != 0
}

// fresh applies the Object Group Member of a Locate: the default one of a group is one that nobody was given yet.
func fresh(in *item, o *object) bool {
	m := in.kid(ttlv.TagObjectGroupMember)
	return m.enum() != uint32(kmip.ObjectGroupMemberGroupMemberFresh) || o.attr(ttlv.TagFresh).flag()
}

// matches tells whether an object has all attributes wanted. A date given twice is a range.
func (x *exchange) matches(o *object, want []attribute) bool {
	have := o.all(x.version, x.now)
	for i, w := range want {
		if w.value.val.Type == ttlv.TypeDateTime {
			if !inRange(have, want, i) {
				return false
			}
			continue
		}
		ok := slices.ContainsFunc(have, func(a attribute) bool {
			return a.name == w.name && a.vendor == w.vendor && meets(a, w.value)
		})
		if !ok {
			return false
		}
	}
	return true
}

// meets tells whether an attribute has the value wanted: all bits of a mask, the text of a name of any type when only
// the text is given, else the same value.
func meets(a attribute, want *item) bool {
	switch {
	case a.name == "Cryptographic Usage Mask" && want.val.Type == ttlv.TypeInteger:
		return want.integer()&^a.value.integer() == 0
	case want.val.Type == ttlv.TypeStructure:
		for _, k := range want.kids {
			if have := a.value.kid(k.tag); have == nil || !have.equal(k) {
				return false
			}
		}
		return true
	}
	return a.value.equal(want)
}

func inRange(have, want []attribute, i int) bool {
	var low, high time.Time
	for _, w := range want {
		if w.name != want[i].name || w.value.val.Type != ttlv.TypeDateTime {
			continue
		}
		t := w.value.time()
		if low.IsZero() || t.Before(low) {
			low = t
		}
		if high.IsZero() || t.After(high) {
			high = t
		}
	}
	return slices.ContainsFunc(have, func(a attribute) bool {
		t := a.value.time()
		return a.name == want[i].name && !t.Before(low) && !t.After(high)
	})
}

func (x *exchange) export(in *item) ([]*item, error) {
	o, err := x.object(in)
	if err != nil {
		return nil, err
	}
	out := []*item{enum(ttlv.TagObjectType, o.kind), text(ttlv.TagUniqueIdentifier, o.id)}
	attrs := structure(ttlv.TagAttributes)
	for _, a := range o.all(x.version, x.now) {
		attrs.add(a.encode(x.version))
	}
	if x.version.Major() >= 2 {
		out = append(out, attrs)
	} else {
		out = append(out, attrs.kids...)
	}
	if o.value == nil {
		return out, nil
	}
	value, err := x.deliver(o, in)
	return append(out, value), err
}
