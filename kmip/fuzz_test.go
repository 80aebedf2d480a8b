package kmip_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"reflect"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/internal/oasis"
	"allclear/kmip/ttlv"
)

// seeds are messages of many kinds.
func seeds(f *testing.F) (requests, responses [][]byte) {
	f.Helper()
	cases, err := oasis.Folder("testdata/oasis-1.0")
	if err != nil {
		f.Fatal(err)
	}
	vs := &oasis.Vars{Now: time.Unix(0, 0)}
	for i := 0; i < len(cases); i += 9 {
		for _, s := range cases[i].Steps {
			q, errQ := s.Request.TTLV(vs)
			a, errA := s.Response.TTLV(vs)
			if errQ != nil || errA != nil {
				f.Fatal(errQ, errA)
			}
			requests, responses = append(requests, q), append(responses, a)
		}
	}
	for _, pair := range payloads() {
		fill(reflect.ValueOf(pair[0]).Elem())
		fill(reflect.ValueOf(pair[1]).Elem())
		q := kmip.Request{Header: kmip.RequestHeader{Version: kmip.V2_1}, Items: []kmip.RequestItem{{Payload: pair[0]}}}
		a := kmip.Response{
			Header: kmip.ResponseHeader{Version: kmip.V2_1, TimeStamp: time.Unix(1, 0)},
			Items:  []kmip.ResponseItem{{Operation: pair[1].Operation(), Payload: pair[1]}},
		}
		requests, responses = append(requests, q.Encode()), append(responses, a.Encode())
	}
	return requests, responses
}

// FuzzMessage: what is read as a message can be written, and what is written is read the same.
func FuzzMessage(f *testing.F) {
	requests, responses := seeds(f)
	for _, b := range append(requests, responses...) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q kmip.Request
		if err := q.Decode(b); err == nil && !spoilt(q.Items) {
			first := q.Encode()
			var again kmip.Request
			if err := again.Decode(first); err != nil {
				t.Fatalf("%v: %x", err, first)
			}
			if second := again.Encode(); !bytes.Equal(first, second) {
				t.Fatalf("%x became %x", first, second)
			}
		}
		var a kmip.Response
		if err := a.Decode(b); err == nil {
			for _, it := range a.Items {
				if it.Err != nil {
					return
				}
			}
			first := a.Encode()
			var again kmip.Response
			if err := again.Decode(first); err != nil {
				t.Fatalf("%v: %x", err, first)
			}
			if second := again.Encode(); !bytes.Equal(first, second) {
				t.Fatalf("%x became %x", first, second)
			}
		}
	})
}

func spoilt(items []kmip.RequestItem) bool {
	for _, it := range items {
		if it.Err != nil {
			return true
		}
	}
	return false
}

// FuzzAnswer: a client that gets any bytes for an answer returns in time, with a result or an error of a known type.
func FuzzAnswer(f *testing.F) {
	_, responses := seeds(f)
	for _, b := range responses {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer there.Close()
			if _, err := kmip.ReadMessage(there, 0); err == nil {
				_, _ = there.Write(b) // the client may hang up before all is written
			}
		}()
		c := kmip.NewClient(here, kmip.Options{Timeout: 5 * time.Second})
		_, err := c.GetKey(context.Background(), "17")
		c.Close()
		<-done
		if err != nil && !typed(err) {
			t.Errorf("%T: %v", err, err)
		}
	})
}

func typed(err error) bool {
	_, refused := errors.AsType[*kmip.Error](err)
	_, malformed := errors.AsType[*kmip.ProtocolError](err)
	broke, transport := errors.AsType[*kmip.TransportError](err)
	return refused || malformed || transport && !broke.Timeout()
}

// FuzzReadMessage: no more is taken from a stream than one message, and it is what Check sees.
func FuzzReadMessage(f *testing.F) {
	requests, _ := seeds(f)
	f.Add(requests[0])
	f.Add(append(requests[1], 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := kmip.ReadMessage(bytes.NewReader(b), 4096)
		if err != nil {
			return
		}
		if len(got) > 4096 || !bytes.HasPrefix(b, got) {
			t.Fatalf("read %x of %x", got, b)
		}
		if rest := ttlv.Check(b); rest == nil && len(got) != len(b) {
			t.Fatalf("one item of %d bytes, read %d", len(b), len(got))
		}
	})
}
