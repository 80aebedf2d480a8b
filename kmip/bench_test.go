package kmip_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"allclear/kmip"
)

// BenchmarkGet fetches an AES-256 key over mutual TLS on loopback. The server repeats bytes and allocates nothing, so
// that allocations are the client's.
func BenchmarkGet(b *testing.B) {
	server, client := certificates(b)
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	r := kmip.Request{Header: kmip.RequestHeader{Version: kmip.V1_4}, Items: []kmip.RequestItem{{Operation: kmip.OperationGet}}}
	answer := good(&r, &kmip.GetResponse{
		UniqueID: "17", Object: kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, bytes.Repeat([]byte{7}, 32)),
	})
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}()
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: client}).DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	c := kmip.NewClient(conn, kmip.Options{Timeout: time.Minute})
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for b.Loop() {
		k, err := c.GetKey(ctx, "17")
		if err != nil {
			b.Fatal(err)
		}
		if len(k.Bytes) != 32 {
			b.Fatal("not the key")
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	r := kmip.Request{Header: kmip.RequestHeader{Version: kmip.V1_4}, Items: []kmip.RequestItem{{Operation: kmip.OperationGet}}}
	answer := good(&r, &kmip.GetResponse{
		UniqueID: "17", Object: kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, bytes.Repeat([]byte{7}, 32)),
	})
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		var m kmip.Response
		if err := m.Decode(answer); err != nil {
			b.Fatal(err)
		}
	}
}
