package kmiptest

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// wrapped answers an object's value with its key wrapped by another one: NIST key wrap (RFC 3394) with AES, of the key
// bytes alone or of the whole key value.
func (x *exchange) wrapped(o *object, value, spec *item) (*item, error) {
	block := value.kid(ttlv.TagKeyBlock)
	method := kmip.WrappingMethod(spec.kid(ttlv.TagWrappingMethod).enum())
	info := spec.kid(ttlv.TagEncryptionKeyInformation)
	switch {
	case block == nil:
		return nil, refusef(reasonIllegalOperation, "object %s is no key", o.id)
	case block.kid(ttlv.TagKeyWrappingData) != nil:
		return nil, refusef(kmip.ResultReasonWrappingObjectArchived, "object %s is wrapped already", o.id)
	case method != kmip.WrappingMethodEncrypt || info == nil:
		return nil, refusef(reasonFeature, "wrapping method %s is not supported", method)
	}
	kek, err := x.wrapper(info)
	if err != nil {
		return nil, err
	}
	encoding := kmip.EncodingOption(spec.kid(ttlv.TagEncodingOption).enum())
	plain, err := x.wrappable(o, block, spec, encoding)
	if err != nil {
		return nil, err
	}
	b, err := newBlock(kek)
	if err != nil {
		return nil, err
	}
	sealed, err := keyWrap(b, plain)
	if err != nil {
		return nil, err
	}
	data := structure(ttlv.TagKeyWrappingData, spec.kid(ttlv.TagWrappingMethod), info)
	if e := spec.kid(ttlv.TagEncodingOption); e != nil {
		data.add(e)
	}
	out := structure(ttlv.TagKeyBlock, block.kid(ttlv.TagKeyFormatType))
	if encoding == kmip.EncodingOptionNoEncoding {
		out.add(structure(ttlv.TagKeyValue, octets(ttlv.TagKeyMaterial, sealed)))
	} else {
		out.add(octets(ttlv.TagKeyValue, sealed))
	}
	out.add(block.kid(ttlv.TagCryptographicAlgorithm), block.kid(ttlv.TagCryptographicLength), data)
	w := &object{kind: o.kind, value: value}
	return w.withBlock(out), nil
}

// wrapper finds the key that wraps.
func (x *exchange) wrapper(info *item) (*object, error) {
	kek, err := x.usable(info)
	switch {
	case err != nil:
		return nil, err
	case kek.kind != kmip.ObjectTypeSymmetricKey:
		return nil, refusef(reasonIllegalOperation, "object %s is no symmetric key", kek.id)
	case kek.attr(ttlv.TagCryptographicUsageMask).integer()&int32(kmip.CryptographicUsageMaskWrapKey) == 0,
		kek.state(x.now) != kmip.StateActive:
		return nil, refusef(reasonPermissionDenied, "object %s may not be used to wrap keys", kek.id)
	}
	p := info.kid(ttlv.TagCryptographicParameters)
	if p == nil {
		p = kek.attr(ttlv.TagCryptographicParameters)
	}
	if mode := p.kid(ttlv.TagBlockCipherMode); mode != nil && mode.enum() != uint32(kmip.BlockCipherModeNISTKeyWrap) {
		return nil, refusef(reasonItemNotFound, "keys are wrapped by NIST key wrap, not %s", kmip.BlockCipherMode(mode.enum()))
	}
	return kek, nil
}

// wrappable answers the bytes to wrap.
func (x *exchange) wrappable(o *object, block, spec *item, e kmip.EncodingOption) ([]byte, error) {
	value := block.kid(ttlv.TagKeyValue)
	names := spec.all(ttlv.TagAttributeName)
	if e == kmip.EncodingOptionNoEncoding {
		if len(names) > 0 {
			return nil, refusef(kmip.ResultReasonEncodingOptionError, "attributes are wrapped with TTLV encoding only")
		}
		m := value.kid(ttlv.TagKeyMaterial).octets()
		if m == nil {
			return nil, refusef(kmip.ResultReasonEncodingOptionError, "the key material is no byte string")
		}
		return m, nil
	}
	out := structure(ttlv.TagKeyValue, value.kid(ttlv.TagKeyMaterial))
	for _, n := range names {
		for _, a := range o.all(x.version, x.now) {
			if a.name == clean(n.text()) {
				out.add(a.encode(x.version))
			}
		}
	}
	return out.bytes(), nil
}

// keyWrap is the key wrap of RFC 3394 section 2.2.1.
func keyWrap(b cipher.Block, plain []byte) ([]byte, error) {
	if b.BlockSize() != aes.BlockSize || len(plain) < 16 || len(plain)%8 != 0 {
		return nil, refusef(reasonCryptographic, "NIST key wrap takes AES and 16 or more bytes in multiples of 8, not %d", len(plain))
	}
	n := len(plain) / 8
	out := make([]byte, 8+len(plain))
	copy(out[8:], plain)
	var a [aes.BlockSize]byte
	for i := range a[:8] {
		a[i] = 0xA6
	}
	for t := range 6 * n {
		r := out[8+t%n*8:][:8]
		copy(a[8:], r)
		b.Encrypt(a[:], a[:])
		copy(r, a[8:])
		binary.BigEndian.PutUint64(a[:8], binary.BigEndian.Uint64(a[:8])^uint64(t+1))
	}
	copy(out, a[:8])
	return out, nil
}
