package kmip

import (
	"fmt"

	"allclear/kmip/ttlv"
)

// Object is a managed object. Which fields are used depends on its type; byte strings
// that were read lie in the buffer of the message.
type Object struct {
	Type ObjectType

	Key *KeyBlock // symmetric, public, private, split and PGP keys, secret data

	SecretType     SecretDataType  // secret data
	Split          *SplitKey       // split keys
	PGPVersion     int32           // PGP keys
	OpaqueType     OpaqueDataType  // opaque objects
	Certificate    CertificateType // certificates
	CertRequest    CertificateRequestType
	Data           []byte      // opaque objects, certificates and requests; may be secret
	TemplateValues []Attribute // templates of KMIP 1.x
}

// SplitKey is what a split key has beside its key block.
type SplitKey struct {
	Parts, Part, Threshold int32
	Method                 SplitKeyMethod
	PrimeFieldSize         ttlv.Value // BigInteger, or none
}

// KeyBlock holds a key (KMIP 2.1 section 3.1).
type KeyBlock struct {
	Format      KeyFormatType
	Compression KeyCompressionType
	Value       *KeyValue // nil: not present
	Algorithm   CryptographicAlgorithm
	Length      *int32 // bits
	Wrapping    *KeyWrappingData
}

// KeyValue is the key itself with the attributes kept in it, or when it is wrapped as
// a whole, the wrapped bytes.
type KeyValue struct {
	Material   ttlv.Value // ByteString, or Structure for the transparent formats
	Attributes []Attribute
	Wrapped    []byte // instead of both
}

// KeyWrappingData tells how a key is wrapped.
type KeyWrappingData struct {
	Method       WrappingMethod
	Encryption   *KeyInformation
	MAC          *KeyInformation
	MACSignature []byte
	IV           []byte
	Encoding     EncodingOption
}

// KeyWrappingSpecification asks for a key to be wrapped.
type KeyWrappingSpecification struct {
	Method         WrappingMethod
	Encryption     *KeyInformation
	MAC            *KeyInformation
	AttributeNames []string
	Encoding       EncodingOption
}

// KeyInformation names the key that wraps or authenticates.
type KeyInformation struct {
	UniqueID   string
	Parameters *CryptographicParameters
}

// SymmetricKey makes a symmetric key object of raw bytes, which are not copied.
func SymmetricKey(a CryptographicAlgorithm, key []byte) Object {
	return Object{Type: ObjectTypeSymmetricKey, Key: &KeyBlock{
		Format: KeyFormatTypeRaw, Algorithm: a, Length: new(int32(len(key) * 8)),
		Value: &KeyValue{Material: ttlv.BytesValue(key)},
	}}
}

// Secret makes a secret data object of raw bytes, which are not copied.
func Secret(t SecretDataType, data []byte) Object {
	return Object{Type: ObjectTypeSecretData, SecretType: t, Key: &KeyBlock{
		Format: KeyFormatTypeOpaque, Value: &KeyValue{Material: ttlv.BytesValue(data)},
	}}
}

// Bytes answers the bytes of a plain key without copying them: those of a byte string, or
// the Key of a transparent symmetric key. A key that is wrapped, absent or of many
// numbers is an error.
func (k *KeyBlock) Bytes() ([]byte, error) {
	switch {
	case k == nil || k.Value == nil:
		return nil, fmt.Errorf("the object has no key value")
	case k.Wrapping != nil || k.Value.Wrapped != nil:
		return nil, fmt.Errorf("the key is wrapped")
	}
	if b, ok := k.Value.Material.Bytes(); ok {
		return b, nil
	}
	if k.Format != KeyFormatTypeTransparentSymmetricKey {
		return nil, fmt.Errorf("key format %s has no single value", k.Format)
	}
	var d ttlv.Decoder
	d.Reset(k.Value.Material.Body)
	b := d.ByteString(ttlv.TagKey)
	if err := d.Err(); err != nil {
		return nil, fmt.Errorf("transparent symmetric key: %w", err)
	}
	return b, nil
}

// tag is the tag of objects of the type, 0 when there is none.
func (t ObjectType) tag() ttlv.Tag {
	switch t {
	case ObjectTypeCertificate:
		return ttlv.TagCertificate
	case ObjectTypeSymmetricKey:
		return ttlv.TagSymmetricKey
	case ObjectTypePublicKey:
		return ttlv.TagPublicKey
	case ObjectTypePrivateKey:
		return ttlv.TagPrivateKey
	case ObjectTypeSplitKey:
		return ttlv.TagSplitKey
	case ObjectTypeTemplate:
		return ttlv.TagTemplate
	case ObjectTypeSecretData:
		return ttlv.TagSecretData
	case ObjectTypeOpaqueObject:
		return ttlv.TagOpaqueObject
	case ObjectTypePGPKey:
		return ttlv.TagPGPKey
	case ObjectTypeCertificateRequest:
		return ttlv.TagCertificateRequest
	}
	return 0
}

func (e *enc) object(o *Object) {
	tag := o.Type.tag()
	if tag == 0 {
		return
	}
	m := e.Begin(tag)
	switch o.Type {
	case ObjectTypeCertificate:
		e.Enumeration(ttlv.TagCertificateType, uint32(o.Certificate))
		e.ByteString(ttlv.TagCertificateValue, o.Data)
	case ObjectTypeCertificateRequest:
		e.Enumeration(ttlv.TagCertificateRequestType, uint32(o.CertRequest))
		e.ByteString(ttlv.TagCertificateRequestValue, o.Data)
	case ObjectTypeOpaqueObject:
		e.Enumeration(ttlv.TagOpaqueDataType, uint32(o.OpaqueType))
		e.ByteString(ttlv.TagOpaqueDataValue, o.Data)
	case ObjectTypeTemplate:
		e.attributes(o.TemplateValues)
	case ObjectTypeSecretData:
		e.Enumeration(ttlv.TagSecretDataType, uint32(o.SecretType))
	case ObjectTypePGPKey:
		e.Integer(ttlv.TagPGPKeyVersion, o.PGPVersion)
	case ObjectTypeSplitKey:
		if s := o.Split; s != nil {
			e.Integer(ttlv.TagSplitKeyParts, s.Parts)
			e.Integer(ttlv.TagKeyPartIdentifier, s.Part)
			e.Integer(ttlv.TagSplitKeyThreshold, s.Threshold)
			e.Enumeration(ttlv.TagSplitKeyMethod, uint32(s.Method))
			e.optValue(ttlv.TagPrimeFieldSize, s.PrimeFieldSize)
		}
	}
	if o.Key != nil {
		e.keyBlock(o.Key)
	}
	e.End(m)
}

// object reads an object, which must be of the type.
func (d *dec) object(t ObjectType) Object {
	o := Object{Type: t}
	tag := t.tag()
	if tag == 0 {
		d.Fail("object of unknown type " + t.String())
		return o
	}
	d.Enter(tag)
	keyed := true
	switch t {
	case ObjectTypeCertificate:
		o.Certificate, o.Data = enum[CertificateType](d, ttlv.TagCertificateType), d.ByteString(ttlv.TagCertificateValue)
		keyed = false
	case ObjectTypeCertificateRequest:
		o.CertRequest = enum[CertificateRequestType](d, ttlv.TagCertificateRequestType)
		o.Data = d.ByteString(ttlv.TagCertificateRequestValue)
		keyed = false
	case ObjectTypeOpaqueObject:
		o.OpaqueType, o.Data = enum[OpaqueDataType](d, ttlv.TagOpaqueDataType), d.ByteString(ttlv.TagOpaqueDataValue)
		keyed = false
	case ObjectTypeTemplate:
		o.TemplateValues = d.attributeList()
		keyed = false
	case ObjectTypeSecretData:
		o.SecretType = enum[SecretDataType](d, ttlv.TagSecretDataType)
	case ObjectTypePGPKey:
		o.PGPVersion = d.Integer(ttlv.TagPGPKeyVersion)
	case ObjectTypeSplitKey:
		o.Split = &SplitKey{
			Parts: d.Integer(ttlv.TagSplitKeyParts), Part: d.Integer(ttlv.TagKeyPartIdentifier),
			Threshold: d.Integer(ttlv.TagSplitKeyThreshold), Method: enum[SplitKeyMethod](d, ttlv.TagSplitKeyMethod),
			PrimeFieldSize: d.optValue(ttlv.TagPrimeFieldSize),
		}
	}
	if keyed {
		o.Key = d.keyBlock()
	}
	d.Leave()
	return o
}

func (e *enc) keyBlock(k *KeyBlock) {
	m := e.Begin(ttlv.TagKeyBlock)
	e.Enumeration(ttlv.TagKeyFormatType, uint32(k.Format))
	optEnum(e, ttlv.TagKeyCompressionType, k.Compression)
	switch v := k.Value; {
	case v == nil:
	case v.Wrapped != nil:
		e.ByteString(ttlv.TagKeyValue, v.Wrapped)
	default:
		n := e.Begin(ttlv.TagKeyValue)
		e.optValue(ttlv.TagKeyMaterial, v.Material)
		if !e.two() {
			e.attributes(v.Attributes)
		} else if v.Attributes != nil {
			e.attributesAs(ttlv.TagAttributes, v.Attributes)
		}
		e.End(n)
	}
	optEnum(e, ttlv.TagCryptographicAlgorithm, k.Algorithm)
	e.optInt(ttlv.TagCryptographicLength, k.Length)
	if w := k.Wrapping; w != nil {
		n := e.Begin(ttlv.TagKeyWrappingData)
		e.Enumeration(ttlv.TagWrappingMethod, uint32(w.Method))
		e.keyInformation(ttlv.TagEncryptionKeyInformation, w.Encryption)
		e.keyInformation(ttlv.TagMACSignatureKeyInformation, w.MAC)
		e.optBytes(ttlv.TagMACSignature, w.MACSignature)
		e.optBytes(ttlv.TagIVCounterNonce, w.IV)
		optEnum(e, ttlv.TagEncodingOption, w.Encoding)
		e.End(n)
	}
	e.End(m)
}

func (d *dec) keyBlock() *KeyBlock {
	d.Enter(ttlv.TagKeyBlock)
	k := &KeyBlock{
		Format:      enum[KeyFormatType](d, ttlv.TagKeyFormatType),
		Compression: optionalEnum[KeyCompressionType](d, ttlv.TagKeyCompressionType),
	}
	if d.Is(ttlv.TagKeyValue) {
		k.Value = d.keyValue()
	}
	k.Algorithm = optionalEnum[CryptographicAlgorithm](d, ttlv.TagCryptographicAlgorithm)
	k.Length = d.optInt(ttlv.TagCryptographicLength)
	if d.Is(ttlv.TagKeyWrappingData) {
		d.Enter(ttlv.TagKeyWrappingData)
		k.Wrapping = &KeyWrappingData{
			Method:       enum[WrappingMethod](d, ttlv.TagWrappingMethod),
			Encryption:   d.keyInformation(ttlv.TagEncryptionKeyInformation),
			MAC:          d.keyInformation(ttlv.TagMACSignatureKeyInformation),
			MACSignature: d.optBytes(ttlv.TagMACSignature),
			IV:           d.optBytes(ttlv.TagIVCounterNonce),
			Encoding:     optionalEnum[EncodingOption](d, ttlv.TagEncodingOption),
		}
		d.Leave()
	}
	d.Leave()
	return k
}

func (d *dec) keyValue() *KeyValue {
	if _, ty := d.Peek(); ty == ttlv.TypeByteString {
		return &KeyValue{Wrapped: d.ByteString(ttlv.TagKeyValue)}
	}
	d.Enter(ttlv.TagKeyValue)
	v := &KeyValue{Material: d.Value(ttlv.TagKeyMaterial)}
	if d.Err() == nil && v.Material.Type != ttlv.TypeByteString && v.Material.Type != ttlv.TypeStructure {
		d.Fail("Key Material is neither ByteString nor Structure")
	}
	switch {
	case !d.two():
		v.Attributes = d.attributeList()
	case d.Is(ttlv.TagAttributes):
		v.Attributes = d.attributesIn(ttlv.TagAttributes)
	}
	d.Leave()
	return v
}

func (e *enc) keyInformation(t ttlv.Tag, k *KeyInformation) {
	if k == nil {
		return
	}
	m := e.Begin(t)
	e.optText(ttlv.TagUniqueIdentifier, k.UniqueID)
	e.parameters(k.Parameters)
	e.End(m)
}

func (d *dec) keyInformation(t ttlv.Tag) *KeyInformation {
	if !d.Is(t) {
		return nil
	}
	d.Enter(t)
	k := &KeyInformation{d.optID(ttlv.TagUniqueIdentifier), d.parameters()}
	d.Leave()
	return k
}
