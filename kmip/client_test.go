package kmip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

func aesKey(id string) *kmip.GetResponse {
	return &kmip.GetResponse{
		UniqueID: id, Object: kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, bytes.Repeat([]byte{7}, 32)),
	}
}

// edited is a good answer to Get, changed.
func edited(edit func(a *kmip.Response)) func(*kmip.Request) []byte {
	return func(r *kmip.Request) []byte {
		a := kmip.Response{
			Header: kmip.ResponseHeader{Version: r.Header.Version, TimeStamp: time.Now()},
			Items:  []kmip.ResponseItem{{Operation: r.Items[0].Operation, Payload: aesKey("17")}},
		}
		edit(&a)
		return a.Encode()
	}
}

// rewritten is a good answer to Get with bytes replaced.
func rewritten(from, to []byte) func(*kmip.Request) []byte {
	return func(r *kmip.Request) []byte { return bytes.Replace(good(r, aesKey("17")), from, to, 1) }
}

func TestMalformedAnswersAreTypedErrors(t *testing.T) {
	key := aesKey("17")
	key.Object.Key.Length = new(int32(128))
	wrapped := aesKey("17")
	wrapped.Object.Key.Wrapping = &kmip.KeyWrappingData{Method: kmip.WrappingMethodEncrypt}
	absent := aesKey("17")
	absent.Object.Key.Value = nil
	for _, tt := range []struct {
		name, want string
		answer     func(r *kmip.Request) []byte
	}{
		{"another version", "asked in KMIP 1.4, answered in 1.0", edited(func(a *kmip.Response) { a.Header.Version = kmip.V1_0 })},
		{"a version of the future", "answered in 3.9", edited(func(a *kmip.Response) { a.Header.Version = 3<<16 | 9 })},
		{"no item", "1 operations asked, 0 answered", edited(func(a *kmip.Response) { a.Items = nil })},
		{"two items", "1 operations asked, 2 answered", edited(func(a *kmip.Response) { a.Items = append(a.Items, a.Items...) })},
		{"another operation", "answered is Destroy", edited(func(a *kmip.Response) {
			a.Items[0].Operation, a.Items[0].Payload = kmip.OperationDestroy, &kmip.DestroyResponse{UniqueID: "17"}
		})},
		{"no operation", "names no operation", edited(func(a *kmip.Response) { a.Items[0].Operation, a.Items[0].Payload = 0, nil })},
		{"another operation's payload", "payload of the answer cannot be read", edited(func(a *kmip.Response) {
			a.Items[0].Payload = &kmip.DestroyResponse{UniqueID: "17"}
		})},
		{"no payload", "has no payload", edited(func(a *kmip.Response) { a.Items[0].Payload = nil })},
		{"another object", `asked about object "17", answered about "18"`, edited(func(a *kmip.Response) { a.Items[0].Payload = aesKey("18") })},
		{"pending", "Operation Pending", edited(func(a *kmip.Response) { a.Items[0].Status = kmip.ResultStatusOperationPending })},
		{"unknown status", "0x00000063", edited(func(a *kmip.Response) { a.Items[0].Status = 99 })},
		{"a request", "Request Message instead of Response Message", func(r *kmip.Request) []byte { return r.Encode() }},
		{"length of 4 GiB", "message of 4294967288 bytes", func(*kmip.Request) []byte { return []byte{0x42, 0, 0x7B, 1, 0xFF, 0xFF, 0xFF, 0xF8} }},
		{"no KMIP at all", "no KMIP message begins like this", func(*kmip.Request) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }},
		{"batch count", "batch count 2147483647", rewritten(
			[]byte{0x42, 0, 0x0D, 2, 0, 0, 0, 4, 0, 0, 0, 1}, []byte{0x42, 0, 0x0D, 2, 0, 0, 0, 4, 0x7F, 0xFF, 0xFF, 0xFF},
		)},
		{"padding", "padding that is not zero", rewritten([]byte("17\x00\x00\x00\x00\x00\x00"), []byte("17\x00\x00\x00\x00\x00\x01"))},
		{"key of another length", "a length of 128 bits and gives 256", func(r *kmip.Request) []byte { return good(r, key) }},
		{"wrapped key", "is wrapped", func(r *kmip.Request) []byte { return good(r, wrapped) }},
		{"no key", "no key value", func(r *kmip.Request) []byte { return good(r, absent) }},
		{"no key but a certificate", "it is a Certificate", func(r *kmip.Request) []byte {
			return good(r, &kmip.GetResponse{UniqueID: "17", Object: kmip.Object{Type: kmip.ObjectTypeCertificate, Data: []byte{1}}})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newFake(t, func(_ int, r *kmip.Request) []byte { return tt.answer(r) })
			_, err := s.dial(t, 10*time.Second).GetKey(t.Context(), "17")
			e, ok := errors.AsType[*kmip.ProtocolError](err)
			if !ok || !strings.Contains(e.Error(), tt.want) || e.Op != kmip.OperationGet {
				t.Errorf("got %T %v, want %q", err, err, tt.want)
			}
			if strings.Contains(e.Error(), "7777") || strings.Contains(e.Error(), "\x07\x07") {
				t.Error("shows the key")
			}
		})
	}
}

func TestARefusalIsToldInTheServersWords(t *testing.T) {
	message := "no\x1b[2Jsuch object " + strings.Repeat("x", 500)
	s := newFake(t, func(_ int, r *kmip.Request) []byte { return refused(r, kmip.ResultReasonItemNotFound, message) })
	c := s.dial(t, 10*time.Second)
	for range 2 { // the connection is still good
		_, err := c.GetKey(t.Context(), "17")
		e, ok := errors.AsType[*kmip.Error](err)
		if !ok || e.Op != kmip.OperationGet || e.Status != kmip.ResultStatusOperationFailed || e.Reason != kmip.ResultReasonItemNotFound {
			t.Fatalf("got %T %v", err, err)
		}
		if !strings.HasPrefix(e.Error(), "Get: server answers Operation Failed, Item Not Found: no [2Jsuch object xxx") || len(e.Message) != 259 {
			t.Errorf("got %d %q", len(e.Message), e.Error())
		}
	}
	if n := s.connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// piped is a client with a server at the other end of a pipe, for a bubble of synthetic time.
func piped(t *testing.T, timeout time.Duration) (*kmip.Client, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	c := kmip.NewClient(here, kmip.Options{Timeout: timeout})
	t.Cleanup(func() {
		c.Close()
		there.Close()
	})
	return c, there
}

func TestASilentServerCostsItsTimeout(t *testing.T) {
	for name, take := range map[string]func(conn net.Conn){
		"reads nothing": func(net.Conn) {},
		"says nothing":  func(conn net.Conn) { _, _ = kmip.ReadMessage(conn, 0) },
		"stops after half": func(conn net.Conn) {
			_, _ = kmip.ReadMessage(conn, 0)
			_, _ = conn.Write([]byte{0x42, 0, 0x7B, 1, 0, 0, 0, 64, 0x42})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, there := piped(t, 3*time.Second)
				go take(there)
				start := time.Now()
				_, err := c.Get(t.Context(), "17")
				e, ok := errors.AsType[*kmip.TransportError](err)
				if !ok || !e.Timeout() {
					t.Errorf("got %T %v", err, err)
				}
				if d := time.Since(start); d != 3*time.Second {
					t.Errorf("took %s", d)
				}
			})
		})
	}
}

func TestTheSoonerDeadlineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, there := piped(t, time.Minute)
		go func() { _, _ = kmip.ReadMessage(there, 0) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Get(ctx, "17")
		if e, ok := errors.AsType[*kmip.TransportError](err); !ok || !e.Timeout() || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestCancellingEndsAnExchangeAndAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, there := piped(t, time.Hour)
		go func() { _, _ = kmip.ReadMessage(there, 0) }()
		why := errors.New("the operator left")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		for range 3 { // one is in the exchange, the others wait for their turn
			wg.Go(func() {
				if _, err := c.Get(ctx, "17"); !errors.Is(err, why) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel(why)
		wg.Wait()
	})
}

func TestWithoutRedialABrokenConnectionIsTheEnd(t *testing.T) {
	c, there := piped(t, time.Second)
	there.Close()
	for range 2 {
		_, err := c.Get(t.Context(), "17")
		if e, ok := errors.AsType[*kmip.TransportError](err); !ok || e.Timeout() {
			t.Errorf("got %v", err)
		}
	}
	if _, err := c.Get(t.Context(), "17"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// hangUpAfterFirst answers each connection once and then hangs up on the next request.
func hangUpAfterFirst(answer func(r *kmip.Request) []byte) func(int, *kmip.Request) []byte {
	var mu sync.Mutex
	seen := map[int]bool{}
	return func(conn int, r *kmip.Request) []byte {
		mu.Lock()
		defer mu.Unlock()
		if seen[conn] {
			return nil
		}
		seen[conn] = true
		return answer(r)
	}
}

func TestOnlyReadingIsAskedAgainOnAnIdleConnectionThatClosed(t *testing.T) {
	s := newFake(t, hangUpAfterFirst(func(r *kmip.Request) []byte {
		if r.Items[0].Operation == kmip.OperationActivate {
			return good(r, &kmip.ActivateResponse{UniqueID: "17"})
		}
		return good(r, aesKey("17"))
	}))
	c := s.dial(t, 10*time.Second)
	for range 3 {
		if _, err := c.GetKey(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.times(kmip.OperationGet); n != 5 {
		t.Errorf("Get was asked %d times, want 3 and 2 again", n)
	}
	err := c.Activate(t.Context(), "17")
	if e, ok := errors.AsType[*kmip.TransportError](err); !ok || !e.Sent || !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if n := s.times(kmip.OperationActivate); n != 1 {
		t.Errorf("Activate was asked %d times", n)
	}
	if err := c.Activate(t.Context(), "17"); err != nil {
		t.Errorf("over a new connection: %v", err)
	}
}

func TestNoRequestHasATimeStampOrReliesOnThePlaceholder(t *testing.T) {
	var bad []string
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		if !r.Header.TimeStamp.IsZero() {
			bad = append(bad, "a time stamp")
		}
		return refused(r, kmip.ResultReasonPermissionDenied, "no")
	})
	c := s.dial(t, 10*time.Second)
	ctx := t.Context()
	calls := map[string]func(id string) error{
		"Get":              func(id string) error { _, err := c.Get(ctx, id); return err },
		"GetAttributes":    func(id string) error { _, err := c.GetAttributes(ctx, id); return err },
		"GetAttributeList": func(id string) error { _, err := c.GetAttributeList(ctx, id); return err },
		"AddAttribute":     func(id string) error { return c.AddAttribute(ctx, id, kmip.TextAttr("x-a", "b")) },
		"ModifyAttribute":  func(id string) error { return c.ModifyAttribute(ctx, id, kmip.TextAttr("x-a", "b")) },
		"DeleteAttribute":  func(id string) error { return c.DeleteAttribute(ctx, id, kmip.AttributeRef{Name: "x-a"}) },
		"Activate":         func(id string) error { return c.Activate(ctx, id) },
		"Revoke": func(id string) error {
			return c.Revoke(ctx, id, kmip.RevocationReasonCodeKeyCompromise, "lost", time.Now())
		},
		"Destroy": func(id string) error { return c.Destroy(ctx, id) },
		"Check":   func(id string) error { _, err := c.Check(ctx, id, kmip.CryptographicUsageMaskEncrypt); return err },
		"ReKey":   func(id string) error { _, err := c.ReKey(ctx, &kmip.ReKeyRequest{UniqueID: id}); return err },
		"Encrypt": func(id string) error { _, err := c.Encrypt(ctx, &kmip.EncryptRequest{UniqueID: id}); return err },
		"Decrypt": func(id string) error { _, err := c.Decrypt(ctx, &kmip.DecryptRequest{UniqueID: id}); return err },
	}
	for name, call := range calls {
		if err := call(""); err == nil || !strings.Contains(err.Error(), "ID placeholder") {
			t.Errorf("%s of nothing: %v", name, err)
		}
		if e, ok := errors.AsType[*kmip.Error](call("17")); !ok || strings.ReplaceAll(e.Op.String(), "-key", "Key") != spaced(name) && e.Op.String() != "Re-key" {
			t.Errorf("%s: %v", name, e)
		}
	}
	if s.times(0) != len(calls) {
		t.Errorf("%d operations were asked, want %d", s.times(0), len(calls))
	}
	if len(bad) > 0 {
		t.Error(bad)
	}
}

// spaced turns GetAttributeList into Get Attribute List.
func spaced(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func TestTheServersClockIsTold(t *testing.T) {
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		a := kmip.Response{
			Header: kmip.ResponseHeader{Version: r.Header.Version, TimeStamp: time.Now().Add(-time.Hour)},
			Items:  []kmip.ResponseItem{{Operation: kmip.OperationGet, Payload: aesKey("17")}},
		}
		return a.Encode()
	})
	c := s.dial(t, 10*time.Second)
	if d, ok := c.ClockOffset(); ok {
		t.Errorf("offset %s before any answer", d)
	}
	if _, err := c.Get(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	if d, ok := c.ClockOffset(); !ok || d < -time.Hour-2*time.Second || d > -time.Hour+2*time.Second {
		t.Errorf("offset %s, %t", d, ok)
	}
}

func TestABatchIsAnsweredItemByItem(t *testing.T) {
	var answer func(r *kmip.Request) []byte
	s := newFake(t, func(_ int, r *kmip.Request) []byte { return answer(r) })
	c := s.dial(t, 10*time.Second)
	ask := []kmip.Payload{&kmip.GetRequest{UniqueID: "17"}, &kmip.DestroyRequest{UniqueID: "18"}}

	answer = func(r *kmip.Request) []byte {
		a := kmip.Response{Header: kmip.ResponseHeader{Version: r.Header.Version, TimeStamp: time.Now()}, Items: []kmip.ResponseItem{
			{Operation: kmip.OperationGet, ID: r.Items[0].ID, Payload: aesKey("17")},
			{Operation: kmip.OperationDestroy, ID: r.Items[1].ID, Status: kmip.ResultStatusOperationFailed, Reason: kmip.ResultReasonPermissionDenied},
		}}
		return a.Encode()
	}
	items, err := c.Do(t.Context(), ask...)
	if err != nil {
		t.Fatal(err)
	}
	if e := items[0].Failure(kmip.V1_4); e != nil {
		t.Error(e)
	}
	if e := items[1].Failure(kmip.V1_4); e == nil || e.Reason != kmip.ResultReasonPermissionDenied {
		t.Errorf("got %v", e)
	}

	answer = func(r *kmip.Request) []byte { // in another order
		r.Items[0].ID, r.Items[1].ID = r.Items[1].ID, r.Items[0].ID
		return good(r, aesKey("17"), &kmip.DestroyResponse{UniqueID: "18"})
	}
	if _, err := c.Do(t.Context(), ask...); !strings.Contains(fmt.Sprint(err), "identifier of its operation") {
		t.Errorf("got %v", err)
	}
	answer = func(r *kmip.Request) []byte { // the message as a whole
		r.Items[0].Operation = 0
		return refused(r, kmip.ResultReasonInvalidMessage, "what?")
	}
	if _, err := c.Do(t.Context(), ask...); err == nil {
		t.Error("a refused message has results")
	} else if e, ok := errors.AsType[*kmip.Error](err); !ok || e.Reason != kmip.ResultReasonInvalidMessage {
		t.Errorf("got %v", err)
	}
	if _, err := c.Do(t.Context()); err == nil {
		t.Error("nothing was asked and answered")
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		return good(r, aesKey(r.Items[0].Payload.(*kmip.GetRequest).UniqueID))
	})
	c := s.dial(t, 10*time.Second)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprint(i)
			if k, err := c.GetKey(t.Context(), id); err != nil || k.UniqueID != id || len(k.Bytes) != 32 {
				t.Errorf("%v, %v", k, err)
			}
		})
	}
	wg.Wait()
}

func TestARequestTooBigIsNotSent(t *testing.T) {
	s := newFake(t, func(_ int, r *kmip.Request) []byte { return good(r, &kmip.RegisterResponse{UniqueID: "17"}) })
	c := s.dial(t, 10*time.Second)
	big := kmip.Secret(kmip.SecretDataTypePassword, make([]byte, ttlv.MaxSize))
	if _, err := c.Register(t.Context(), &kmip.RegisterRequest{Object: big}); err == nil {
		t.Error("was sent")
	}
	small := kmip.Secret(kmip.SecretDataTypePassword, []byte("a"))
	if r, err := c.Register(t.Context(), &kmip.RegisterRequest{Object: small}); err != nil || r.UniqueID != "17" {
		t.Errorf("%v, %v", r, err)
	}
}

func TestAKeyShowsItselfToNobody(t *testing.T) {
	k := kmip.Key{UniqueID: "17", Bytes: []byte("0123456789")}
	j, err := k.Bytes.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	o := aesKey("17")
	o.Object = kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, []byte("0123456789"))
	for _, s := range []string{
		fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %x %q", k, k, k, k.Bytes, k.Bytes, k.Bytes), string(j),
		k.Bytes.LogValue().String(), fmt.Sprintf("%+v", o.Object.Key.Value.Material),
	} {
		if strings.Contains(s, "0123") || strings.Contains(s, "3031") || strings.Contains(s, "48 49") || strings.Contains(s, "0x30") {
			t.Errorf("shows the key: %s", s)
		}
	}
}
