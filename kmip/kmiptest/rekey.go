package kmiptest

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"hash"
	"slices"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// successor makes the object that takes over from old: its attributes, a new life, the names move (KMIP 1.4 section
// 4.4, tables 174 and 175). The old object, without its names, is answered beside it.
func (x *exchange) successor(in *item, old *object, given []attribute) (next, prev *object, err error) {
	if next, err = x.newObject(old.kind, nil); err != nil {
		return nil, nil, err
	}
	fresh := next.attrs
	next.attrs = nil
	for _, a := range old.attrs {
		r := rightsOf(a.name)
		dated := a.value.val.Type == ttlv.TypeDateTime && !custom(a.name)
		if !dated && a.name != "Link" && (r&mayInit != 0) {
			next.append(a)
		}
	}
	for _, a := range fresh {
		next.set(a.value.retag(tagOf(a.name)))
	}
	if err := x.moveDates(in, old, next); err != nil {
		return nil, nil, err
	}
	for _, a := range given {
		if err := x.mayInit(next, a); err != nil {
			return nil, nil, err
		}
		next.attrs = slices.DeleteFunc(next.attrs, func(b attribute) bool { return b.name == a.name && b.vendor == a.vendor })
		next.append(a)
	}
	prev = old.clone()
	prev.drop(ttlv.TagName)
	prev.set(date(ttlv.TagLastChangeDate, x.now))
	next.link(kmip.LinkTypeReplacedObjectLink, old.id)
	prev.link(kmip.LinkTypeReplacementObjectLink, next.id)
	return next, prev, nil
}

func tagOf(name string) ttlv.Tag {
	t, _ := ttlv.TagByName(name)
	return t
}

// moveDates gives the new object the old one's dates, moved so that it becomes active Offset from now.
func (x *exchange) moveDates(in *item, old, next *object) error {
	off := in.kid(ttlv.TagOffset)
	began := old.attr(ttlv.TagActivationDate)
	if off == nil {
		if began != nil {
			next.set(date(ttlv.TagActivationDate, x.now))
		}
		return nil
	}
	seconds, ok := off.val.Interval()
	if !ok {
		return refusef(reasonInvalidField, "an offset that is no interval")
	}
	start := x.now.Add(time.Duration(seconds) * time.Second)
	next.set(date(ttlv.TagActivationDate, start))
	for _, t := range []ttlv.Tag{ttlv.TagProcessStartDate, ttlv.TagProtectStopDate, ttlv.TagDeactivationDate} {
		d := old.attr(t)
		switch {
		case d == nil:
		case began == nil:
			return refusef(reasonIllegalOperation, "object %s has no activation date from which to move its dates", old.id)
		default:
			next.set(date(t, start.Add(d.time().Sub(began.time()))))
		}
	}
	return nil
}

func (x *exchange) reKey(in *item) ([]*item, error) {
	old, err := x.usable(in)
	if err != nil {
		return nil, err
	}
	if old.kind != kmip.ObjectTypeSymmetricKey || old.attr(ttlv.TagCryptographicAlgorithm) == nil {
		return nil, refusef(reasonPermissionDenied, "object %s is no symmetric key that can be made anew", old.id)
	}
	given, err := x.template(in, ttlv.TagTemplateAttribute, ttlv.TagAttributes)
	if err != nil {
		return nil, err
	}
	next, prev, err := x.successor(in, old, given)
	if err != nil {
		return nil, err
	}
	alg := kmip.CryptographicAlgorithm(next.attr(ttlv.TagCryptographicAlgorithm).enum())
	length := next.attr(ttlv.TagCryptographicLength)
	key, err := newSymmetric(alg, length)
	if err != nil {
		return nil, err
	}
	next.value = structure(ttlv.TagSymmetricKey, keyBlock(kmip.KeyFormatTypeRaw, octets(ttlv.TagKeyMaterial, key), alg, length.integer()))
	if err := x.replace(prev, next); err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagUniqueIdentifier, next.id)}, nil
}

// replace stores objects and those that take over from them. The old ones go first: they give up the names.
func (x *exchange) replace(prev, next *object, more ...*object) error {
	for _, o := range append([]*object{prev, next}, more...) {
		if o.value != nil {
			x.derive(o)
		}
	}
	if err := x.put(append([]*object{prev, next}, more...)...); err != nil {
		return err
	}
	x.holder = next.id
	return nil
}

func (x *exchange) reKeyKeyPair(in *item) ([]*item, error) {
	id := in.kid(ttlv.TagPrivateKeyUniqueIdentifier)
	if id == nil && x.holder == "" {
		return nil, refusef(reasonItemNotFound, "no private key is named")
	}
	name := x.holder
	if id != nil {
		name = id.text()
	}
	oldPriv, err := x.lookup(name)
	if err != nil {
		return nil, err
	}
	oldPub, err := x.lookup(oldPriv.linked(kmip.LinkTypePublicKeyLink))
	if err != nil || oldPriv.kind != kmip.ObjectTypePrivateKey || oldPriv.value == nil {
		return nil, refusef(reasonPermissionDenied, "object %s is no private key that can be made anew", oldPriv.id)
	}
	common, err := x.template(in, ttlv.TagCommonTemplateAttribute, ttlv.TagCommonAttributes)
	if err != nil {
		return nil, err
	}
	private, err := x.template(in, ttlv.TagPrivateKeyTemplateAttribute, ttlv.TagPrivateKeyAttributes)
	if err != nil {
		return nil, err
	}
	public, err := x.template(in, ttlv.TagPublicKeyTemplateAttribute, ttlv.TagPublicKeyAttributes)
	if err != nil {
		return nil, err
	}
	priv, prevPriv, err := x.successor(in, oldPriv, slices.Concat(common, private))
	if err != nil {
		return nil, err
	}
	pub, prevPub, err := x.successor(in, oldPub, slices.Concat(common, public))
	if err != nil {
		return nil, err
	}
	if err := newPair(priv, pub); err != nil {
		return nil, err
	}
	priv.link(kmip.LinkTypePublicKeyLink, pub.id)
	pub.link(kmip.LinkTypePrivateKeyLink, priv.id)
	if err := x.replace(prevPriv, priv, prevPub, pub); err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagPrivateKeyUniqueIdentifier, priv.id), text(ttlv.TagPublicKeyUniqueIdentifier, pub.id)}, nil
}

// linked answers the object that a link of the type names, "" when there is none.
func (o *object) linked(t kmip.LinkType) string {
	for _, a := range o.attrs {
		if a.name == "Link" && a.value.kid(ttlv.TagLinkType).enum() == uint32(t) {
			return a.value.kid(ttlv.TagLinkedObjectIdentifier).text()
		}
	}
	return ""
}

// Bounds of a derivation.
const (
	maxIterations = 1_000_000
	maxDerived    = 512 // bytes
)

// deriveKey makes a key from another one or from a password, by PBKDF2, HMAC, HASH or ENCRYPT (KMIP 1.4 section 4.6).
func (x *exchange) deriveKey(in *item) ([]*item, error) {
	kind := kmip.ObjectType(in.kid(ttlv.TagObjectType).enum())
	if kind != kmip.ObjectTypeSymmetricKey && kind != kmip.ObjectTypeSecretData {
		return nil, refusef(reasonInvalidField, "objects of type %s are not derived", kind)
	}
	from, err := x.usable(in)
	if err != nil {
		return nil, err
	}
	if mask := from.attr(ttlv.TagCryptographicUsageMask); mask.integer()&int32(kmip.CryptographicUsageMaskDeriveKey) == 0 {
		return nil, refusef(reasonInvalidField, "object %s may not be used to derive keys", from.id)
	}
	attrs, err := x.template(in, ttlv.TagTemplateAttribute, ttlv.TagAttributes)
	if err != nil {
		return nil, err
	}
	o, err := x.newObject(kind, attrs)
	if err != nil {
		return nil, err
	}
	bits := o.attr(ttlv.TagCryptographicLength).integer()
	if bits < 8 || bits%8 != 0 || bits > maxDerived*8 {
		return nil, refusef(reasonInvalidField, "keys of 8 to %d bits are derived, in whole bytes", maxDerived*8)
	}
	key, err := derive(from, in, int(bits/8))
	if err != nil {
		return nil, err
	}
	alg := kmip.CryptographicAlgorithm(o.attr(ttlv.TagCryptographicAlgorithm).enum())
	block := keyBlock(kmip.KeyFormatTypeRaw, octets(ttlv.TagKeyMaterial, key), alg, bits)
	o.value = structure(ttlv.TagSymmetricKey, block)
	if kind == kmip.ObjectTypeSecretData {
		o.value = structure(ttlv.TagSecretData, enum(ttlv.TagSecretDataType, kmip.SecretDataTypeSeed), block)
	}
	o.link(kmip.LinkTypeDerivationBaseObjectLink, from.id)
	prev := from.clone()
	prev.append(attribute{name: "Link", value: structure(ttlv.TagAttributeValue,
		enum(ttlv.TagLinkType, kmip.LinkTypeDerivedKeyLink), text(ttlv.TagLinkedObjectIdentifier, o.id))})
	if err := x.replace(prev, o); err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id)}, nil
}

func derive(from *object, in *item, size int) ([]byte, error) {
	p := in.kid(ttlv.TagDerivationParameters)
	newHash, err := hashOf(p.at(ttlv.TagCryptographicParameters, ttlv.TagHashingAlgorithm), kmip.HashingAlgorithmSHA_256)
	if err != nil {
		return nil, err
	}
	data := p.kid(ttlv.TagDerivationData).octets()
	var out []byte
	switch m := kmip.DerivationMethod(in.kid(ttlv.TagDerivationMethod).enum()); m {
	case kmip.DerivationMethodPBKDF2:
		return stretch(newHash, from, p, size)
	case kmip.DerivationMethodHMAC:
		h := hmac.New(newHash, from.material())
		h.Write(data)
		out = h.Sum(nil)
	case kmip.DerivationMethodHASH:
		h := newHash()
		h.Write(from.material())
		h.Write(data)
		out = h.Sum(nil)
	default:
		return nil, refusef(reasonInvalidField, "derivation method %s is not supported", m)
	}
	if len(out) < size {
		return nil, refusef(reasonCryptographic, "%d bytes are wanted, the method gives %d", size, len(out))
	}
	return out[:size], nil
}

func stretch(newHash func() hash.Hash, from *object, p *item, size int) ([]byte, error) {
	n := p.kid(ttlv.TagIterationCount).integer()
	if n < 1 || n > maxIterations {
		return nil, refusef(reasonInvalidField, "an iteration count of 1 to %d", maxIterations)
	}
	key, err := pbkdf2.Key(newHash, string(from.material()), p.kid(ttlv.TagSalt).octets(), int(n), size)
	if err != nil {
		return nil, refusef(reasonCryptographic, "derive from object %s: %v", from.id, err)
	}
	return key, nil
}

// importObject takes an object under the identifier that the client gives it.
func (x *exchange) importObject(in *item) ([]*item, error) {
	id := in.kid(ttlv.TagUniqueIdentifier).text()
	if id == "" || len(id) > 255 {
		return nil, refusef(reasonInvalidField, "an import names its object")
	}
	if x.st.get(id) != nil && !in.kid(ttlv.TagReplaceExisting).flag() {
		return nil, refusef(kmip.ResultReasonObjectAlreadyExists, "there is an object %q already", id)
	}
	from := in
	if x.version.Major() >= 2 {
		from = in.kid(ttlv.TagAttributes)
	}
	attrs, err := decodeAttributes(x.version, from)
	if err != nil {
		return nil, err
	}
	var later []attribute // those that only a server sets, and that the server it comes from has set
	own := attrs[:0]
	for _, a := range attrs {
		switch {
		case a.name == "Unique Identifier" || a.name == "State" || a.name == "Object Type":
		case rightsOf(a.name)&mayInit == 0 && knows(x.version, a.name):
			later = append(later, a)
		default:
			own = append(own, a)
		}
	}
	o, err := x.given(in, own)
	if err != nil {
		return nil, err
	}
	o.id = id
	for _, a := range later {
		if err := x.wellFormed(a); err != nil {
			return nil, err
		}
		o.set(a.value.retag(tagOf(a.name)))
	}
	if err := x.made(o); err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagUniqueIdentifier, id)}, nil
}
