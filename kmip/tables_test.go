package kmip_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

type field struct {
	Tag      string
	Object   string // "any": an object structure
	Required string
	Many     bool
}

type operation struct{ Request, Response []field }

type tables struct {
	Operations       map[string]operation
	ServerOperations map[string]operation `json:"server_operations"`
	Structures       []struct {
		Tag, Variant string
		Fields       []field
	}
}

func readTables(t *testing.T, version string) (tt tables) {
	t.Helper()
	b, err := os.ReadFile("testdata/kmip-tables-" + version + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &tt); err != nil {
		t.Fatal(err)
	}
	return tt
}

// payloads are all that have a struct, request and response.
func payloads() map[string][2]kmip.Payload {
	return map[string][2]kmip.Payload{
		"Activate":         {new(kmip.ActivateRequest), new(kmip.ActivateResponse)},
		"AddAttribute":     {new(kmip.AddAttributeRequest), new(kmip.AddAttributeResponse)},
		"Check":            {new(kmip.CheckRequest), new(kmip.CheckResponse)},
		"Create":           {new(kmip.CreateRequest), new(kmip.CreateResponse)},
		"CreateKeyPair":    {new(kmip.CreateKeyPairRequest), new(kmip.CreateKeyPairResponse)},
		"Decrypt":          {new(kmip.DecryptRequest), new(kmip.DecryptResponse)},
		"DeleteAttribute":  {new(kmip.DeleteAttributeRequest), new(kmip.DeleteAttributeResponse)},
		"Destroy":          {new(kmip.DestroyRequest), new(kmip.DestroyResponse)},
		"DiscoverVersions": {new(kmip.DiscoverVersionsRequest), new(kmip.DiscoverVersionsResponse)},
		"Encrypt":          {new(kmip.EncryptRequest), new(kmip.EncryptResponse)},
		"Get":              {new(kmip.GetRequest), new(kmip.GetResponse)},
		"GetAttributeList": {new(kmip.GetAttributeListRequest), new(kmip.GetAttributeListResponse)},
		"GetAttributes":    {new(kmip.GetAttributesRequest), new(kmip.GetAttributesResponse)},
		"Locate":           {new(kmip.LocateRequest), new(kmip.LocateResponse)},
		"ModifyAttribute":  {new(kmip.ModifyAttributeRequest), new(kmip.ModifyAttributeResponse)},
		"Query":            {new(kmip.QueryRequest), new(kmip.QueryResponse)},
		"ReKey":            {new(kmip.ReKeyRequest), new(kmip.ReKeyResponse)},
		"Register":         {new(kmip.RegisterRequest), new(kmip.RegisterResponse)},
		"Revoke":           {new(kmip.RevokeRequest), new(kmip.RevokeResponse)},
	}
}

// fill sets every field of v to something.
func fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *ttlv.Value:
		*x = ttlv.StructureValue(nil)
		return
	case *kmip.Attribute:
		*x = kmip.TextAttr("x-filled", "a")
		x.Index = new(int32(1))
		return
	case *kmip.AttributeRef:
		x.Name = "x-filled"
		return
	case *kmip.Version:
		*x = kmip.V1_3
		return
	case *time.Time:
		*x = time.Unix(1700000000, 0).UTC()
		return
	case *kmip.Object:
		*x = kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, []byte{1, 2})
		fill(reflect.ValueOf(x.Key).Elem())
		x.Key.Value.Wrapped = nil
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("a")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint32, reflect.Uint8:
		v.SetUint(1)
	}
}

// tagsIn are the tags of the items in a structure, in order; repeated ones once.
func tagsIn(b []byte) (ids []string, bodies []ttlv.Value) {
	var d ttlv.Decoder
	for d.Reset(b); d.More(); {
		tag, v := d.Any()
		if len(ids) == 0 || ids[len(ids)-1] != tag.ID() {
			ids, bodies = append(ids, tag.ID()), append(bodies, v)
		}
	}
	return ids, bodies
}

// Payloads with every field set must have all fields of the tables, in their order, and no other.
func TestPayloadsHaveTheFieldsOfTheTables(t *testing.T) {
	for v, name := range map[kmip.Version]string{kmip.V1_4: "1.4", kmip.V2_1: "2.1"} {
		tt := readTables(t, name)
		for op, pair := range payloads() {
			want, ok := tt.Operations[op]
			if !ok {
				want = tt.ServerOperations[op]
			}
			for i, fields := range [][]field{want.Request, want.Response} {
				t.Run(name+"/"+op+[]string{"/request", "/response"}[i], func(t *testing.T) {
					p := pair[i]
					if p.Operation().String() == "" || len(fields) == 0 {
						t.Fatal("no such operation in the tables")
					}
					fill(reflect.ValueOf(p).Elem())
					compare(t, tt, v, payloadOf(t, v, p, i == 1), fields)
				})
			}
		}
	}
}

// payloadOf encodes and decodes a message with the payload and answers its bytes.
func payloadOf(t *testing.T, v kmip.Version, p kmip.Payload, response bool) []byte {
	t.Helper()
	var b, again []byte
	outer, inner := ttlv.TagRequestMessage, ttlv.TagRequestPayload
	if response {
		m := kmip.Response{
			Header: kmip.ResponseHeader{Version: v, TimeStamp: time.Unix(1, 0)},
			Items:  []kmip.ResponseItem{{Operation: p.Operation(), Payload: p}},
		}
		b = m.Encode()
		if err := m.Decode(b); err != nil || m.Items[0].Err != nil {
			t.Fatal(err, m.Items)
		}
		again = m.Encode()
		outer, inner = ttlv.TagResponseMessage, ttlv.TagResponsePayload
	} else {
		m := kmip.Request{Header: kmip.RequestHeader{Version: v}, Items: []kmip.RequestItem{{Payload: p}}}
		b = m.Encode()
		if err := m.Decode(b); err != nil || m.Items[0].Err != nil {
			t.Fatal(err, m.Items)
		}
		again = m.Encode()
	}
	if string(b) != string(again) {
		t.Fatalf("decoded and encoded again it is\n%x, not\n%x", again, b)
	}
	var d ttlv.Decoder
	d.Reset(b)
	d.Enter(outer)
	d.Any()
	d.Enter(ttlv.TagBatchItem)
	for d.More() && !d.Is(inner) {
		d.Any()
	}
	return d.Value(inner).Body
}

// compare holds the items of a structure, and of those in it that the tables describe once, against the tables.
func compare(t *testing.T, tt tables, v kmip.Version, body []byte, fields []field) {
	t.Helper()
	var want []string
	for _, f := range fields {
		switch {
		case f.Object != "":
			want = append(want, "SymmetricKey")
		case f.Tag != "":
			want = append(want, f.Tag)
		}
	}
	got, bodies := tagsIn(body)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for i, tag := range got {
		var found [][]field
		for _, s := range tt.Structures {
			if s.Tag == tag && len(s.Fields) > 0 && s.Fields[0].Tag != "" {
				found = append(found, s.Fields)
			}
		}
		// Structures that this package keeps as they are were filled with nothing.
		if len(found) == 1 && len(bodies[i].Body) > 0 {
			compare(t, tt, v, bodies[i].Body, found[0])
		}
	}
}

func TestEveryOperationHasItsPayloads(t *testing.T) {
	for name, pair := range payloads() {
		for i, p := range pair {
			fill(reflect.ValueOf(p).Elem())
			for _, v := range []kmip.Version{kmip.V1_0, kmip.V2_1} {
				m := kmip.Response{
					Header: kmip.ResponseHeader{Version: v, TimeStamp: time.Unix(1, 0)},
					Items:  []kmip.ResponseItem{{Operation: p.Operation(), Payload: p}},
				}
				r := kmip.Request{Header: kmip.RequestHeader{Version: v}, Items: []kmip.RequestItem{{Payload: p}}}
				var got kmip.Payload
				if i == 0 {
					if err := r.Decode(r.Encode()); err != nil {
						t.Fatal(name, err)
					}
					got = r.Items[0].Payload
				} else {
					if err := m.Decode(m.Encode()); err != nil {
						t.Fatal(name, err)
					}
					got = m.Items[0].Payload
				}
				if reflect.TypeOf(got) != reflect.TypeOf(p) {
					t.Errorf("%s in KMIP %s is read as %T", name, v, got)
				}
			}
		}
	}
}

// The headers and items with everything set, against the tables.
func TestMessagesHaveTheFieldsOfTheTables(t *testing.T) {
	for v, name := range map[kmip.Version]string{kmip.V1_4: "1.4", kmip.V2_1: "2.1"} {
		tt := readTables(t, name)
		var request kmip.Request
		request.Header.Version = v
		request.Items = []kmip.RequestItem{{ID: []byte{1}, Payload: &kmip.ActivateRequest{UniqueID: "a"}}}
		if v == kmip.V2_1 {
			request.Items[0].Ephemeral = new(true)
		}
		var response kmip.Response
		fill(reflect.ValueOf(&response.Header).Elem())
		response.Header.Version = v
		if v == kmip.V1_4 {
			response.Header.HashedPassword = nil
		}
		response.Items = []kmip.ResponseItem{{
			Operation: kmip.OperationActivate, ID: []byte{1}, Reason: 1, Message: "a", Asynchronous: []byte{1},
			Payload: &kmip.ActivateResponse{UniqueID: "a"},
		}}
		for _, x := range []*[]kmip.MessageExtension{&request.Items[0].Extensions, &response.Items[0].Extensions} {
			*x = []kmip.MessageExtension{{Vendor: "a", Critical: true, Value: ttlv.StructureValue(nil)}}
		}
		h := &request.Header
		h.MaximumResponseSize, h.ClientCorrelation, h.ServerCorrelation = new(int32(1)), "a", "b"
		h.Asynchronous, h.AttestationCapable, h.BatchOrder = kmip.AsynchronousIndicatorOptional, new(true), new(false)
		h.AttestationTypes = []kmip.AttestationType{1}
		h.Credentials = []kmip.Credential{{Type: 1, Value: ttlv.StructureValue(nil)}}
		h.BatchErrorContinue, h.TimeStamp = 1, time.Unix(1, 0).UTC()

		var r kmip.Request
		b := request.Encode()
		if err := r.Decode(b); err != nil || string(r.Encode()) != string(b) {
			t.Errorf("KMIP %s: request is another after decoding, %v", name, err)
		}
		compareMessage(t, tt, v, b, "Request")
		var a kmip.Response
		b = response.Encode()
		if err := a.Decode(b); err != nil || string(a.Encode()) != string(b) {
			t.Errorf("KMIP %s: response is another after decoding, %v", name, err)
		}
		compareMessage(t, tt, v, b, "Response")
	}
}

func compareMessage(t *testing.T, tt tables, v kmip.Version, b []byte, variant string) {
	t.Helper()
	var d ttlv.Decoder
	d.Reset(b)
	_, message := d.Any()
	compared := 0
	for _, s := range tt.Structures {
		if s.Variant != variant && s.Tag != variant+"Header" {
			continue
		}
		for d.Reset(message.Body); d.More(); {
			if tag, part := d.Any(); tag.ID() == s.Tag {
				compared++
				got, _ := tagsIn(part.Body)
				var want []string
				for _, f := range s.Fields {
					want = append(want, f.Tag)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: got %v, want %v", s.Tag, got, want)
				}
			}
		}
	}
	if compared != 2 {
		t.Errorf("%d structures compared, header and item must be", compared)
	}
}
