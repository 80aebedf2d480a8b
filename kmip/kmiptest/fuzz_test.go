package kmiptest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/internal/oasis"
	"allclear/kmip/ttlv"
)

// prey is a server with an object of each kind, which requests are about.
type prey struct {
	*Server
	objects []*object
}

func newPrey(t testing.TB) *prey {
	t.Helper()
	pki, err := NewPKI("fuzz")
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.Issue(CertRequest{RSA: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(context.Background(), Options{Certificate: id.TLS, Limits: Limits{Objects: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	p := &prey{Server: s}
	x := &exchange{s: s, st: s.store, o: s.options(), client: &client{}, now: time.Now(), version: kmip.V1_4}
	blank := func(kind kmip.ObjectType) *object {
		o, err := x.newObject(kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		o.set(date(ttlv.TagActivationDate, x.now.Add(-time.Hour)))
		o.set(integer(ttlv.TagCryptographicUsageMask, 0x7FFFFF))
		p.objects = append(p.objects, o)
		return o
	}
	for _, alg := range []kmip.CryptographicAlgorithm{kmip.CryptographicAlgorithmAES, kmip.CryptographicAlgorithmDES3, kmip.CryptographicAlgorithmHMAC_SHA256} {
		key, err := newSymmetric(alg, integer(ttlv.TagCryptographicLength, 192))
		if err != nil {
			t.Fatal(err)
		}
		blank(kmip.ObjectTypeSymmetricKey).value = structure(ttlv.TagSymmetricKey,
			keyBlock(kmip.KeyFormatTypeRaw, octets(ttlv.TagKeyMaterial, key), alg, 192))
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{ec, id.TLS.PrivateKey.(crypto.Signer)} {
		alg, bits := publicKind(key.Public())
		priv, pub := blank(kmip.ObjectTypePrivateKey), blank(kmip.ObjectTypePublicKey)
		if err := setPair(priv, pub, key, alg, int32(bits)); err != nil {
			t.Fatal(err)
		}
		priv.link(kmip.LinkTypePublicKeyLink, pub.id)
	}
	blank(kmip.ObjectTypeCertificate).value = structure(ttlv.TagCertificate,
		enum(ttlv.TagCertificateType, kmip.CertificateTypeX_509), octets(ttlv.TagCertificateValue, id.Leaf.Raw))
	blank(kmip.ObjectTypeOpaqueObject).value = structure(ttlv.TagOpaqueObject, octets(ttlv.TagOpaqueDataValue, []byte("x")))
	for _, o := range p.objects {
		x.derive(o)
	}
	p.revive(t)
	return p
}

// revive puts back what requests have done to the objects, and removes all others.
func (p *prey) revive(t testing.TB) {
	for _, o := range p.store.all() {
		if err := p.store.forget(o.id); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.store.put(p.objects...); err != nil {
		t.Fatal(err)
	}
}

func (p *prey) id(r *mathrand.Rand) string { return p.objects[r.IntN(len(p.objects))].id }

// corpus answers the requests of the OASIS cases and one of each operation that those lack.
func corpus(t testing.TB, id string) [][]byte {
	t.Helper()
	cases, err := oasis.Folder("../testdata/oasis-1.0")
	if err != nil {
		t.Fatal(err)
	}
	vars := &oasis.Vars{Now: time.Now(), Text: map[string]string{"UNIQUE_IDENTIFIER_0": id, "UNIQUE_IDENTIFIER_1": id}}
	var out [][]byte
	for i := 0; i < len(cases); i += 7 {
		if strings.HasPrefix(cases[i].Name, "AKLC") {
			continue // RSA keys take their time
		}
		for _, step := range cases[i].Steps {
			b, err := step.Request.TTLV(vars)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b)
		}
	}
	for op := range table() {
		for i := range 16 {
			msg := sample([]version{kmip.V1_4, kmip.V2_1}[i%2], op, id, i/2)
			payload := msg.at(ttlv.TagBatchItem, ttlv.TagRequestPayload)
			switch {
			case i < 8:
			case i < 10:
				payload.add(boolean(ttlv.TagInitIndicator, true))
			default: // without what few operations take, so that the others go far
				drop(payload, ttlv.TagKeyWrappingSpecification)
				drop(payload, ttlv.TagAttributeName)
				drop(payload, ttlv.TagIVCounterNonce)
			}
			out = append(out, msg.bytes())
		}
	}
	return out
}

// pick answers the nth of a list that goes round.
func pick[T any](n int, list ...T) T { return list[n%len(list)] }

// sample is a request that holds something for every field an operation might look at; n chooses what.
func sample(v version, op kmip.Operation, id string, n int) *item {
	params := structure(ttlv.TagCryptographicParameters,
		enum(ttlv.TagBlockCipherMode, pick(n, kmip.BlockCipherModeGCM, kmip.BlockCipherModeCBC, kmip.BlockCipherModeECB,
			kmip.BlockCipherModeCTR, kmip.BlockCipherModeCFB, kmip.BlockCipherModeOFB, kmip.BlockCipherModeNISTKeyWrap)),
		enum(ttlv.TagPaddingMethod, pick(n, kmip.PaddingMethodOAEP, kmip.PaddingMethodPKCS5, kmip.PaddingMethodNone,
			kmip.PaddingMethodPKCS1V1_5, kmip.PaddingMethodPSS, kmip.PaddingMethodZeros)),
		enum(ttlv.TagHashingAlgorithm, kmip.HashingAlgorithmSHA_256), boolean(ttlv.TagRandomIV, true), integer(ttlv.TagTagLength, 16))
	name := structure(ttlv.TagAttributeValue, text(ttlv.TagNameValue, "n"), enum(ttlv.TagNameType, kmip.NameTypeUninterpretedTextString))
	attr := pick(n,
		structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "Name"), name),
		structure(ttlv.TagAttribute, text(ttlv.TagVendorIdentification, "x"), text(ttlv.TagAttributeName, "x-a"), text(ttlv.TagAttributeValue, "b")),
		structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "Initial Date"), date(ttlv.TagAttributeValue, time.Now())),
		structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "Cryptographic Length"), integer(ttlv.TagAttributeValue, 128)))
	algorithm := structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "Cryptographic Algorithm"),
		enum(ttlv.TagAttributeValue, pick(n, kmip.CryptographicAlgorithmAES, kmip.CryptographicAlgorithmEC)))
	length := structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "Cryptographic Length"), integer(ttlv.TagAttributeValue, 256))
	limits := structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "Usage Limits"),
		structure(ttlv.TagAttributeValue, long(ttlv.TagUsageLimitsTotal, 16), enum(ttlv.TagUsageLimitsUnit, kmip.UsageLimitsUnitByte)))
	attrs := []*item{name.retag(ttlv.TagName), enum(ttlv.TagCryptographicAlgorithm, kmip.CryptographicAlgorithmAES), integer(ttlv.TagCryptographicLength, 256)}
	payload := structure(ttlv.TagRequestPayload,
		enum(ttlv.TagObjectType, kmip.ObjectTypeSymmetricKey), text(ttlv.TagUniqueIdentifier, id),
		text(ttlv.TagPrivateKeyUniqueIdentifier, id),
		structure(ttlv.TagTemplateAttribute, attr, limits, algorithm, length),
		structure(ttlv.TagCommonTemplateAttribute, attr, algorithm, length),
		enum(ttlv.TagKeyFormatType, kmip.KeyFormatType(1+n%12)), boolean(ttlv.TagReplaceExisting, true),
		structure(ttlv.TagAttributes, attrs...), structure(ttlv.TagCommonAttributes, attrs[1:]...), structure(ttlv.TagNewAttribute, name.retag(ttlv.TagName)),
		structure(ttlv.TagCurrentAttribute, name.retag(ttlv.TagName)), attr, text(ttlv.TagAttributeName, "Name"),
		enum(ttlv.TagAttributeReference, ttlv.TagName), integer(ttlv.TagMaximumItems, 1), integer(ttlv.TagOffsetItems, 1),
		structure(ttlv.TagRevocationReason, enum(ttlv.TagRevocationReasonCode, kmip.RevocationReasonCodeUnspecified)),
		params, octets(ttlv.TagData, make([]byte, 32)), octets(ttlv.TagIVCounterNonce, make([]byte, 16)),
		octets(ttlv.TagAuthenticatedEncryptionTag, make([]byte, 16)), octets(ttlv.TagSignatureData, make([]byte, 64)),
		octets(ttlv.TagMACData, make([]byte, 32)), long(ttlv.TagUsageLimitsCount, 1), integer(ttlv.TagDataLength, 8),
		interval(ttlv.TagLeaseTime, 10), interval(ttlv.TagOffset, 10), integer(ttlv.TagCryptographicUsageMask, 4),
		enum(ttlv.TagQueryFunction, kmip.QueryFunctionQueryOperations), writeVersion(v),
		enum(ttlv.TagDerivationMethod, kmip.DerivationMethod(1+n%6)),
		structure(ttlv.TagDerivationParameters, params, octets(ttlv.TagSalt, []byte{1}), integer(ttlv.TagIterationCount, 2)),
		structure(ttlv.TagKeyWrappingSpecification, enum(ttlv.TagWrappingMethod, kmip.WrappingMethodEncrypt),
			structure(ttlv.TagEncryptionKeyInformation, text(ttlv.TagUniqueIdentifier, id), params)),
		structure(ttlv.TagSymmetricKey, keyBlock(kmip.KeyFormatTypeRaw, octets(ttlv.TagKeyMaterial, make([]byte, 16)),
			kmip.CryptographicAlgorithmAES, 128)))
	return structure(ttlv.TagRequestMessage,
		structure(ttlv.TagRequestHeader, writeVersion(v), integer(ttlv.TagMaximumResponseSize, 1<<16), integer(ttlv.TagBatchCount, 1)),
		structure(ttlv.TagBatchItem, enum(ttlv.TagOperation, op), octets(ttlv.TagUniqueBatchItemID, []byte{1}), payload))
}

// judge tells what is wrong with an answer: it must be a response message whose items have a status, and a reason when
// they failed.
func judge(t testing.TB, req, answer []byte) {
	t.Helper()
	msg, err := parse(answer)
	switch {
	case err != nil:
		t.Fatalf("the answer to %x is malformed: %v", req, err)
	case msg.tag != ttlv.TagResponseMessage || msg.kid(ttlv.TagResponseHeader) == nil:
		t.Fatalf("the answer to %x is no response message", req)
	case int(msg.at(ttlv.TagResponseHeader, ttlv.TagBatchCount).integer()) != len(msg.all(ttlv.TagBatchItem)):
		t.Fatalf("the answer to %x has a wrong batch count", req)
	}
	for _, b := range msg.all(ttlv.TagBatchItem) {
		if b.kid(ttlv.TagResultStatus) == nil || b.kid(ttlv.TagResultStatus).enum() != 0 && b.kid(ttlv.TagResultReason).enum() == 0 {
			t.Fatalf("the answer to %x has an item without status or reason", req)
		}
	}
}

// FuzzRequest gives the server arbitrary bytes as a request.
func FuzzRequest(f *testing.F) {
	p := newPrey(f)
	for _, b := range corpus(f, p.objects[0].id) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, req []byte) {
		if len(req) > 1<<16 {
			return
		}
		judge(t, req, p.Answer(req, "fuzz"))
	})
}

// TestMutilatedRequestsAreAnswered sends well-formed messages whose items were dropped, doubled, swapped, given other
// types or values: what a client of a careless maker might send.
func TestMutilatedRequestsAreAnswered(t *testing.T) {
	p := newPrey(t)
	seeds := corpus(t, "the object")
	seed := [2]uint64{mathrand.Uint64(), mathrand.Uint64()}
	t.Logf("seed %d %d", seed[0], seed[1])
	r := mathrand.New(mathrand.NewPCG(seed[0], seed[1]))
	for i, end := 0, time.Now().Add(2*time.Second); time.Now().Before(end); i++ {
		if i%20 == 0 {
			p.revive(t)
		}
		msg, err := parse(seeds[r.IntN(len(seeds))])
		if err != nil {
			t.Fatal(err)
		}
		msg = deep(msg)
		aim(msg, p.id(r))
		for range r.IntN(4) {
			mutilate(r, msg, p)
		}
		req := msg.bytes()
		judge(t, req, p.Answer(req, "fuzz"))
	}
}

// aim has a request be about an object.
func aim(it *item, id string) {
	if it.text() == "the object" {
		it.val = ttlv.TextValue(id)
	}
	for _, k := range it.kids {
		aim(k, id)
	}
}

// mutilate changes one item somewhere below the message.
func mutilate(r *mathrand.Rand, msg *item, p *prey) {
	at := msg
	for len(at.kids) > 0 && (at == msg || r.IntN(5) > 0) {
		at = at.kids[r.IntN(len(at.kids))]
	}
	n := len(at.kids)
	values := []ttlv.Value{
		ttlv.TextValue(p.id(r)), ttlv.TextValue(""), ttlv.TextValue("Activation Date"), ttlv.IntegerValue(-1),
		ttlv.IntegerValue(int32(r.IntN(1 << 24))), ttlv.EnumerationValue(uint32(r.IntN(50))), ttlv.BytesValue(make([]byte, r.IntN(40))),
		ttlv.BooleanValue(true), ttlv.LongIntegerValue(-5), ttlv.IntervalValue(1 << 31), ttlv.DateTimeValue(time.Unix(1<<40, 0)),
		{Type: ttlv.TypeStructure},
	}
	switch r.IntN(6) {
	case 0:
		if n > 0 {
			at.kids = at.kids[1:]
		}
	case 1:
		if n > 0 {
			at.kids = append(at.kids, deep(at.kids[r.IntN(n)]))
		}
	case 2:
		r.Shuffle(n, func(i, j int) { at.kids[i], at.kids[j] = at.kids[j], at.kids[i] })
	case 3:
		if at.tag == ttlv.TagOperation || at.val.Type == ttlv.TypeEnumeration {
			at.val = ttlv.EnumerationValue(uint32(r.IntN(64)))
		}
	default:
		if at != msg {
			at.val, at.kids = values[r.IntN(len(values))], nil
		}
	}
}
