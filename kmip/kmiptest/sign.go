package kmiptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// hashOf answers a hash function: the one named, or the default when none is.
func hashOf(it *item, none kmip.HashingAlgorithm) (func() hash.Hash, error) {
	alg := none
	if it != nil {
		alg = kmip.HashingAlgorithm(it.enum())
	}
	switch alg {
	case kmip.HashingAlgorithmMD5:
		return md5.New, nil
	case kmip.HashingAlgorithmSHA_1:
		return sha1.New, nil
	case kmip.HashingAlgorithmSHA_224:
		return sha256.New224, nil
	case kmip.HashingAlgorithmSHA_256:
		return sha256.New, nil
	case kmip.HashingAlgorithmSHA_384:
		return sha512.New384, nil
	case kmip.HashingAlgorithmSHA_512:
		return sha512.New, nil
	}
	return nil, refusef(reasonCryptographic, "hashing algorithm %s is not supported", alg)
}

func cryptoHash(alg kmip.HashingAlgorithm) crypto.Hash {
	return map[kmip.HashingAlgorithm]crypto.Hash{
		kmip.HashingAlgorithmMD5: crypto.MD5, kmip.HashingAlgorithmSHA_1: crypto.SHA1,
		kmip.HashingAlgorithmSHA_224: crypto.SHA224, kmip.HashingAlgorithmSHA_256: crypto.SHA256,
		kmip.HashingAlgorithmSHA_384: crypto.SHA384, kmip.HashingAlgorithmSHA_512: crypto.SHA512,
	}[alg]
}

// scheme is how a signature is made: padding and hash function.
type scheme struct {
	pss  bool
	hash crypto.Hash
}

// schemeOf reads the scheme from the Cryptographic Parameters; the Digital Signature Algorithm wins over the rest.
func schemeOf(p *item) (scheme, error) {
	s := scheme{hash: crypto.SHA256}
	switch kmip.DigitalSignatureAlgorithm(p.kid(ttlv.TagDigitalSignatureAlgorithm).enum()) {
	case kmip.DigitalSignatureAlgorithmSHA_1WithRSAEncryption, kmip.DigitalSignatureAlgorithmECDSAWithSHA_1:
		s.hash = crypto.SHA1
		return s, nil
	case kmip.DigitalSignatureAlgorithmSHA_224WithRSAEncryption, kmip.DigitalSignatureAlgorithmECDSAWithSHA224:
		s.hash = crypto.SHA224
		return s, nil
	case kmip.DigitalSignatureAlgorithmSHA_256WithRSAEncryption, kmip.DigitalSignatureAlgorithmECDSAWithSHA256:
		return s, nil
	case kmip.DigitalSignatureAlgorithmSHA_384WithRSAEncryption, kmip.DigitalSignatureAlgorithmECDSAWithSHA384:
		s.hash = crypto.SHA384
		return s, nil
	case kmip.DigitalSignatureAlgorithmSHA_512WithRSAEncryption, kmip.DigitalSignatureAlgorithmECDSAWithSHA512:
		s.hash = crypto.SHA512
		return s, nil
	case kmip.DigitalSignatureAlgorithmRSASSA_PSS:
		s.pss = true
	case 0:
	default:
		return s, refusef(reasonCryptographic, "the digital signature algorithm is not supported")
	}
	if h := p.kid(ttlv.TagHashingAlgorithm); h != nil {
		s.hash = cryptoHash(kmip.HashingAlgorithm(h.enum()))
	}
	if kmip.PaddingMethod(p.kid(ttlv.TagPaddingMethod).enum()) == kmip.PaddingMethodPSS {
		s.pss = true
	}
	if s.hash == 0 {
		return s, refusef(reasonCryptographic, "the hashing algorithm is not supported")
	}
	return s, nil
}

// digest answers what is signed: the hash of the data, or the hash that the client made.
func (s scheme) digest(in *item) ([]byte, error) {
	if d := in.kid(ttlv.TagDigestedData); d != nil {
		if len(d.octets()) != s.hash.Size() {
			return nil, refusef(reasonInvalidField, "digested data of %d bytes, %s has %d", len(d.octets()), s.hash, s.hash.Size())
		}
		return d.octets(), nil
	}
	d := in.kid(ttlv.TagData)
	if d == nil {
		return nil, refusef(reasonInvalidMessage, "no data is given")
	}
	h := s.hash.New()
	h.Write(d.octets())
	return h.Sum(nil), nil
}

func (x *exchange) sign(in *item) ([]*item, error) {
	o, err := x.working(in, kmip.CryptographicUsageMaskSign)
	if err != nil {
		return nil, err
	}
	whole, corr, err := x.gather(in, o)
	if err != nil || whole == nil {
		return []*item{text(ttlv.TagUniqueIdentifier, o.id), corr}, err
	}
	s, err := schemeOf(parameters(whole, o))
	if err != nil {
		return nil, err
	}
	key, err := o.private()
	if err != nil {
		return nil, err
	}
	sum, err := s.digest(whole)
	if err != nil {
		return nil, err
	}
	if err := x.charge(o, len(whole.kid(ttlv.TagData).octets())); err != nil {
		return nil, err
	}
	var opts crypto.SignerOpts = s.hash
	if s.pss {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.hash}
	}
	sig, err := key.Sign(rand.Reader, sum, opts)
	if err != nil {
		return nil, refusef(reasonCryptographic, "sign with object %s: %v", o.id, err)
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id), octets(ttlv.TagSignatureData, sig)}, nil
}

func (x *exchange) signatureVerify(in *item) ([]*item, error) {
	o, err := x.working(in, kmip.CryptographicUsageMaskVerify)
	if err != nil {
		return nil, err
	}
	whole, corr, err := x.gather(in, o)
	if err != nil || whole == nil {
		return []*item{text(ttlv.TagUniqueIdentifier, o.id), corr}, err
	}
	s, err := schemeOf(parameters(whole, o))
	if err != nil {
		return nil, err
	}
	key, err := o.public()
	if err != nil {
		return nil, err
	}
	sum, err := s.digest(whole)
	if err != nil {
		return nil, err
	}
	sig := whole.kid(ttlv.TagSignatureData)
	if sig == nil {
		return nil, refusef(reasonInvalidMessage, "no signature is given")
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id), validity(s.verify(key, sum, sig.octets()) == nil)}, nil
}

// errSignature tells that a signature is not one of the key over the data.
var errSignature = errors.New("the signature is wrong")

func (s scheme) verify(key crypto.PublicKey, sum, sig []byte) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if s.pss {
			return rsa.VerifyPSS(k, s.hash, sum, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
		}
		return rsa.VerifyPKCS1v15(k, s.hash, sum, sig)
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(k, sum, sig) {
			return nil
		}
	}
	return errSignature
}

func validity(ok bool) *item {
	if ok {
		return enum(ttlv.TagValidityIndicator, kmip.ValidityIndicatorValid)
	}
	return enum(ttlv.TagValidityIndicator, kmip.ValidityIndicatorInvalid)
}

// macOf computes the HMAC of data with an object's key, by the parameters' or the key's own algorithm.
func macOf(o *object, in *item) ([]byte, error) {
	p := parameters(in, o)
	alg := kmip.CryptographicAlgorithm(p.kid(ttlv.TagCryptographicAlgorithm).enum())
	if alg == 0 {
		alg = kmip.CryptographicAlgorithm(o.attr(ttlv.TagCryptographicAlgorithm).enum())
	}
	newHash, ok := map[kmip.CryptographicAlgorithm]func() hash.Hash{
		kmip.CryptographicAlgorithmHMAC_MD5: md5.New, kmip.CryptographicAlgorithmHMAC_SHA1: sha1.New,
		kmip.CryptographicAlgorithmHMAC_SHA224: sha256.New224, kmip.CryptographicAlgorithmHMAC_SHA256: sha256.New,
		kmip.CryptographicAlgorithmHMAC_SHA384: sha512.New384, kmip.CryptographicAlgorithmHMAC_SHA512: sha512.New,
	}[alg]
	if !ok || o.material() == nil {
		return nil, refusef(reasonCryptographic, "the server makes no MAC with %s", alg)
	}
	data := in.kid(ttlv.TagData)
	if data == nil {
		return nil, refusef(reasonInvalidMessage, "no data is given")
	}
	h := hmac.New(newHash, o.material())
	h.Write(data.octets())
	return h.Sum(nil), nil
}

func (x *exchange) mac(in *item) ([]*item, error) {
	o, err := x.working(in, kmip.CryptographicUsageMaskMACGenerate)
	if err != nil {
		return nil, err
	}
	whole, corr, err := x.gather(in, o)
	if err != nil || whole == nil {
		return []*item{text(ttlv.TagUniqueIdentifier, o.id), corr}, err
	}
	sum, err := macOf(o, whole)
	if err != nil {
		return nil, err
	}
	if err := x.charge(o, len(whole.kid(ttlv.TagData).octets())); err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id), octets(ttlv.TagMACData, sum)}, nil
}

func (x *exchange) macVerify(in *item) ([]*item, error) {
	o, err := x.working(in, kmip.CryptographicUsageMaskMACVerify)
	if err != nil {
		return nil, err
	}
	whole, corr, err := x.gather(in, o)
	if err != nil || whole == nil {
		return []*item{text(ttlv.TagUniqueIdentifier, o.id), corr}, err
	}
	sum, err := macOf(o, whole)
	if err != nil {
		return nil, err
	}
	given := whole.kid(ttlv.TagMACData)
	if given == nil {
		return nil, refusef(reasonInvalidMessage, "no MAC is given")
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id), validity(hmac.Equal(sum, given.octets()))}, nil
}

func (x *exchange) hash(in *item) ([]*item, error) {
	whole, corr, err := x.gather(in, nil)
	if err != nil || whole == nil {
		return []*item{corr}, err
	}
	p, data := whole.kid(ttlv.TagCryptographicParameters), whole.kid(ttlv.TagData)
	if p.kid(ttlv.TagHashingAlgorithm) == nil || data == nil {
		return nil, refusef(reasonInvalidMessage, "the hashing algorithm or the data is missing")
	}
	newHash, err := hashOf(p.kid(ttlv.TagHashingAlgorithm), 0)
	if err != nil {
		return nil, err
	}
	h := newHash()
	h.Write(data.octets())
	return []*item{octets(ttlv.TagData, h.Sum(nil))}, nil
}

// maxRandom is how many random bytes a client gets at a time.
const maxRandom = 64 << 10

func (x *exchange) rngRetrieve(in *item) ([]*item, error) {
	n := in.kid(ttlv.TagDataLength)
	if n == nil || n.integer() < 1 || n.integer() > maxRandom {
		return nil, refusef(reasonInvalidField, "from 1 to %d random bytes are given", maxRandom)
	}
	b := make([]byte, n.integer())
	rand.Read(b)
	return []*item{octets(ttlv.TagData, b)}, nil
}

// rngSeed takes a seed and uses none of it: the operating system's generator needs no help.
func (x *exchange) rngSeed(in *item) ([]*item, error) {
	if in.kid(ttlv.TagData) == nil {
		return nil, refusef(reasonInvalidMessage, "no seed is given")
	}
	if x.o.RefuseSeed {
		return nil, refusef(reasonPermissionDenied, "clients do not seed the generator")
	}
	return []*item{integer(ttlv.TagDataLength, 0)}, nil
}
