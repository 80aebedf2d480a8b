package kmiptest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

func reasonOf(err error) kmip.ResultReason {
	if e, ok := errors.AsType[*kmip.Error](err); ok {
		return e.Reason
	}
	return 0
}

func TestAKeyLivesInEveryVersion(t *testing.T) {
	r := start(t, kmiptest.Options{})
	for _, v := range []kmip.Version{kmip.V1_0, kmip.V1_1, kmip.V1_2, kmip.V1_3, kmip.V1_4, kmip.V2_0, kmip.V2_1} {
		t.Run(v.String(), func(t *testing.T) {
			c := r.dial(t, kmip.Options{Versions: []kmip.Version{v}})
			if c.Version() != v {
				t.Errorf("the client speaks %s", c.Version())
			}
			exercise(t, c, "key of "+v.String())
		})
	}
}

func TestOnlyTheOfferedVersionsAreSpoken(t *testing.T) {
	r := start(t, kmiptest.Options{Versions: []kmip.Version{kmip.V1_1, kmip.V1_2}})
	_, err := kmip.Dial(t.Context(), r.Address(), r.client(t, "tester"), kmip.Options{Versions: []kmip.Version{kmip.V1_4, kmip.V1_3}})
	e, ok := errors.AsType[*kmip.VersionError](err)
	if !ok || !slices.Contains(e.Offered, kmip.V1_2) || slices.Contains(e.Offered, kmip.V1_3) {
		t.Errorf("got %v", err)
	}
	if err := r.Set(func(o *kmiptest.Options) { o.Versions = nil }); err != nil {
		t.Fatal(err)
	}
	if c := r.dial(t, kmip.Options{}); c.Version() != kmip.V1_4 {
		t.Errorf("the client speaks %s", c.Version())
	}
}

func TestAServerTellsItsVendorRoleAndOperations(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    kmiptest.Options
		want string
	}{
		{"stand-alone", kmiptest.Options{Vendor: "IBM SKLM 4.1.1.0"}, "IBM SKLM 4.1.1.0"},
		{"clone", kmiptest.Options{Vendor: "IBM GKLM 4.2", Role: kmiptest.Clone}, "IBM GKLM 4.2 ServerType=clone"},
		{
			"master",
			kmiptest.Options{Vendor: "maker", Role: kmiptest.Master, RolePlace: kmiptest.InServerInformation},
			"ServerType=master",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Operations = []kmip.Operation{kmip.OperationQuery, kmip.OperationDiscoverVersions, kmip.OperationGet}
			r := start(t, tt.o)
			c := r.dial(t, kmip.Options{})
			q, err := c.Query(t.Context(), kmip.QueryFunctionQueryOperations, kmip.QueryFunctionQueryServerInformation, kmip.QueryFunctionQueryObjects)
			if err != nil {
				t.Fatal(err)
			}
			if texts := append(q.ServerTexts(), q.VendorIdentification); !slices.Contains(texts, tt.want) {
				t.Errorf("it tells %q, want %q", texts, tt.want)
			}
			if len(q.Operations) != 3 || !q.Supports(kmip.OperationGet) || len(q.ObjectTypes) == 0 {
				t.Errorf("operations %v, objects %v", q.Operations, q.ObjectTypes)
			}
			if _, err := c.Locate(t.Context()); reasonOf(err) != kmip.ResultReasonOperationNotSupported {
				t.Errorf("an operation it has not: %v", err)
			}
		})
	}
}

func TestAClientDoesWhatItIsPermitted(t *testing.T) {
	var mu sync.Mutex
	rights := map[string]kmiptest.Permission{"tester": kmiptest.Pending}
	r := start(t, kmiptest.Options{Permission: func(cn string) kmiptest.Permission {
		mu.Lock()
		defer mu.Unlock()
		return rights[cn]
	}})
	c := r.dial(t, kmip.Options{})
	if _, err := c.Locate(t.Context()); reasonOf(err) != kmip.ResultReasonPermissionDenied {
		t.Errorf("pending: %v", err)
	}
	mu.Lock()
	rights["tester"] = kmiptest.Accepted
	mu.Unlock()
	if _, err := c.Locate(t.Context()); err != nil {
		t.Errorf("accepted: %v", err)
	}
	mu.Lock()
	rights["tester"] = kmiptest.Denied
	mu.Unlock()
	if _, err := c.Locate(t.Context()); reasonOf(err) != kmip.ResultReasonAuthenticationNotSuccessful {
		t.Errorf("denied: %v", err)
	}
}

func TestACloneFollowsItsMasterWithALag(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	master := start(t, kmiptest.Options{Role: kmiptest.Master, Now: clock})
	m := master.dial(t, kmip.Options{})
	old := makeKey(t, m, "before")
	clone := start(t, kmiptest.Options{Role: kmiptest.Clone, Now: clock})
	way, err := clone.Follow(master.Server, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c := clone.dial(t, kmip.Options{})
	if _, err := c.GetKey(t.Context(), old); reasonOf(err) != kmip.ResultReasonItemNotFound {
		t.Errorf("at once: %v", err)
	}
	pass(time.Minute)
	key, err := c.GetKey(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := m.GetKey(t.Context(), old); err != nil || !bytes.Equal(same.Bytes, key.Bytes) {
		t.Errorf("clone and master differ: %v", err)
	}
	if err := c.Destroy(t.Context(), old); reasonOf(err) != kmip.ResultReasonPermissionDenied {
		t.Errorf("a clone changed something: %v", err)
	}

	pass(time.Minute) // the first Get on the master was a change too: the key is no longer fresh
	held := makeKey(t, m, "held")
	way.Hold()
	pass(time.Hour)
	if _, err := c.GetKey(t.Context(), held); err == nil {
		t.Error("replication is held, and the key came")
	}
	way.Release()
	if _, err := c.GetKey(t.Context(), held); err != nil || way.Pending() != 0 {
		t.Errorf("released, %d pending: %v", way.Pending(), err)
	}

	last := makeKey(t, m, "last words")
	pass(30 * time.Second)
	master.Down()
	pass(time.Hour)
	if _, err := c.GetKey(t.Context(), last); err == nil {
		t.Error("a master that is down passed on a key")
	}
	if err := master.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetKey(t.Context(), last); err != nil {
		t.Errorf("the master is up again: %v", err)
	}
	if _, err := clone.Follow(clone.Server, 0); err == nil {
		t.Error("a server follows itself")
	}
}

func TestDownRefusesAndUpServesOnTheSamePort(t *testing.T) {
	r := start(t, kmiptest.Options{})
	c := r.dial(t, kmip.Options{Timeout: 5 * time.Second})
	id := makeKey(t, c, "kept")
	address := r.Address()
	r.Down()
	if _, err := c.GetKey(t.Context(), id); err == nil {
		t.Error("a server that is down answered")
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("a server that is down accepts connections")
	}
	if err := r.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetKey(t.Context(), id); err != nil || r.Address() != address {
		t.Errorf("up again at %s: %v", r.Address(), err)
	}
}

func TestObjectsOutliveTheServerInAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	first := start(t, kmiptest.Options{Dir: dir})
	c := first.dial(t, kmip.Options{})
	kept, gone := makeKey(t, c, "kept"), makeKey(t, c, "gone")
	if err := c.AddAttribute(t.Context(), kept, kmip.TextAttr("x-owner", "test")); err != nil {
		t.Fatal(err)
	}
	if err := c.Activate(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if err := c.Destroy(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	before, err := c.GetKey(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	attrs, err := c.GetAttributes(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "half.ttlv.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := start(t, kmiptest.Options{Dir: dir})
	c = second.dial(t, kmip.Options{})
	after, err := c.GetKey(t.Context(), kept)
	if err != nil || !bytes.Equal(before.Bytes, after.Bytes) {
		t.Errorf("the key after a restart: %v", err)
	}
	again, err := c.GetAttributes(t.Context(), kept)
	if err != nil || len(again) != len(attrs) {
		t.Errorf("%d attributes, there were %d: %v", len(again), len(attrs), err)
	}
	if o, ok := second.Find(gone); !ok || o.State != kmip.StateDestroyed || o.Material != nil {
		t.Errorf("the destroyed key: %+v", o)
	}
	if _, err := os.Stat(filepath.Join(dir, "half.ttlv.new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished object is left: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "00.ttlv"), []byte("no object"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := issue(t, kmiptest.CertRequest{})
	if s, err := kmiptest.Start(t.Context(), kmiptest.Options{Dir: dir, Certificate: id.TLS}); err == nil {
		_ = s.Close()
		t.Error("a damaged object was passed over in silence")
	} else if !strings.Contains(err.Error(), "00.ttlv") {
		t.Errorf("the damaged file is not named: %v", err)
	}
}

func TestABatchIsUndoneWhenAnItemFails(t *testing.T) {
	r := start(t, kmiptest.Options{})
	req := kmip.Request{
		Header: kmip.RequestHeader{Version: kmip.V1_4, BatchErrorContinue: kmip.BatchErrorContinuationOptionUndo},
		Items: []kmip.RequestItem{
			{ID: []byte{1}, Payload: createRequest("undone")},
			{ID: []byte{2}, Payload: &kmip.ActivateRequest{}},
			{ID: []byte{3}, Payload: &kmip.GetRequest{UniqueID: "nothing"}},
			{ID: []byte{4}, Payload: &kmip.GetRequest{}},
		},
	}
	var resp kmip.Response
	if err := resp.Decode(r.Answer(req.Encode(), "tester")); err != nil {
		t.Fatal(err)
	}
	var got []kmip.ResultStatus
	for _, it := range resp.Items {
		got = append(got, it.Status)
	}
	want := []kmip.ResultStatus{kmip.ResultStatusOperationUndone, kmip.ResultStatusOperationUndone, kmip.ResultStatusOperationFailed}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if left := r.Objects(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func createRequest(name string) *kmip.CreateRequest {
	return &kmip.CreateRequest{ObjectType: kmip.ObjectTypeSymmetricKey, Template: kmip.Attributes(
		kmip.NameAttr(name), kmip.AlgorithmAttr(kmip.CryptographicAlgorithmAES), kmip.LengthAttr(256),
		kmip.UsageAttr(kmip.CryptographicUsageMaskEncrypt))}
}

// Clients that send what they should not, or nothing, are cut off; others do not notice.
func TestHostileClientsCannotStopTheServer(t *testing.T) {
	r := start(t, kmiptest.Options{Limits: kmiptest.Limits{
		Connections: 4, Handshake: 200 * time.Millisecond, Read: 200 * time.Millisecond, Idle: 200 * time.Millisecond,
	}})
	send := func(t *testing.T, b []byte) {
		t.Helper()
		conn, err := tls.Dial("tcp", r.Address(), r.client(t, "enemy"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection was left open")
		}
	}
	for name, b := range map[string][]byte{
		"no TTLV":     []byte("GET / HTTP/1.1\r\n\r\n"),
		"huge length": {0x42, 0x00, 0x78, 0x01, 0x7F, 0xFF, 0xFF, 0xF8},
		"odd length":  {0x42, 0x00, 0x78, 0x01, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0},
		"cut short":   {0x42, 0x00, 0x78, 0x01, 0, 0, 0x10, 0, 0x42},
		"nothing":     {},
		"empty":       {0x42, 0x00, 0x78, 0x01, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) { send(t, b) })
	}
	t.Run("no handshake", func(t *testing.T) {
		var held []net.Conn
		for range 6 { // more than there are places
			conn, err := net.Dial("tcp", r.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			held = append(held, conn)
		}
		for _, conn := range held {
			if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a connection without handshake was left open")
			}
		}
		if r.Seen().Refused == 0 {
			t.Error("all found a place")
		}
	})
	c := r.dial(t, kmip.Options{})
	makeKey(t, c, "well")
}

// Who is not let in by TLS is not let in: no certificate, one of another authority.
func TestClientsNeedACertificateOfTheAuthority(t *testing.T) {
	r := start(t, kmiptest.Options{})
	other, err := kmiptest.NewPKI("another authority")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Issue(kmiptest.CertRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for name, certs := range map[string][]tls.Certificate{"none": nil, "foreign": {foreign.TLS}} {
		config := r.client(t, "x")
		config.Certificates = certs
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if c, err := kmip.Dial(ctx, r.Address(), config, kmip.Options{}); err == nil {
			_ = c.Close()
			t.Errorf("%s: let in", name)
		}
		cancel()
	}
}

func TestOptionsThatMakeNoServerAreRefused(t *testing.T) {
	id := issue(t, kmiptest.CertRequest{}).TLS
	for name, o := range map[string]kmiptest.Options{
		"no certificate": {}, "role": {Certificate: id, Role: "servant"}, "place": {Certificate: id, RolePlace: "moon"},
		"no version": {Certificate: id, Versions: []kmip.Version{}}, "address": {Certificate: id, Address: "127.0.0.1:http:"},
	} {
		if s, err := kmiptest.Start(t.Context(), o); err == nil {
			_ = s.Close()
			t.Errorf("%s: it runs", name)
		}
	}
}
