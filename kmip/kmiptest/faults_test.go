package kmiptest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

func makeKey(t testing.TB, c *kmip.Client, name string) string {
	t.Helper()
	made, err := c.CreateKey(t.Context(), kmip.KeySpec{Name: name, Algorithm: kmip.CryptographicAlgorithmAES, Bits: 256})
	if err != nil {
		t.Fatal(err)
	}
	return made.UniqueID
}

// Whatever a server answers, the client ends in an error of a type within its deadline.
func TestEveryMalformedAnswerIsATypedErrorOfTheClient(t *testing.T) {
	for _, kind := range kmiptest.MalformedKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := start(t, kmiptest.Options{})
			c := r.dial(t, kmip.Options{Timeout: 5 * time.Second})
			id := makeKey(t, c, "a key")
			if err := r.Break(kmiptest.Fault{Kind: kind, Operation: "Get", Bytes: 20}); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err := c.GetKey(t.Context(), id)
			if err == nil {
				t.Fatal("the answer was believed")
			}
			_, protocol := errors.AsType[*kmip.ProtocolError](err)
			_, transport := errors.AsType[*kmip.TransportError](err)
			if !protocol && !transport {
				t.Errorf("%T: %v", err, err)
			}
			if transport && kind != kmiptest.Cut {
				t.Errorf("a malformed answer is told as a broken connection: %v", err)
			}
			if d := time.Since(began); d > 4*time.Second {
				t.Errorf("it took %s", d)
			}
			r.ClearFaults()
			if _, err := c.GetKey(t.Context(), id); err != nil {
				t.Errorf("the client does not recover: %v", err)
			}
		})
	}
}

func TestAFaultIsParsedFromText(t *testing.T) {
	f, err := kmiptest.ParseFault("refuse:Create,reason=PermissionDenied,message=not now,times=3")
	want := kmiptest.Fault{Kind: kmiptest.Refuse, Operation: "Create", Reason: "PermissionDenied", Message: "not now", Times: 3}
	if err != nil || f != want {
		t.Errorf("got %+v, %v, want %+v", f, err, want)
	}
	for _, text := range []string{
		"", "nonsense", "slow", "slow,delay=soon", "cut,bytes=-1", "refuse:Nothing", "reset:Get", "refuse,status=Fine",
		"refuse,reason=Fine", "stall,color=red", "stall,times=x",
	} {
		if f, err := kmiptest.ParseFault(text); err == nil {
			t.Errorf("%q is read as %+v", text, f)
		}
	}
}

func TestARefusalIsToldAsAskedFor(t *testing.T) {
	r := start(t, kmiptest.Options{})
	c := r.dial(t, kmip.Options{})
	err := r.Break(kmiptest.Fault{Kind: kmiptest.Refuse, Operation: "Locate", Reason: "PermissionDenied", Message: "no", Times: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Locate(t.Context())
	e, ok := errors.AsType[*kmip.Error](err)
	if !ok || e.Reason != kmip.ResultReasonPermissionDenied || e.Message != "no" || e.Status != kmip.ResultStatusOperationFailed {
		t.Errorf("got %v", err)
	}
	if _, err := c.Locate(t.Context()); err != nil {
		t.Errorf("a fault that strikes once struck twice: %v", err)
	}
}

func TestAMissingKeyIsNotThereAndAWrongOneDiffers(t *testing.T) {
	r := start(t, kmiptest.Options{})
	c := r.dial(t, kmip.Options{})
	id, other := makeKey(t, c, "missed"), makeKey(t, c, "other")
	before, err := c.GetKey(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Break(kmiptest.Fault{Kind: kmiptest.Missing, ID: id}); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetKey(t.Context(), id)
	if e, ok := errors.AsType[*kmip.Error](err); !ok || e.Reason != kmip.ResultReasonItemNotFound {
		t.Errorf("get a missing key: %v", err)
	}
	if found, err := c.Locate(t.Context(), kmip.NameAttr("missed")); err != nil || len(found) != 0 {
		t.Errorf("a missing key is located: %v, %v", found, err)
	}
	if _, err := c.GetKey(t.Context(), other); err != nil {
		t.Errorf("another key is missing too: %v", err)
	}
	r.ClearFaults()
	if err := r.Break(kmiptest.Fault{Kind: kmiptest.WrongKey, ID: id}); err != nil {
		t.Fatal(err)
	}
	wrong, err := c.GetKey(t.Context(), id)
	if err != nil || len(wrong.Bytes) != len(before.Bytes) || slices.Equal(wrong.Bytes, before.Bytes) {
		t.Errorf("the wrong key: %v", err)
	}
	r.ClearFaults()
	if err := r.Overwrite(id, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	if key, err := c.GetKey(t.Context(), id); err != nil || !slices.Equal(key.Bytes, make([]byte, 32)) {
		t.Errorf("an overwritten key: %v", err)
	}
	if err := r.Lose(id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetKey(t.Context(), id); err == nil {
		t.Error("a lost key was given")
	}
	if err := r.Lose(id); err == nil {
		t.Error("a key was lost twice")
	}
}

// A Create whose answer is lost was done: the client finds its key again and makes no second one.
func TestALostAnswerLeavesOneKey(t *testing.T) {
	r := start(t, kmiptest.Options{})
	c := r.dial(t, kmip.Options{})
	if err := r.Break(kmiptest.Fault{Kind: kmiptest.LoseAnswer, Operation: "Create", Times: 1}); err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateKey(t.Context(), kmip.KeySpec{Name: "once", Algorithm: kmip.CryptographicAlgorithmAES, Bits: 256})
	if err != nil || !made.Adopted {
		t.Fatalf("%+v, %v", made, err)
	}
	if n := len(r.Objects()); n != 1 || r.Seen().Operations["Create"] != 1 {
		t.Errorf("%d objects after %d Creates", n, r.Seen().Operations["Create"])
	}
}

func TestStallsAndCutsEndWithinTheClientsDeadline(t *testing.T) {
	for _, f := range []kmiptest.Fault{
		{Kind: kmiptest.Stall},
		{Kind: kmiptest.Hangup},
		{Kind: kmiptest.Slow, Delay: time.Minute},
		{Kind: kmiptest.Trickle, Delay: 100 * time.Millisecond},
		{Kind: kmiptest.Reset},
		{Kind: kmiptest.StallHandshake},
	} {
		t.Run(string(f.Kind), func(t *testing.T) {
			t.Parallel()
			r := start(t, kmiptest.Options{})
			if err := r.Break(f); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			began := time.Now()
			c, err := kmip.Dial(ctx, r.Address(), r.client(t, "tester"), kmip.Options{Timeout: 300 * time.Millisecond})
			if err == nil {
				_ = c.Close()
				t.Fatal("the client is content")
			}
			if _, ok := errors.AsType[*kmip.TransportError](err); !ok {
				t.Errorf("%T: %v", err, err)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// A server whose faults make connections wait still ends at once.
func TestCloseEndsWhatAFaultMadeWait(t *testing.T) {
	r := start(t, kmiptest.Options{})
	if err := r.Break(kmiptest.Fault{Kind: kmiptest.Stall}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := kmip.Dial(t.Context(), r.Address(), r.client(t, "tester"), kmip.Options{Timeout: time.Minute})
		ended <- err
	}()
	eventually(t, func() bool { return r.Seen().Requests > 0 })
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the client was answered")
	}
}
