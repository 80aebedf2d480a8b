package kmiptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"math/bits"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

func keyBlock(f kmip.KeyFormatType, material *item, alg kmip.CryptographicAlgorithm, length int32) *item {
	b := structure(ttlv.TagKeyBlock, enum(ttlv.TagKeyFormatType, f), structure(ttlv.TagKeyValue, material))
	if alg != 0 {
		b.add(enum(ttlv.TagCryptographicAlgorithm, alg))
	}
	if length > 0 {
		b.add(integer(ttlv.TagCryptographicLength, length))
	}
	return b
}

// maxKeyBits bounds the keys that a client has made.
const maxKeyBits = 4096

// newSymmetric makes the bytes of a key. The lengths are those the algorithm has; algorithms that this server cannot
// use itself get keys of any length of whole bytes.
func newSymmetric(alg kmip.CryptographicAlgorithm, length *item) ([]byte, error) {
	if alg == 0 || length == nil {
		return nil, refusef(reasonInvalidField, "a key needs the attributes Cryptographic Algorithm and Cryptographic Length")
	}
	n := length.integer()
	ok := n > 0 && n%8 == 0 && n <= maxKeyBits
	switch alg {
	case kmip.CryptographicAlgorithmAES, kmip.CryptographicAlgorithmCamellia:
		ok = n == 128 || n == 192 || n == 256
	case kmip.CryptographicAlgorithmDES:
		ok = n == 56 || n == 64
	case kmip.CryptographicAlgorithmDES3:
		ok = n == 56 || n == 64 || n == 112 || n == 128 || n == 168 || n == 192
	case kmip.CryptographicAlgorithmRSA, kmip.CryptographicAlgorithmDSA, kmip.CryptographicAlgorithmECDSA,
		kmip.CryptographicAlgorithmDH, kmip.CryptographicAlgorithmECDH:
		ok = false
	}
	if !ok {
		return nil, refusef(reasonInvalidField, "%s has no symmetric keys of %d bits", alg, n)
	}
	des := alg == kmip.CryptographicAlgorithmDES || alg == kmip.CryptographicAlgorithmDES3
	if des && n%64 != 0 {
		n = n / 56 * 64 // a parity bit for each seven
	}
	key := make([]byte, n/8)
	rand.Read(key)
	if des {
		for i, b := range key {
			key[i] = b&^1 | byte(1-bits.OnesCount8(b&^1)%2)
		}
	}
	return key, nil
}

// newPair makes the keys of two objects by the private one's attributes.
func newPair(priv, pub *object) error {
	alg := kmip.CryptographicAlgorithm(priv.attr(ttlv.TagCryptographicAlgorithm).enum())
	length := priv.attr(ttlv.TagCryptographicLength).integer()
	var key crypto.Signer
	var err error
	switch alg {
	case kmip.CryptographicAlgorithmRSA:
		if length < 1024 || length > maxKeyBits || length%8 != 0 {
			return refusef(reasonInvalidField, "RSA keys have 1024 to %d bits here, not %d", maxKeyBits, length)
		}
		key, err = rsa.GenerateKey(rand.Reader, int(length))
	case kmip.CryptographicAlgorithmEC, kmip.CryptographicAlgorithmECDSA, kmip.CryptographicAlgorithmECDH:
		curve := curveOf(priv.attr(ttlv.TagCryptographicDomainParameters), length)
		if curve == nil {
			return refusef(reasonInvalidField, "the curve of %d bits is not supported", length)
		}
		length = int32(curve.Params().BitSize)
		key, err = ecdsa.GenerateKey(curve, rand.Reader)
	default:
		return refusef(reasonInvalidField, "%s has no key pairs here", alg)
	}
	if err != nil {
		return refusef(reasonCryptographic, "make a key pair: %v", err)
	}
	return setPair(priv, pub, key, alg, length)
}

func setPair(priv, pub *object, key crypto.Signer, alg kmip.CryptographicAlgorithm, length int32) error {
	pf, qf := kmip.KeyFormatTypePKCS_1, kmip.KeyFormatTypePKCS_1
	if alg != kmip.CryptographicAlgorithmRSA {
		pf, qf = kmip.KeyFormatTypeECPrivateKey, kmip.KeyFormatTypeX_509
	}
	secret, err := formatPrivate(key, pf)
	if err != nil {
		return err
	}
	open, err := formatPublic(key.Public(), qf)
	if err != nil {
		return err
	}
	priv.value = structure(ttlv.TagPrivateKey, keyBlock(pf, secret, alg, length))
	pub.value = structure(ttlv.TagPublicKey, keyBlock(qf, open, alg, length))
	for _, o := range []*object{priv, pub} {
		o.set(enum(ttlv.TagCryptographicAlgorithm, alg))
		o.set(integer(ttlv.TagCryptographicLength, length))
	}
	return nil
}

// curveOf answers the curve that the domain parameters recommend, or the one of the length.
func curveOf(domain *item, length int32) elliptic.Curve {
	switch kmip.RecommendedCurve(domain.kid(ttlv.TagRecommendedCurve).enum()) {
	case kmip.RecommendedCurveP_224:
		return elliptic.P224()
	case kmip.RecommendedCurveP_256:
		return elliptic.P256()
	case kmip.RecommendedCurveP_384:
		return elliptic.P384()
	case kmip.RecommendedCurveP_521:
		return elliptic.P521()
	case 0:
	default:
		return nil
	}
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if c.Params().BitSize == int(length) {
			return c
		}
	}
	return nil
}

// private reads the private key of an object.
func (o *object) private() (crypto.Signer, error) {
	b := o.material()
	var key any
	err := errNoKey
	switch f := o.format(); f {
	case kmip.KeyFormatTypePKCS_1:
		key, err = x509.ParsePKCS1PrivateKey(b)
	case kmip.KeyFormatTypePKCS_8:
		key, err = x509.ParsePKCS8PrivateKey(b)
	case kmip.KeyFormatTypeECPrivateKey:
		key, err = x509.ParseECPrivateKey(b)
	case kmip.KeyFormatTypeTransparentRSAPrivateKey:
		key, err = transparentRSA(o.block().at(ttlv.TagKeyValue, ttlv.TagKeyMaterial))
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, refusef(reasonCryptographic, "object %s holds no private key that can be used: %v", o.id, err)
	}
	return signer, nil
}

// errNoKey tells of a key format that this server only keeps.
var errNoKey = refusef(reasonKeyFormat, "the key format is not one this server works with")

// public reads the public key of an object: a public or private key, or a certificate.
func (o *object) public() (crypto.PublicKey, error) {
	if o.kind == kmip.ObjectTypePrivateKey {
		k, err := o.private()
		if err != nil {
			return nil, err
		}
		return k.Public(), nil
	}
	b := o.material()
	var key crypto.PublicKey
	err := errNoKey
	switch f := o.format(); {
	case o.kind == kmip.ObjectTypeCertificate:
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(o.value.kid(ttlv.TagCertificateValue).octets()); err == nil {
			key = c.PublicKey
		}
	case f == kmip.KeyFormatTypePKCS_1:
		key, err = x509.ParsePKCS1PublicKey(b)
	case f == kmip.KeyFormatTypeX_509 || f == kmip.KeyFormatTypePKCS_8:
		key, err = x509.ParsePKIXPublicKey(b)
	case f == kmip.KeyFormatTypeTransparentRSAPublicKey:
		m := o.block().at(ttlv.TagKeyValue, ttlv.TagKeyMaterial)
		key, err = rsaPublic(m)
	}
	if err != nil {
		return nil, refusef(reasonCryptographic, "object %s holds no public key that can be used: %v", o.id, err)
	}
	return key, nil
}

func (o *object) format() kmip.KeyFormatType {
	return kmip.KeyFormatType(o.block().kid(ttlv.TagKeyFormatType).enum())
}

func bigOf(it *item) *big.Int {
	if it == nil || it.val.Type != ttlv.TypeBigInteger {
		return new(big.Int)
	}
	return new(big.Int).SetBytes(it.val.Body)
}

// bigItem encodes a number that is not negative: with a leading zero bit, in a multiple of 8 bytes.
func bigItem(t ttlv.Tag, n *big.Int) *item {
	size := (n.BitLen()/8 + 1 + 7) / 8 * 8
	return &item{tag: t, val: ttlv.Value{Type: ttlv.TypeBigInteger, Body: n.FillBytes(make([]byte, size))}}
}

func rsaPublic(m *item) (*rsa.PublicKey, error) {
	n, e := bigOf(m.kid(ttlv.TagModulus)), bigOf(m.kid(ttlv.TagPublicExponent))
	if n.BitLen() < 1024 || n.BitLen() > 2*maxKeyBits || e.BitLen() > 31 || e.Sign() <= 0 {
		return nil, refusef(reasonInvalidField, "modulus or public exponent are out of range")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func transparentRSA(m *item) (*rsa.PrivateKey, error) {
	pub, err := rsaPublic(m)
	if err != nil {
		return nil, err
	}
	p, q, d := bigOf(m.kid(ttlv.TagP)), bigOf(m.kid(ttlv.TagQ)), bigOf(m.kid(ttlv.TagPrivateExponent))
	if p.Sign() == 0 || q.Sign() == 0 || d.Sign() == 0 || p.BitLen() > maxKeyBits || q.BitLen() > maxKeyBits || d.BitLen() > 2*maxKeyBits {
		return nil, errNoKey
	}
	key := &rsa.PrivateKey{PublicKey: *pub, D: d, Primes: []*big.Int{p, q}}
	if err := key.Validate(); err != nil {
		return nil, err
	}
	key.Precompute()
	return key, nil
}

// formatPrivate answers the key material of a private key in a format.
func formatPrivate(key crypto.Signer, f kmip.KeyFormatType) (*item, error) {
	var der []byte
	err := errNoKey
	switch k := key.(type) {
	case *rsa.PrivateKey:
		switch f {
		case kmip.KeyFormatTypePKCS_1:
			der, err = x509.MarshalPKCS1PrivateKey(k), nil
		case kmip.KeyFormatTypeTransparentRSAPrivateKey:
			return structure(ttlv.TagKeyMaterial, bigItem(ttlv.TagModulus, k.N), bigItem(ttlv.TagPrivateExponent, k.D),
				bigItem(ttlv.TagPublicExponent, big.NewInt(int64(k.E))), bigItem(ttlv.TagP, k.Primes[0]),
				bigItem(ttlv.TagQ, k.Primes[1]), bigItem(ttlv.TagPrimeExponentP, k.Precomputed.Dp),
				bigItem(ttlv.TagPrimeExponentQ, k.Precomputed.Dq), bigItem(ttlv.TagCRTCoefficient, k.Precomputed.Qinv)), nil
		}
	case *ecdsa.PrivateKey:
		if f == kmip.KeyFormatTypeECPrivateKey {
			der, err = x509.MarshalECPrivateKey(k)
		}
	}
	if f == kmip.KeyFormatTypePKCS_8 {
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		return nil, refusef(reasonKeyFormat, "a private key cannot be given as %s", f)
	}
	return octets(ttlv.TagKeyMaterial, der), nil
}

// formatPublic answers the key material of a public key in a format.
func formatPublic(key crypto.PublicKey, f kmip.KeyFormatType) (*item, error) {
	var der []byte
	err := errNoKey
	if k, ok := key.(*rsa.PublicKey); ok {
		switch f {
		case kmip.KeyFormatTypePKCS_1:
			der, err = x509.MarshalPKCS1PublicKey(k), nil
		case kmip.KeyFormatTypeTransparentRSAPublicKey:
			return structure(ttlv.TagKeyMaterial, bigItem(ttlv.TagModulus, k.N),
				bigItem(ttlv.TagPublicExponent, big.NewInt(int64(k.E)))), nil
		}
	}
	if f == kmip.KeyFormatTypeX_509 {
		der, err = x509.MarshalPKIXPublicKey(key)
	}
	if err != nil {
		return nil, refusef(reasonKeyFormat, "a public key cannot be given as %s", f)
	}
	return octets(ttlv.TagKeyMaterial, der), nil
}

func publicKind(key crypto.PublicKey) (kmip.CryptographicAlgorithm, int) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return kmip.CryptographicAlgorithmRSA, k.N.BitLen()
	case *ecdsa.PublicKey:
		return kmip.CryptographicAlgorithmECDSA, k.Curve.Params().BitSize
	}
	return 0, 0
}

func signatureKind(a x509.SignatureAlgorithm) (kmip.DigitalSignatureAlgorithm, bool) {
	d, ok := map[x509.SignatureAlgorithm]kmip.DigitalSignatureAlgorithm{
		x509.SHA1WithRSA:     kmip.DigitalSignatureAlgorithmSHA_1WithRSAEncryption,
		x509.SHA256WithRSA:   kmip.DigitalSignatureAlgorithmSHA_256WithRSAEncryption,
		x509.SHA384WithRSA:   kmip.DigitalSignatureAlgorithmSHA_384WithRSAEncryption,
		x509.SHA512WithRSA:   kmip.DigitalSignatureAlgorithmSHA_512WithRSAEncryption,
		x509.ECDSAWithSHA256: kmip.DigitalSignatureAlgorithmECDSAWithSHA256,
		x509.ECDSAWithSHA384: kmip.DigitalSignatureAlgorithmECDSAWithSHA384,
		x509.ECDSAWithSHA512: kmip.DigitalSignatureAlgorithmECDSAWithSHA512,
	}[a]
	return d, ok
}
