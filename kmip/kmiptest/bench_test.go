package kmiptest_test

import (
	"context"
	"testing"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// BenchmarkGet fetches an AES-256 key over mutual TLS on loopback, client and server in one process: allocations are
// those of both.
func BenchmarkGet(b *testing.B) {
	r := start(b, kmiptest.Options{})
	c := r.dial(b, kmip.Options{})
	ctx := context.Background()
	id, err := c.CreateKey(ctx, aesKey("bench"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		k, err := c.GetKey(ctx, id.UniqueID)
		if err != nil {
			b.Fatal(err)
		}
		if len(k.Bytes) != 32 {
			b.Fatal("not the key")
		}
	}
}

// BenchmarkAnswer is the server's part without connection.
func BenchmarkAnswer(b *testing.B) {
	r := start(b, kmiptest.Options{})
	id, err := r.dial(b, kmip.Options{}).CreateKey(b.Context(), aesKey("bench"))
	if err != nil {
		b.Fatal(err)
	}
	q := kmip.Request{
		Header: kmip.RequestHeader{Version: kmip.V1_4},
		Items:  []kmip.RequestItem{{Operation: kmip.OperationGet, Payload: &kmip.GetRequest{UniqueID: id.UniqueID}}},
	}
	request := q.Encode()
	b.ReportAllocs()
	for b.Loop() {
		if a := r.Answer(request, "tester"); len(a) < 200 {
			b.Fatalf("an answer of %d bytes", len(a))
		}
	}
}

// TestAGetAllocatesLittle holds client and server together to the goal of the client alone.
func TestAGetAllocatesLittle(t *testing.T) {
	r := start(t, kmiptest.Options{})
	c := r.dial(t, kmip.Options{})
	id, err := c.CreateKey(t.Context(), aesKey("lean"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	allocs := testing.AllocsPerRun(500, func() {
		if _, err := c.GetKey(ctx, id.UniqueID); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 25 {
		t.Errorf("%.0f allocations a Get, at most 25", allocs)
	}
}

func aesKey(name string) kmip.KeySpec {
	return kmip.KeySpec{
		Name: name, Algorithm: kmip.CryptographicAlgorithmAES, Bits: 256,
		Usage: kmip.CryptographicUsageMaskEncrypt | kmip.CryptographicUsageMaskDecrypt,
	}
}
