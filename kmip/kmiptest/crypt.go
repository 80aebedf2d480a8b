package kmiptest

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// parameters are the Cryptographic Parameters of a request, or the first ones of the key (KMIP 1.4 section 4.29).
func parameters(in *item, o *object) *item {
	if p := in.kid(ttlv.TagCryptographicParameters); p != nil {
		return p
	}
	return o.attr(ttlv.TagCryptographicParameters)
}

// protects tells whether an operation applies protection, and not takes it off.
func protects(op kmip.Operation) bool {
	return op == kmip.OperationEncrypt || op == kmip.OperationSign || op == kmip.OperationMAC
}

// working answers the key of a cryptographic operation if it may be used for it now (KMIP 1.4 section 3.22).
func (x *exchange) working(in *item, mask kmip.CryptographicUsageMask) (*object, error) {
	o, err := x.usable(in)
	if err != nil {
		return nil, err
	}
	if b := o.block(); b != nil && b.kid(ttlv.TagKeyValue) == nil {
		return nil, refusef(kmip.ResultReasonKeyValueNotPresent, "the server has only attributes of object %s", o.id)
	}
	if have := o.attr(ttlv.TagCryptographicUsageMask); have == nil || have.integer()&int32(mask) == 0 {
		return nil, refusef(reasonUsageMask, "object %s may not be used to %s", o.id, mask)
	}
	state := o.state(x.now)
	start, stop := o.attr(ttlv.TagProcessStartDate), o.attr(ttlv.TagProtectStopDate)
	switch {
	case protects(x.op) && state != kmip.StateActive,
		!protects(x.op) && state != kmip.StateActive && state != kmip.StateDeactivated && state != kmip.StateCompromised:
		return nil, refusef(reasonWrongState, "object %s is %s", o.id, state)
	case protects(x.op) && stop != nil && !stop.time().After(x.now):
		return nil, refusef(reasonPermissionDenied, "object %s protects nothing since its protect stop date", o.id)
	case !protects(x.op) && start != nil && start.time().After(x.now):
		return nil, refusef(reasonPermissionDenied, "object %s processes nothing before its process start date", o.id)
	}
	return o, nil
}

// charge takes an operation that protects from the key's usage limit: a number of bytes, objects, blocks or operations.
func (x *exchange) charge(o *object, data int) error {
	limits := o.attr(ttlv.TagUsageLimits)
	if limits == nil || !protects(x.op) {
		return nil
	}
	n := int64(1)
	if limits.kid(ttlv.TagUsageLimitsUnit).enum() == uint32(kmip.UsageLimitsUnitByte) {
		n = int64(data)
	}
	return x.change(o.id, func(o *object) error { return o.spend(n) })
}

func newBlock(o *object) (cipher.Block, error) {
	key := o.material()
	alg := kmip.CryptographicAlgorithm(o.attr(ttlv.TagCryptographicAlgorithm).enum())
	var b cipher.Block
	var err error
	switch {
	case alg == kmip.CryptographicAlgorithmAES:
		b, err = aes.NewCipher(key)
	case alg == kmip.CryptographicAlgorithmDES3 && len(key) == 16:
		b, err = des.NewTripleDESCipher(append(bytes.Clone(key), key[:8]...))
	case alg == kmip.CryptographicAlgorithmDES3 && len(key) == 8:
		b, err = des.NewTripleDESCipher(bytes.Repeat(key, 3))
	case alg == kmip.CryptographicAlgorithmDES3:
		b, err = des.NewTripleDESCipher(key)
	default:
		return nil, refusef(reasonCryptographic, "the server does not encrypt with %s", alg)
	}
	if err != nil {
		return nil, refusef(reasonCryptographic, "object %s holds no key of %s", o.id, alg)
	}
	return b, nil
}

func (x *exchange) encrypt(in *item) ([]*item, error) {
	return x.crypt(in, kmip.CryptographicUsageMaskEncrypt)
}

func (x *exchange) decrypt(in *item) ([]*item, error) {
	return x.crypt(in, kmip.CryptographicUsageMaskDecrypt)
}

// crypt encrypts or decrypts. Data in several parts is gathered and worked on with the last part, so that a server
// that holds little (maxParts, maxPart) can do all modes; until then the answers hold no data.
func (x *exchange) crypt(in *item, mask kmip.CryptographicUsageMask) ([]*item, error) {
	o, err := x.working(in, mask)
	if err != nil {
		return nil, err
	}
	whole, corr, err := x.gather(in, o)
	if err != nil {
		return nil, err
	}
	out := []*item{text(ttlv.TagUniqueIdentifier, o.id)}
	if whole == nil {
		return append(out, corr), nil
	}
	data := whole.kid(ttlv.TagData)
	if data == nil {
		return nil, refusef(reasonInvalidMessage, "no data is given")
	}
	if err := x.charge(o, len(data.octets())); err != nil {
		return nil, err
	}
	var made []*item
	if o.kind == kmip.ObjectTypePublicKey || o.kind == kmip.ObjectTypePrivateKey || o.kind == kmip.ObjectTypeCertificate {
		made, err = x.asymmetric(o, whole)
	} else {
		made, err = x.symmetric(o, whole)
	}
	return append(out, made...), err
}

func (x *exchange) asymmetric(o *object, in *item) ([]*item, error) {
	p, data := parameters(in, o), in.kid(ttlv.TagData).octets()
	h, mgf := crypto.SHA1, crypto.SHA1
	if n := p.kid(ttlv.TagHashingAlgorithm); n != nil {
		h = cryptoHash(kmip.HashingAlgorithm(n.enum()))
		mgf = h
	}
	if n := p.kid(ttlv.TagMaskGeneratorHashingAlgorithm); n != nil {
		mgf = cryptoHash(kmip.HashingAlgorithm(n.enum()))
	}
	if h == 0 || mgf == 0 {
		return nil, refusef(reasonCryptographic, "the hashing algorithm is not supported")
	}
	padding := kmip.PaddingMethod(p.kid(ttlv.TagPaddingMethod).enum())
	label := p.kid(ttlv.TagPSource).octets()
	work := rsaEncrypt
	if x.op == kmip.OperationDecrypt {
		work = rsaDecrypt
	}
	out, err := work(o, padding, h, mgf, data, label)
	if err != nil {
		return nil, refusef(reasonCryptographic, "%s with object %s: %v", x.op, o.id, err)
	}
	return []*item{octets(ttlv.TagData, out)}, nil
}

func oaep(h, mgf crypto.Hash, label []byte) *rsa.OAEPOptions {
	return &rsa.OAEPOptions{Hash: h, MGFHash: mgf, Label: label}
}

func rsaEncrypt(o *object, p kmip.PaddingMethod, h, mgf crypto.Hash, data, label []byte) ([]byte, error) {
	k, err := o.public()
	if err != nil {
		return nil, err
	}
	pub, ok := k.(*rsa.PublicKey)
	switch {
	case !ok:
		return nil, errNoKey
	case p == kmip.PaddingMethodOAEP:
		return rsa.EncryptOAEPWithOptions(rand.Reader, pub, data, oaep(h, mgf, label))
	case p == kmip.PaddingMethodPKCS1V1_5:
		//lint:ignore SA1019 KMIP clients may ask for it
		return rsa.EncryptPKCS1v15(rand.Reader, pub, data)
	}
	return nil, errPadding
}

func rsaDecrypt(o *object, p kmip.PaddingMethod, h, mgf crypto.Hash, data, label []byte) ([]byte, error) {
	k, err := o.private()
	if err != nil {
		return nil, err
	}
	key, ok := k.(*rsa.PrivateKey)
	switch {
	case !ok:
		return nil, errNoKey
	case p == kmip.PaddingMethodOAEP:
		return key.Decrypt(nil, data, oaep(h, mgf, label))
	case p == kmip.PaddingMethodPKCS1V1_5:
		//lint:ignore SA1019 KMIP clients may ask for it
		return rsa.DecryptPKCS1v15(nil, key, data)
	}
	return nil, errPadding
}

var errPadding = refusef(reasonCryptographic, "the padding method is not one this server has")

// symmetric encrypts or decrypts with a block cipher.
func (x *exchange) symmetric(o *object, in *item) ([]*item, error) {
	b, err := newBlock(o)
	if err != nil {
		return nil, err
	}
	p := parameters(in, o)
	mode := kmip.BlockCipherMode(p.kid(ttlv.TagBlockCipherMode).enum())
	if mode == 0 {
		mode = kmip.BlockCipherModeCBC
	}
	if mode == kmip.BlockCipherModeGCM {
		return x.gcm(b, p, in)
	}
	iv, given, err := x.iv(mode, p, in, b.BlockSize())
	if err != nil {
		return nil, err
	}
	data := bytes.Clone(in.kid(ttlv.TagData).octets())
	padding := kmip.PaddingMethod(p.kid(ttlv.TagPaddingMethod).enum())
	padded := padding != 0 && padding != kmip.PaddingMethodNone && (mode == kmip.BlockCipherModeCBC || mode == kmip.BlockCipherModeECB)
	if padded && x.op == kmip.OperationEncrypt {
		if data, err = pad(data, b.BlockSize(), padding); err != nil {
			return nil, err
		}
	}
	if err := runMode(b, mode, iv, data, x.op == kmip.OperationEncrypt); err != nil {
		return nil, err
	}
	if padded && x.op == kmip.OperationDecrypt {
		if data, err = unpad(data, b.BlockSize(), padding); err != nil {
			return nil, err
		}
	}
	out := []*item{octets(ttlv.TagData, data)}
	if !given && iv != nil {
		out = append(out, octets(ttlv.TagIVCounterNonce, iv))
	}
	return out, nil
}

// iv answers the initialization vector: the client's, for encryption one that the server drew if it may (Random IV), or
// zeros. given tells that the client need not be told.
func (x *exchange) iv(mode kmip.BlockCipherMode, p, in *item, size int) (iv []byte, given bool, err error) {
	it := in.kid(ttlv.TagIVCounterNonce)
	random := p.kid(ttlv.TagRandomIV).flag()
	switch {
	case mode == kmip.BlockCipherModeECB:
		return nil, true, nil
	case it == nil && x.op == kmip.OperationDecrypt:
		return nil, false, refusef(reasonInvalidMessage, "to decrypt, the initialization vector is needed")
	case it == nil && random:
		iv = make([]byte, size)
		rand.Read(iv)
		return iv, false, nil
	case it == nil && x.op == kmip.OperationEncrypt:
		return make([]byte, size), false, nil
	case len(it.octets()) != size:
		return nil, false, refusef(reasonCryptographic, "an initialization vector of %d bytes, must have %d", len(it.octets()), size)
	}
	return it.octets(), true, nil
}

// runMode works on data in place.
func runMode(b cipher.Block, mode kmip.BlockCipherMode, iv, data []byte, encrypt bool) error {
	size := b.BlockSize()
	switch mode {
	case kmip.BlockCipherModeECB, kmip.BlockCipherModeCBC:
		if len(data)%size != 0 {
			return refusef(reasonCryptographic, "%d bytes are not a multiple of the block size %d", len(data), size)
		}
	}
	switch {
	case mode == kmip.BlockCipherModeECB:
		for at := 0; at < len(data); at += size {
			if encrypt {
				b.Encrypt(data[at:], data[at:])
			} else {
				b.Decrypt(data[at:], data[at:])
			}
		}
	case mode == kmip.BlockCipherModeCBC && encrypt:
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(data, data)
	case mode == kmip.BlockCipherModeCBC:
		cipher.NewCBCDecrypter(b, iv).CryptBlocks(data, data)
	case mode == kmip.BlockCipherModeCTR:
		cipher.NewCTR(b, iv).XORKeyStream(data, data)
	case mode == kmip.BlockCipherModeOFB:
		//lint:ignore SA1019 KMIP clients may ask for it
		cipher.NewOFB(b, iv).XORKeyStream(data, data)
	case mode == kmip.BlockCipherModeCFB && encrypt:
		//lint:ignore SA1019 KMIP clients may ask for it
		cipher.NewCFBEncrypter(b, iv).XORKeyStream(data, data)
	case mode == kmip.BlockCipherModeCFB:
		//lint:ignore SA1019 KMIP clients may ask for it
		cipher.NewCFBDecrypter(b, iv).XORKeyStream(data, data)
	default:
		return refusef(reasonCryptographic, "mode %s is not supported", mode)
	}
	return nil
}

func pad(data []byte, size int, m kmip.PaddingMethod) ([]byte, error) {
	n := size - len(data)%size
	switch m {
	case kmip.PaddingMethodPKCS5:
		return append(data, bytes.Repeat([]byte{byte(n)}, n)...), nil
	case kmip.PaddingMethodANSIX9_23:
		return append(append(data, make([]byte, n-1)...), byte(n)), nil
	case kmip.PaddingMethodZeros:
		return append(data, make([]byte, n%size)...), nil
	}
	return nil, refusef(reasonCryptographic, "padding %s is not supported", m)
}

func unpad(data []byte, size int, m kmip.PaddingMethod) ([]byte, error) {
	if m == kmip.PaddingMethodZeros {
		return bytes.TrimRight(data, "\x00"), nil
	}
	if len(data) == 0 {
		return nil, refusef(reasonCryptographic, "there is no padding")
	}
	n := int(data[len(data)-1])
	ok := n >= 1 && n <= size && n <= len(data)
	if ok && m == kmip.PaddingMethodPKCS5 {
		ok = bytes.Equal(data[len(data)-n:], bytes.Repeat([]byte{byte(n)}, n))
	}
	if !ok || m != kmip.PaddingMethodPKCS5 && m != kmip.PaddingMethodANSIX9_23 {
		return nil, refusef(reasonCryptographic, "the padding is wrong")
	}
	return data[:len(data)-n], nil
}

// gcm encrypts or decrypts with authentication. Tags may be cut to 4 bytes (NIST SP 800-38D section 5.2.1.2), which
// package cipher does not do: it makes the whole tag, and here it is compared by as much as the client has.
func (x *exchange) gcm(b cipher.Block, p, in *item) ([]*item, error) {
	size := 16
	if n := p.kid(ttlv.TagTagLength); n != nil {
		size = int(n.integer())
	}
	if size < 4 || size > 16 || b.BlockSize() != 16 {
		return nil, refusef(reasonGeneral, "a tag of %d bytes, from 4 to 16 are possible", size)
	}
	data, aad := in.kid(ttlv.TagData).octets(), in.kid(ttlv.TagAuthenticatedEncryptionAdditionalData).octets()
	nonce := in.kid(ttlv.TagIVCounterNonce).octets()
	drawn := len(nonce) == 0
	switch {
	case drawn && x.op == kmip.OperationDecrypt:
		return nil, refusef(reasonInvalidMessage, "to decrypt, the initialization vector is needed")
	case drawn:
		nonce = make([]byte, 12)
		rand.Read(nonce)
	}
	aead, err := cipher.NewGCMWithNonceSize(b, len(nonce))
	if err != nil {
		return nil, refusef(reasonCryptographic, "an initialization vector of %d bytes", len(nonce))
	}
	if x.op == kmip.OperationDecrypt {
		return openGCM(aead, nonce, data, aad, in.kid(ttlv.TagAuthenticatedEncryptionTag).octets(), size)
	}
	sealed := aead.Seal(nil, nonce, data, aad)
	out := []*item{octets(ttlv.TagData, sealed[:len(data)])}
	if drawn {
		out = append(out, octets(ttlv.TagIVCounterNonce, nonce))
	}
	return append(out, octets(ttlv.TagAuthenticatedEncryptionTag, sealed[len(data):len(data)+size])), nil
}

func openGCM(aead cipher.AEAD, nonce, data, aad, tag []byte, size int) ([]*item, error) {
	// Sealing zeros yields the key stream, and sealing the plain text again the tag it must have.
	plain := aead.Seal(nil, nonce, make([]byte, len(data)), nil)[:len(data)]
	subtle.XORBytes(plain, plain, data)
	want := aead.Seal(nil, nonce, plain, aad)[len(data):]
	if len(tag) != size || subtle.ConstantTimeCompare(want[:size], tag) != 1 {
		return nil, refusef(reasonCryptographic, "the data is not authentic")
	}
	return []*item{octets(ttlv.TagData, plain)}, nil
}
