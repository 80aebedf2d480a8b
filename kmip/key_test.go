package kmip_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"allclear/kmip"
)

// keyStore is a server that makes keys and may lose answers.
type keyStore struct {
	mu        sync.Mutex // guards what follows
	names     []string   // of the keys; the identifier is the index
	lose      bool       // the answer to Create, and hang up
	forget    bool       // what Create asks, and hang up
	double    bool       // make two
	bits      int32      // what GetAttributes tells
	dead      bool       // after Create every connection breaks
	brokeOnce bool
}

func (k *keyStore) answer(_ int, r *kmip.Request) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead && k.brokeOnce {
		return nil
	}
	switch p := r.Items[0].Payload.(type) {
	case *kmip.LocateRequest:
		want, _ := p.Attributes[0].ObjectName()
		var found []string
		for i, name := range k.names {
			if name == want.Value {
				found = append(found, string(rune('0'+i)))
			}
		}
		return good(r, &kmip.LocateResponse{UniqueIDs: found})
	case *kmip.CreateRequest:
		a, _ := kmip.Find(p.Template.Attributes, "Name")
		name, _ := a.ObjectName()
		if !k.forget {
			k.names = append(k.names, name.Value)
		}
		if k.double {
			k.names = append(k.names, name.Value)
		}
		if k.lose || k.forget {
			k.brokeOnce = true
			return nil
		}
		return good(r, &kmip.CreateResponse{ObjectType: kmip.ObjectTypeSymmetricKey, UniqueID: string(rune('0' + len(k.names) - 1))})
	case *kmip.GetAttributesRequest:
		return good(r, &kmip.GetAttributesResponse{UniqueID: p.UniqueID, Attributes: []kmip.Attribute{
			kmip.AlgorithmAttr(kmip.CryptographicAlgorithmAES), kmip.LengthAttr(k.bits),
		}})
	}
	return refused(r, kmip.ResultReasonOperationNotSupported, "no")
}

func TestCreateIsNeverSentTwice(t *testing.T) {
	spec := kmip.KeySpec{
		Name: "allclear-1", Algorithm: kmip.CryptographicAlgorithmAES, Bits: 256,
		Usage: kmip.CryptographicUsageMaskEncrypt | kmip.CryptographicUsageMaskDecrypt,
	}
	for _, tt := range []struct {
		name  string
		store *keyStore
		want  kmip.Created
		fails bool
		found int
		look  bool
	}{
		{"all is well", &keyStore{}, kmip.Created{UniqueID: "0"}, false, 0, false},
		{"the answer is lost", &keyStore{lose: true, bits: 256}, kmip.Created{UniqueID: "0", Adopted: true}, false, 0, false},
		{"the request is lost", &keyStore{forget: true}, kmip.Created{}, true, 0, true},
		{"two were made", &keyStore{lose: true, double: true}, kmip.Created{}, true, 2, true},
		{"another key has the name", &keyStore{lose: true, bits: 128}, kmip.Created{}, true, 1, true},
		{"the server is gone", &keyStore{lose: true, dead: true}, kmip.Created{}, true, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newFake(t, tt.store.answer)
			got, err := s.dial(t, 5*time.Second).CreateKey(t.Context(), spec)
			if got != tt.want || (err != nil) != tt.fails {
				t.Fatalf("got %+v, %v", got, err)
			}
			if n := s.times(kmip.OperationCreate); n != 1 {
				t.Errorf("Create was sent %d times", n)
			}
			if !tt.fails {
				return
			}
			e, ok := errors.AsType[*kmip.CreateError](err)
			if !ok || e.Name != spec.Name || e.Looked != tt.look || len(e.Found) != tt.found {
				t.Errorf("got %T %v", err, err)
			}
			if te, ok := errors.AsType[*kmip.TransportError](err); !ok || te.Op != kmip.OperationCreate || !te.Sent {
				t.Errorf("what broke is not told: %v", err)
			}
		})
	}
}

func TestANameThatIsTakenIsNotUsed(t *testing.T) {
	store := keyStore{names: []string{"other", "allclear-1", "allclear-1"}}
	s := newFake(t, store.answer)
	c := s.dial(t, 5*time.Second)
	_, err := c.CreateKey(t.Context(), kmip.KeySpec{Name: "allclear-1", Algorithm: kmip.CryptographicAlgorithmAES, Bits: 256})
	if e, ok := errors.AsType[*kmip.NameTakenError](err); !ok || !slices.Equal(e.UniqueIDs, []string{"1", "2"}) {
		t.Errorf("got %v", err)
	}
	if _, err := c.CreateKey(t.Context(), kmip.KeySpec{Algorithm: kmip.CryptographicAlgorithmAES}); err == nil {
		t.Error("a key without a name was made")
	}
	if n := s.times(kmip.OperationCreate); n != 0 {
		t.Errorf("Create was sent %d times", n)
	}
}

func TestARefusedCreateIsNotLookedFor(t *testing.T) {
	s := newFake(t, func(_ int, r *kmip.Request) []byte {
		if r.Items[0].Operation == kmip.OperationLocate {
			return good(r, &kmip.LocateResponse{})
		}
		return refused(r, kmip.ResultReasonPermissionDenied, "not you")
	})
	_, err := s.dial(t, 5*time.Second).CreateKey(t.Context(), kmip.KeySpec{Name: "a"})
	if e, ok := errors.AsType[*kmip.Error](err); !ok || e.Reason != kmip.ResultReasonPermissionDenied {
		t.Errorf("got %v", err)
	}
	if n := s.times(kmip.OperationLocate); n != 1 {
		t.Errorf("Locate was sent %d times", n)
	}
}
