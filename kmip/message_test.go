package kmip_test

import (
	"bytes"
	"testing"
	"time"

	"allclear/kmip"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAGetIsTheSameAfterDecoding(t *testing.T) {
	for _, v := range []kmip.Version{kmip.V1_0, kmip.V1_4, kmip.V2_0, kmip.V2_1} {
		in := kmip.Response{
			Header: kmip.ResponseHeader{Version: v, TimeStamp: time.Unix(1700000000, 0).UTC()},
			Items: []kmip.ResponseItem{{
				Operation: kmip.OperationGet,
				Payload: &kmip.GetResponse{
					UniqueID: "17", Object: kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, bytes.Repeat([]byte{7}, 32)),
				},
			}},
		}
		var out kmip.Response
		if err := out.Decode(in.Encode()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in, out, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("KMIP %s: %s", v, diff)
		}
	}
}
