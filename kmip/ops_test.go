package kmip_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

func TestQueryTellsWhatTheServerIs(t *testing.T) {
	var info, inner ttlv.Encoder
	inner.TextString(0x540003, "ServerType=master")
	info.TextString(ttlv.TagServerName, "keys")
	info.Integer(0x540002, 4)
	info.Value(0x540001, ttlv.StructureValue(inner.Bytes()))
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		return good(r, &kmip.QueryResponse{
			Operations:           []kmip.Operation{kmip.OperationGet, kmip.OperationCreate},
			VendorIdentification: "Acme 1.2", ServerInformation: ttlv.StructureValue(info.Bytes()),
		})
	})
	q, err := s.dial(t, 10*time.Second).Query(t.Context(), kmip.QueryFunctionQueryOperations)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(q.ServerTexts(), []string{"keys", "ServerType=master"}) || q.VendorIdentification != "Acme 1.2" {
		t.Errorf("%q %q", q.VendorIdentification, q.ServerTexts())
	}
	if !q.Supports(kmip.OperationGet, kmip.OperationCreate) || q.Supports(kmip.OperationGet, kmip.OperationDestroy) {
		t.Error("Supports is wrong")
	}
	if texts := (&kmip.QueryResponse{}).ServerTexts(); len(texts) != 0 {
		t.Error(texts)
	}
}

func TestEveryCallChecksWhichObjectIsAnswered(t *testing.T) {
	answerID := "17"
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		attribute := kmip.TextAttr("x-a", "b")
		switch r.Items[0].Operation {
		case kmip.OperationGetAttributes:
			return good(r, &kmip.GetAttributesResponse{UniqueID: answerID, Attributes: []kmip.Attribute{attribute}})
		case kmip.OperationGetAttributeList:
			return good(r, &kmip.GetAttributeListResponse{UniqueID: answerID, Attributes: kmip.Names("State")})
		case kmip.OperationAddAttribute:
			return good(r, &kmip.AddAttributeResponse{UniqueID: answerID, Attribute: attribute})
		case kmip.OperationModifyAttribute:
			return good(r, &kmip.ModifyAttributeResponse{UniqueID: answerID, Attribute: attribute})
		case kmip.OperationDeleteAttribute:
			return good(r, &kmip.DeleteAttributeResponse{UniqueID: answerID, Attribute: attribute})
		case kmip.OperationActivate:
			return good(r, &kmip.ActivateResponse{UniqueID: answerID})
		case kmip.OperationRevoke:
			return good(r, &kmip.RevokeResponse{UniqueID: answerID})
		case kmip.OperationDestroy:
			return good(r, &kmip.DestroyResponse{UniqueID: answerID})
		case kmip.OperationCheck:
			return good(r, &kmip.CheckResponse{UniqueID: answerID})
		case kmip.OperationEncrypt:
			return good(r, &kmip.EncryptResponse{UniqueID: answerID, Data: []byte{1}})
		case kmip.OperationDecrypt:
			return good(r, &kmip.DecryptResponse{UniqueID: answerID, Data: []byte{1}})
		}
		return good(r, aesKey(answerID))
	})
	c, ctx := s.dial(t, 10*time.Second), t.Context()
	for name, call := range map[string]func() error{
		"Get":              func() error { _, err := c.Get(ctx, "17"); return err },
		"GetAttributes":    func() error { _, err := c.GetAttributes(ctx, "17"); return err },
		"GetAttributeList": func() error { _, err := c.GetAttributeList(ctx, "17"); return err },
		"AddAttribute":     func() error { return c.AddAttribute(ctx, "17", kmip.TextAttr("x-a", "b")) },
		"ModifyAttribute":  func() error { return c.ModifyAttribute(ctx, "17", kmip.TextAttr("x-a", "b")) },
		"DeleteAttribute":  func() error { return c.DeleteAttribute(ctx, "17", kmip.AttributeRef{Name: "x-a"}) },
		"Activate":         func() error { return c.Activate(ctx, "17") },
		"Revoke": func() error {
			return c.Revoke(ctx, "17", kmip.RevocationReasonCodeUnspecified, "", time.Time{})
		},
		"Destroy": func() error { return c.Destroy(ctx, "17") },
		"Check":   func() error { _, err := c.Check(ctx, "17", kmip.CryptographicUsageMaskEncrypt); return err },
		"Encrypt": func() error { _, err := c.Encrypt(ctx, &kmip.EncryptRequest{UniqueID: "17"}); return err },
		"Decrypt": func() error { _, err := c.Decrypt(ctx, &kmip.DecryptRequest{UniqueID: "17"}); return err },
	} {
		answerID = "17"
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		answerID = "18"
		if _, ok := errors.AsType[*kmip.ProtocolError](call()); !ok {
			t.Errorf("%s: an answer about another object was taken", name)
		}
	}
}

func TestDiscoverVersions(t *testing.T) {
	s := newFake(t, speaks(kmip.V1_4, kmip.V1_2))
	got, err := s.dial(t, 10*time.Second).DiscoverVersions(t.Context(), kmip.V1_4)
	if err != nil || !slices.Equal(got, []kmip.Version{kmip.V1_4, kmip.V1_2}) {
		t.Errorf("%v, %v", got, err)
	}
}
