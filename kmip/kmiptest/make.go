package kmiptest

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// template collects the attributes that a request gives a new object: those of the templates named, then its own
// (KMIP 1.4 section 2.1.8). tags are those of 1.x and of 2.x.
func (x *exchange) template(in *item, one, two ttlv.Tag) ([]attribute, error) {
	if x.version.Major() >= 2 {
		return decodeAttributes(x.version, in.kid(two))
	}
	t := in.kid(one)
	if t == nil {
		return nil, nil
	}
	var out []attribute
	for _, n := range t.all(ttlv.TagName) {
		name := n.kid(ttlv.TagNameValue).text()
		o := x.st.get(x.st.named(name))
		if o == nil || o.kind != kmip.ObjectTypeTemplate {
			return nil, refusef(reasonItemNotFound, "there is no template %q", name)
		}
		attrs, err := decodeAttributes(x.version, o.value)
		if err != nil {
			return nil, err
		}
		out = append(out, slices.DeleteFunc(attrs, func(a attribute) bool { return a.name == "Name" })...)
	}
	own, err := decodeAttributes(x.version, t)
	return append(out, own...), err
}

// newObject makes an object with what every object has, and the attributes that a client gave it.
func (x *exchange) newObject(kind kmip.ObjectType, given []attribute) (*object, error) {
	if x.st.count() >= x.s.limit.Objects {
		return nil, refusef(reasonGeneral, "the server holds %d objects and takes no more", x.s.limit.Objects)
	}
	o := &object{id: newID(), kind: kind}
	for _, a := range given {
		if err := x.mayInit(o, a); err != nil {
			return nil, err
		}
		r := rightsOf(a.name)
		if r&multiple == 0 {
			if i := o.find(a.vendor, a.name, -1); i >= 0 { // its own value replaces that of a template
				o.attrs[i].value = a.value
				continue
			}
		}
		o.append(a)
	}
	o.set(date(ttlv.TagInitialDate, x.now))
	o.set(date(ttlv.TagLastChangeDate, x.now))
	if o.attr(ttlv.TagOriginalCreationDate) == nil {
		o.set(date(ttlv.TagOriginalCreationDate, x.now))
	}
	if o.stateful() {
		o.set(interval(ttlv.TagLeaseTime, leaseSeconds))
		o.set(boolean(ttlv.TagFresh, true))
	}
	return o, nil
}

// mayInit checks an attribute that a client gives a new object.
func (x *exchange) mayInit(o *object, a attribute) error {
	switch {
	case a.name == "Object Type" && a.value.enum() == uint32(o.kind):
	case !knows(x.version, a.name):
		return refusef(reasonInvalidField, "there is no attribute %q", a.name)
	case rightsOf(a.name)&mayInit == 0:
		return refusef(reasonInvalidField, "attribute %q is set by the server", a.name)
	}
	return x.wellFormed(a)
}

// wellFormed checks the type of an attribute's value.
func (x *exchange) wellFormed(a attribute) error {
	if a.value == nil {
		return refusef(reasonInvalidField, "attribute %q has no value", a.name)
	}
	if tag, ok := ttlv.TagByName(a.name); ok && !custom(a.name) && !tag.Allows(a.value.val.Type) {
		return refusef(reasonInvalidField, "a %s is no value of attribute %q", a.value.val.Type, a.name)
	}
	if a.name == "Name" && a.value.kid(ttlv.TagNameValue).text() == "" {
		return refusef(reasonInvalidField, "a name without text")
	}
	return nil
}

// made stores new objects and has the ID placeholder name the first.
func (x *exchange) made(objects ...*object) error {
	for _, o := range objects {
		x.derive(o)
	}
	if err := x.put(objects...); err != nil {
		return err
	}
	x.holder = objects[0].id
	return nil
}

// derive sets the attributes that follow from the object itself.
func (x *exchange) derive(o *object) {
	b := o.block()
	for _, t := range []ttlv.Tag{ttlv.TagCryptographicAlgorithm, ttlv.TagCryptographicLength} {
		if v := b.kid(t); v != nil && o.attr(t) == nil {
			o.set(v)
		}
	}
	format := b.kid(ttlv.TagKeyFormatType)
	material := b.at(ttlv.TagKeyValue, ttlv.TagKeyMaterial)
	var digested []byte
	switch {
	case material != nil && material.val.Type == ttlv.TypeByteString:
		digested = material.octets()
	case material != nil:
		digested = material.bytes()
	case o.kind == kmip.ObjectTypeOpaqueObject:
		digested = o.value.kid(ttlv.TagOpaqueDataValue).octets()
	case o.kind == kmip.ObjectTypeCertificate:
		digested = o.value.kid(ttlv.TagCertificateValue).octets()
		o.certify(digested)
	}
	if digested != nil {
		sum := sha256.Sum256(digested)
		o.set(structure(ttlv.TagDigest, enum(ttlv.TagHashingAlgorithm, kmip.HashingAlgorithmSHA_256),
			octets(ttlv.TagDigestValue, sum[:]), format))
	}
	if b == nil {
		return
	}
	o.set(boolean(ttlv.TagKeyValuePresent, material != nil || b.kid(ttlv.TagKeyValue) != nil))
	if o.attr(ttlv.TagSensitive) == nil {
		o.set(boolean(ttlv.TagSensitive, false))
	}
	if o.attr(ttlv.TagExtractable) == nil {
		o.set(boolean(ttlv.TagExtractable, true))
	}
	o.set(boolean(ttlv.TagAlwaysSensitive, o.attr(ttlv.TagSensitive).flag()))
	o.set(boolean(ttlv.TagNeverExtractable, !o.attr(ttlv.TagExtractable).flag()))
}

// certify sets what a certificate tells of itself. One that cannot be read keeps its bytes and tells nothing.
func (o *object) certify(der []byte) {
	if t := o.value.kid(ttlv.TagCertificateType); t != nil {
		o.set(t)
	}
	o.set(integer(ttlv.TagCertificateLength, int32(len(der))))
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return
	}
	o.set(structure(ttlv.TagX_509CertificateIdentifier,
		octets(ttlv.TagIssuerDistinguishedName, c.RawIssuer), octets(ttlv.TagCertificateSerialNumber, c.SerialNumber.Bytes())))
	o.set(structure(ttlv.TagX_509CertificateSubject, octets(ttlv.TagSubjectDistinguishedName, c.RawSubject)))
	o.set(structure(ttlv.TagX_509CertificateIssuer, octets(ttlv.TagIssuerDistinguishedName, c.RawIssuer)))
	o.set(structure(ttlv.TagCertificateIdentifier,
		text(ttlv.TagIssuer, c.Issuer.String()), text(ttlv.TagSerialNumber, c.SerialNumber.Text(16))))
	o.set(structure(ttlv.TagCertificateSubject, text(ttlv.TagCertificateSubjectDistinguishedName, c.Subject.String())))
	o.set(structure(ttlv.TagCertificateIssuer, text(ttlv.TagCertificateIssuerDistinguishedName, c.Issuer.String())))
	if alg, bits := publicKind(c.PublicKey); alg != 0 {
		o.set(enum(ttlv.TagCryptographicAlgorithm, alg))
		o.set(integer(ttlv.TagCryptographicLength, int32(bits)))
	}
	if alg, ok := signatureKind(c.SignatureAlgorithm); ok {
		o.set(enum(ttlv.TagDigitalSignatureAlgorithm, alg))
	}
}

func (x *exchange) create(in *item) ([]*item, error) {
	kind := kmip.ObjectType(in.kid(ttlv.TagObjectType).enum())
	if kind != kmip.ObjectTypeSymmetricKey && kind != kmip.ObjectTypeSecretData {
		return nil, refusef(reasonInvalidField, "objects of type %s are not created", kind)
	}
	attrs, err := x.template(in, ttlv.TagTemplateAttribute, ttlv.TagAttributes)
	if err != nil {
		return nil, err
	}
	o, err := x.newObject(kind, attrs)
	if err != nil {
		return nil, err
	}
	alg := kmip.CryptographicAlgorithm(o.attr(ttlv.TagCryptographicAlgorithm).enum())
	key, err := newSymmetric(alg, o.attr(ttlv.TagCryptographicLength))
	if err != nil {
		return nil, err
	}
	if o.attr(ttlv.TagCryptographicUsageMask) == nil {
		o.set(integer(ttlv.TagCryptographicUsageMask, int32(kmip.CryptographicUsageMaskEncrypt|kmip.CryptographicUsageMaskDecrypt)))
	}
	bits := int32(len(key) * 8)
	if n := o.attr(ttlv.TagCryptographicLength); n != nil {
		bits = n.integer()
	}
	o.set(integer(ttlv.TagCryptographicLength, bits))
	o.set(rngParameters().retag(ttlv.TagRandomNumberGenerator))
	block := keyBlock(kmip.KeyFormatTypeRaw, octets(ttlv.TagKeyMaterial, key), alg, bits)
	if kind == kmip.ObjectTypeSecretData {
		o.value = structure(ttlv.TagSecretData, enum(ttlv.TagSecretDataType, kmip.SecretDataTypeSeed), block)
	} else {
		o.value = structure(ttlv.TagSymmetricKey, block)
	}
	if err := x.made(o); err != nil {
		return nil, err
	}
	return []*item{enum(ttlv.TagObjectType, kind), text(ttlv.TagUniqueIdentifier, o.id)}, nil
}

func (x *exchange) createKeyPair(in *item) ([]*item, error) {
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
	priv, err := x.newObject(kmip.ObjectTypePrivateKey, slices.Concat(common, private))
	if err != nil {
		return nil, err
	}
	pub, err := x.newObject(kmip.ObjectTypePublicKey, slices.Concat(common, public))
	if err != nil {
		return nil, err
	}
	return x.pair(priv, pub)
}

// pair makes the keys of two new objects, links them to each other and stores them.
func (x *exchange) pair(priv, pub *object) ([]*item, error) {
	if err := newPair(priv, pub); err != nil {
		return nil, err
	}
	for _, o := range []*object{priv, pub} {
		o.set(rngParameters().retag(ttlv.TagRandomNumberGenerator))
	}
	priv.link(kmip.LinkTypePublicKeyLink, pub.id)
	pub.link(kmip.LinkTypePrivateKeyLink, priv.id)
	if err := x.made(priv, pub); err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagPrivateKeyUniqueIdentifier, priv.id), text(ttlv.TagPublicKeyUniqueIdentifier, pub.id)}, nil
}

// link adds a Link, or replaces the one of its type.
func (o *object) link(t kmip.LinkType, id string) {
	value := structure(ttlv.TagAttributeValue, enum(ttlv.TagLinkType, t), text(ttlv.TagLinkedObjectIdentifier, id))
	for i, a := range o.attrs {
		if a.name == "Link" && a.value.kid(ttlv.TagLinkType).enum() == uint32(t) {
			o.attrs[i].value = value
			return
		}
	}
	o.append(attribute{name: "Link", value: value})
}

func (x *exchange) register(in *item) ([]*item, error) {
	attrs, err := x.template(in, ttlv.TagTemplateAttribute, ttlv.TagAttributes)
	if err != nil {
		return nil, err
	}
	o, err := x.given(in, attrs)
	if err != nil {
		return nil, err
	}
	if err := x.made(o); err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id)}, nil
}

// given makes an object of what a request brings.
func (x *exchange) given(in *item, attrs []attribute) (*object, error) {
	t, ok := typeOf(in.kid(ttlv.TagObjectType).enum())
	if !ok || !t.in(x.version) {
		return nil, refusef(reasonInvalidField, "object type %s is not recognised", kmip.ObjectType(in.kid(ttlv.TagObjectType).enum()))
	}
	value := in.kid(t.tag)
	if value == nil || value.val.Type != ttlv.TypeStructure {
		return nil, refusef(reasonInvalidField, "the request brings no %s", t.tag)
	}
	if t.kind == kmip.ObjectTypeTemplate {
		own, err := decodeAttributes(x.version, value)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(own, func(a attribute) bool { return a.name == "Name" }) {
			return nil, refusef(reasonInvalidField, "a name within a template")
		}
	}
	o, err := x.newObject(t.kind, attrs)
	if err != nil {
		return nil, err
	}
	o.value = value
	return o, o.complete()
}

// complete checks that an object brought by a client has its parts.
func (o *object) complete() error {
	part := map[kmip.ObjectType]ttlv.Tag{
		kmip.ObjectTypeCertificate: ttlv.TagCertificateValue, kmip.ObjectTypeOpaqueObject: ttlv.TagOpaqueDataValue,
		kmip.ObjectTypeSymmetricKey: ttlv.TagKeyBlock, kmip.ObjectTypePublicKey: ttlv.TagKeyBlock,
		kmip.ObjectTypePrivateKey: ttlv.TagKeyBlock, kmip.ObjectTypeSplitKey: ttlv.TagKeyBlock,
		kmip.ObjectTypeSecretData: ttlv.TagKeyBlock, kmip.ObjectTypePGPKey: ttlv.TagKeyBlock,
	}[o.kind]
	if part != 0 && o.value.kid(part) == nil {
		return refusef(reasonInvalidField, "the %s has no %s", o.kind, part)
	}
	if b := o.block(); b != nil && b.kid(ttlv.TagKeyFormatType) == nil {
		return refusef(reasonInvalidField, "the key block has no key format type")
	}
	return nil
}
