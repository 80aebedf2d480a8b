package kmip_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"

	"github.com/google/go-cmp/cmp"
)

// What each version has on the wire for the same attributes.
func TestAttributesHaveTheFormOfTheVersion(t *testing.T) {
	list := []kmip.Attribute{
		kmip.AlgorithmAttr(kmip.CryptographicAlgorithmAES),
		kmip.NameAttr("a"),
		kmip.TextAttr("x-owner", "b"),
		{AttributeRef: kmip.AttributeRef{Vendor: "acme-corp", Name: "colour"}, Value: ttlv.TextValue("red")},
		kmip.DateAttr("Activation Date", time.Unix(60, 0)),
	}
	for _, tt := range []struct {
		v    kmip.Version
		want string
		back []kmip.Attribute
	}{
		{kmip.V1_4, `Response Payload
  Unique Identifier: "17"
  Attribute
    Attribute Name: "Cryptographic Algorithm"
    Attribute Value: AES
  Attribute
    Attribute Name: "Name"
    Attribute Value
      Name Value: "a"
      Name Type: Uninterpreted Text String
  Attribute
    Attribute Name: "x-owner"
    Attribute Value: "b"
  Attribute
    Attribute Name: "acme-corp-colour"
    Attribute Value: "red"
  Attribute
    Attribute Name: "Activation Date"
    Attribute Value: 1970-01-01T00:01:00Z
`, []kmip.Attribute{list[0], list[1], list[2], kmip.TextAttr("acme-corp-colour", "red"), list[4]}},
		{kmip.V2_1, `Response Payload
  Unique Identifier: "17"
  Attributes
    Cryptographic Algorithm: AES
    Name
      Name Value: "a"
      Name Type: Uninterpreted Text String
    Attribute
      Vendor Identification: "x"
      Attribute Name: "owner"
      Attribute Value: "b"
    Attribute
      Vendor Identification: "acme-corp"
      Attribute Name: "colour"
      Attribute Value: "red"
    Activation Date: 1970-01-01T00:01:00Z
`, list},
	} {
		r := kmip.Request{Header: kmip.RequestHeader{Version: tt.v}, Items: []kmip.RequestItem{{Operation: kmip.OperationGetAttributes}}}
		b := good(&r, &kmip.GetAttributesResponse{UniqueID: "17", Attributes: list})
		text, err := ttlv.Text(b, ttlv.HideSecrets)
		if err != nil {
			t.Fatal(err)
		}
		_, payload, _ := strings.Cut(text, "    Response Payload")
		if got := "Response Payload" + strings.ReplaceAll(payload, "\n    ", "\n"); got != tt.want {
			t.Errorf("KMIP %s: %s", tt.v, cmp.Diff(tt.want, got))
		}
		var a kmip.Response
		if err := a.Decode(b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.back, a.Items[0].Payload.(*kmip.GetAttributesResponse).Attributes); diff != "" {
			t.Errorf("KMIP %s: %s", tt.v, diff)
		}
	}
}

func TestAttributeReferencesComeBack(t *testing.T) {
	refs := append(kmip.Names("State", "Unique Identifier", "x-owner", "y-made"), kmip.AttributeRef{Vendor: "acme", Name: "colour"})
	for _, v := range []kmip.Version{kmip.V2_0, kmip.V2_1} {
		r := kmip.Request{Header: kmip.RequestHeader{Version: v}, Items: []kmip.RequestItem{
			{Payload: &kmip.GetAttributesRequest{UniqueID: "17", Attributes: refs}},
		}}
		var back kmip.Request
		if err := back.Decode(r.Encode()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(refs, back.Items[0].Payload.(*kmip.GetAttributesRequest).Attributes); diff != "" {
			t.Errorf("KMIP %s: %s", v, diff)
		}
	}
}

func TestObjectsComeBack(t *testing.T) {
	var material ttlv.Encoder
	material.ByteString(ttlv.TagKey, []byte{1, 2, 3})
	transparent := kmip.SymmetricKey(kmip.CryptographicAlgorithmDES3, nil)
	transparent.Key.Format = kmip.KeyFormatTypeTransparentSymmetricKey
	transparent.Key.Value.Material = ttlv.StructureValue(material.Bytes())
	split := kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, []byte{1})
	split.Type = kmip.ObjectTypeSplitKey
	split.Split = &kmip.SplitKey{Parts: 3, Part: 1, Threshold: 2, Method: kmip.SplitKeyMethodXOR}
	pgp := kmip.SymmetricKey(kmip.CryptographicAlgorithmRSA, []byte{1})
	pgp.Type, pgp.PGPVersion = kmip.ObjectTypePGPKey, 4
	private := kmip.SymmetricKey(kmip.CryptographicAlgorithmRSA, []byte{1})
	private.Type = kmip.ObjectTypePrivateKey
	public := private
	public.Type = kmip.ObjectTypePublicKey
	whole := kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, nil)
	whole.Key.Value = &kmip.KeyValue{Wrapped: []byte{9, 9}}
	whole.Key.Wrapping = &kmip.KeyWrappingData{
		Method: kmip.WrappingMethodEncrypt, IV: []byte{1}, Encoding: kmip.EncodingOptionTTLVEncoding,
		Encryption: &kmip.KeyInformation{UniqueID: "18", Parameters: &kmip.CryptographicParameters{
			BlockCipherMode: kmip.BlockCipherModeNISTKeyWrap, InitialCounterValue: new(int32(0)), RandomIV: new(false),
		}},
	}
	for _, o := range []kmip.Object{
		kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, []byte{1, 2}), transparent, split, pgp, private, public, whole,
		kmip.Secret(kmip.SecretDataTypePassword, []byte("a")),
		{Type: kmip.ObjectTypeOpaqueObject, OpaqueType: 0x80000001, Data: []byte{1}},
		{Type: kmip.ObjectTypeCertificate, Certificate: kmip.CertificateTypeX_509, Data: []byte{1}},
		{Type: kmip.ObjectTypeCertificateRequest, CertRequest: kmip.CertificateRequestTypePEM, Data: []byte{1}},
		{Type: kmip.ObjectTypeTemplate, TemplateValues: []kmip.Attribute{kmip.LengthAttr(128)}},
	} {
		t.Run(o.Type.String(), func(t *testing.T) {
			r := kmip.Request{Header: kmip.RequestHeader{Version: kmip.V1_4}, Items: []kmip.RequestItem{{Operation: kmip.OperationGet}}}
			var a kmip.Response
			if err := a.Decode(good(&r, &kmip.GetResponse{UniqueID: "17", Object: o})); err != nil || a.Items[0].Err != nil {
				t.Fatal(err, a.Items)
			}
			if diff := cmp.Diff(o, a.Items[0].Payload.(*kmip.GetResponse).Object); diff != "" {
				t.Error(diff)
			}
		})
	}
	if b, err := transparent.Key.Bytes(); err != nil || !bytes.Equal(b, []byte{1, 2, 3}) {
		t.Errorf("%x, %v", b, err)
	}
	for name, k := range map[string]*kmip.KeyBlock{"none": nil, "wrapped": whole.Key, "of numbers": {
		Format: kmip.KeyFormatTypeTransparentRSAPrivateKey, Value: &kmip.KeyValue{Material: ttlv.StructureValue(nil)},
	}, "empty": {
		Format: kmip.KeyFormatTypeTransparentSymmetricKey, Value: &kmip.KeyValue{Material: ttlv.StructureValue(nil)},
	}} {
		if b, err := k.Bytes(); err == nil {
			t.Errorf("%s: %x", name, b)
		}
	}
}

func TestAWrongPayloadSpoilsOnlyItsItem(t *testing.T) {
	r := kmip.Request{Header: kmip.RequestHeader{Version: kmip.V1_4}, Items: []kmip.RequestItem{
		{ID: []byte{1}, Payload: &kmip.RawPayload{Op: kmip.OperationGet}},
		{ID: []byte{2}, Payload: &kmip.RawPayload{Op: kmip.OperationRevoke}}, // lacks its reason
		{ID: []byte{3}, Payload: &kmip.DestroyRequest{UniqueID: "17"}},
		{ID: []byte{4}, Payload: &kmip.RawPayload{Op: kmip.OperationRNGSeed}},
	}}
	var got kmip.Request
	if err := got.Decode(r.Encode()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"*kmip.GetRequest", "", "*kmip.DestroyRequest", "*kmip.RawPayload"} {
		it := got.Items[i]
		if (it.Err != nil) != (want == "") || (it.Payload == nil) != (want == "") {
			t.Errorf("item %d: %T, %v", i+1, it.Payload, it.Err)
		}
	}
	if err := got.Items[1].Err; !strings.Contains(err.Error(), "Revocation Reason is missing") {
		t.Error(err)
	}
}

func TestTheVersionIsKnownEvenIfTheRestIsNot(t *testing.T) {
	r := kmip.Request{Header: kmip.RequestHeader{Version: 9 << 16}, Items: []kmip.RequestItem{{Payload: &kmip.GetRequest{}}}}
	b := r.Encode()
	b = bytes.Replace(b, []byte{0x42, 0, 0x0D, 2, 0, 0, 0, 4, 0, 0, 0, 1}, []byte{0x42, 0, 0x0D, 2, 0, 0, 0, 4, 0, 0, 0, 2}, 1)
	var got kmip.Request
	if err := got.Decode(b); err == nil || got.Header.Version != 9<<16 {
		t.Errorf("%s, %v", got.Header.Version, err)
	}
}
