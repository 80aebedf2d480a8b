package kmiptest

import (
	"bytes"
	"slices"
	"testing"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// TestWhatIsStoredSharesNothingWithItsRequest would let a client make the server hold a megabyte for each key of a few
// bytes, were it otherwise.
func TestWhatIsStoredSharesNothingWithItsRequest(t *testing.T) {
	p := newPrey(t)
	key := bytes.Repeat([]byte{7}, 32)
	req := structure(ttlv.TagRequestMessage,
		structure(ttlv.TagRequestHeader, writeVersion(kmip.V1_4), integer(ttlv.TagBatchCount, 1)),
		structure(ttlv.TagBatchItem, enum(ttlv.TagOperation, kmip.OperationRegister), structure(ttlv.TagRequestPayload,
			enum(ttlv.TagObjectType, kmip.ObjectTypeSymmetricKey),
			structure(ttlv.TagTemplateAttribute,
				structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "x-owner"), text(ttlv.TagAttributeValue, "payroll")),
				structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, "Cryptographic Usage Mask"), integer(ttlv.TagAttributeValue, 12))),
			structure(ttlv.TagSymmetricKey, keyBlock(kmip.KeyFormatTypeRaw, octets(ttlv.TagKeyMaterial, key), kmip.CryptographicAlgorithmAES, 256))))).bytes()
	msg, err := parse(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := parse(slices.Clone(p.answer(msg, nil, &client{}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	id := answer.at(ttlv.TagBatchItem, ttlv.TagResponsePayload, ttlv.TagUniqueIdentifier).text()
	clear(req)
	clear(msg.kids)
	o := p.store.get(id)
	if o == nil {
		t.Fatalf("nothing is stored as %q", id)
	}
	if !bytes.Equal(o.material(), key) {
		t.Errorf("the key is %x once the request is overwritten, was %x", o.material(), key)
	}
	if owner := o.attrByName("x-owner").text(); owner != "payroll" {
		t.Errorf("the attribute is %q once the request is overwritten, was %q", owner, "payroll")
	}
}
