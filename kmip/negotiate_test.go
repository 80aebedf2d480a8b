package kmip_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/kmip"
)

// speaks answers like a server that knows the versions and says so to the others.
func speaks(versions ...kmip.Version) func(int, *kmip.Request) []byte {
	return func(_ int, r *kmip.Request) []byte {
		if !slices.Contains(versions, r.Header.Version) {
			r.Header.Version = versions[0]
			return refused(r, kmip.ResultReasonInvalidMessage, "unsupported protocol version")
		}
		if r.Items[0].Operation == kmip.OperationQuery {
			return good(r, &kmip.QueryResponse{})
		}
		if r.Header.Version == kmip.V1_0 {
			return refused(r, kmip.ResultReasonOperationNotSupported, "no such operation")
		}
		return good(r, &kmip.DiscoverVersionsResponse{Versions: versions})
	}
}

func TestTheBestCommonVersionIsSpoken(t *testing.T) {
	hangsUp := func(versions ...kmip.Version) func(int, *kmip.Request) []byte {
		return func(n int, r *kmip.Request) []byte {
			if !slices.Contains(versions, r.Header.Version) {
				return nil
			}
			return speaks(versions...)(n, r)
		}
	}
	for _, tt := range []struct {
		name    string
		answer  func(int, *kmip.Request) []byte
		wanted  []kmip.Version
		want    kmip.Version
		offered []kmip.Version
	}{
		{"all", speaks(kmip.V2_1, kmip.V2_0, kmip.V1_4, kmip.V1_3, kmip.V1_2), nil, kmip.V1_4, nil},
		{"only 1.3 of ours", speaks(kmip.V1_3, kmip.V1_2), nil, kmip.V1_3, nil},
		{"only 2.x", speaks(kmip.V2_1, kmip.V2_0), nil, kmip.V2_1, nil},
		{"only 2.0, and hangs up on others", hangsUp(kmip.V2_0), nil, kmip.V2_0, nil},
		{"one that we do not know beside", speaks(9<<16, kmip.V1_4), nil, kmip.V1_4, nil},
		{"2.1 wanted first", speaks(kmip.V1_4, kmip.V2_1), []kmip.Version{kmip.V2_1, kmip.V1_4}, kmip.V2_1, nil},
		{"up to 1.2", speaks(kmip.V1_2, kmip.V1_1, kmip.V1_0), nil, 0, []kmip.Version{kmip.V1_2, kmip.V1_1, kmip.V1_0}},
		{"only 1.0", speaks(kmip.V1_0), nil, 0, []kmip.Version{kmip.V1_0}},
		{"only 1.0, and hangs up on others", hangsUp(kmip.V1_0), nil, 0, []kmip.Version{kmip.V1_0}},
		{"none that we know", speaks(9 << 16), nil, 0, nil},
		{"1.0 is wanted", speaks(kmip.V1_0), []kmip.Version{kmip.V1_0}, kmip.V1_0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newFake(t, tt.answer)
			c, err := kmip.Dial(t.Context(), s.addr, s.client, kmip.Options{Versions: tt.wanted})
			if tt.want == 0 {
				e, ok := errors.AsType[*kmip.VersionError](err)
				if !ok || !slices.Equal(e.Offered, tt.offered) || !strings.Contains(e.Error(), "wanted is one of 1.4, 1.3, 2.1, 2.0") {
					t.Errorf("got %T %v", err, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Version() != tt.want {
				t.Errorf("speaks %s, want %s", c.Version(), tt.want)
			}
		})
	}
}

func TestAVersionThatNobodyOfferedIsRefused(t *testing.T) {
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		r.Header.Version = kmip.V1_2
		return good(r, &kmip.DiscoverVersionsResponse{Versions: []kmip.Version{kmip.V1_2}})
	})
	_, err := kmip.Dial(t.Context(), s.addr, s.client, kmip.Options{})
	if e, ok := errors.AsType[*kmip.ProtocolError](err); !ok || !strings.Contains(e.Error(), "asked in KMIP 1.4, answered in 1.2") {
		t.Errorf("got %T %v", err, err)
	}
}

func TestASilentServerIsNotAskedInEveryVersion(t *testing.T) {
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		<-t.Context().Done() // which ends before the cleanup that waits for this
		return nil
	})
	_, err := kmip.Dial(t.Context(), s.addr, s.client, kmip.Options{Timeout: 200 * time.Millisecond})
	if e, ok := errors.AsType[*kmip.TransportError](err); !ok || !e.Timeout() {
		t.Errorf("got %T %v", err, err)
	}
	if n := s.times(0); n > 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestDialTellsWhereItFailed(t *testing.T) {
	s := newFake(t, speaks(kmip.V1_4))
	wrong := s.client.Clone()
	wrong.RootCAs = nil
	for name, dial := range map[string]func() error{
		"without TLS": func() error { _, err := kmip.Dial(t.Context(), s.addr, nil, kmip.Options{}); return err },
		"no port":     func() error { _, err := kmip.Dial(t.Context(), "127.0.0.1", s.client, kmip.Options{}); return err },
		"another CA":  func() error { _, err := kmip.Dial(t.Context(), s.addr, wrong, kmip.Options{}); return err },
	} {
		e, ok := errors.AsType[*kmip.TransportError](dial())
		if !ok || e.Op != 0 || !strings.HasPrefix(e.Error(), "connect to key server 127.0.0.1") {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestVersionsAreReadAsNumbers(t *testing.T) {
	for _, s := range []string{"", "1", "1.", ".4", "1.4.1", "a.b", "0.9", "-1.4", "1.65536", "70000.0"} {
		if v, err := kmip.ParseVersion(s); err == nil {
			t.Errorf("%q is %s", s, v)
		}
	}
	v, err := kmip.ParseVersion("1.10")
	if err != nil || v <= kmip.V1_4 || v >= kmip.V2_0 || v.Known() || v.String() != "1.10" {
		t.Errorf("got %s, %v", v, err)
	}
}
