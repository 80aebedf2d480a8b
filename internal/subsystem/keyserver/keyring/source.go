package keyring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"allclear/internal/envelope"
)

// Source gets keys from key servers and keeps each for a grace time in locked memory, for when no server can be asked.
// It is the envelope.KeySource of kind kmip.
type Source struct {
	groups Groups
	now    func() time.Time
	wake   chan struct{} // tells Run to look when the next key is over

	mu    sync.Mutex // guards the fields below; held over no call of a server
	grace time.Duration
	held  map[string]heldKey
}

// heldKey is a key in memory.
type heldKey struct {
	key   *envelope.Secret
	given time.Time // when a server last gave it
}

// NewSource answers a source. A key is used from memory for at most grace after a server gave it; 0 means never.
func NewSource(groups Groups, grace time.Duration, now func() time.Time) *Source {
	return &Source{groups: groups, grace: grace, now: now, held: map[string]heldKey{}, wake: make(chan struct{}, 1)}
}

// SetGrace changes the grace time, of the keys in memory too.
func (s *Source) SetGrace(grace time.Duration) {
	s.mu.Lock()
	s.grace = grace
	s.mu.Unlock()
	s.poke()
}

// poke has Run look anew when the next key is over.
func (s *Source) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // Run has not yet taken the last one
	}
}

// Key asks the servers of the key's group in their order until one gives the right bytes. When none does, the key
// comes from memory within the grace time, marked Cached, as long as a server that could not be asked may still have
// it. When every server answered and none gives it, that is an answer: it was taken away from us, and it is forgotten.
func (s *Source) Key(ctx context.Context, ref envelope.SlotRef) (envelope.Key, error) {
	_, all := s.groups.Servers(ref.Group)
	if len(all) == 0 {
		return envelope.Key{}, fmt.Errorf("group %s has no key servers", ref.Group)
	}
	var failed []error
	answered := 0
	for _, srv := range all {
		key, err := fetch(ctx, srv, ref)
		if err == nil {
			s.remember(ref, key)
			return envelope.Key{Secret: key, From: srv.Name()}, nil
		}
		if ctx.Err() != nil {
			return envelope.Key{}, err
		}
		if said(err) {
			answered++
		}
		failed = append(failed, err)
	}
	cause := errors.Join(failed...)
	if answered == len(all) {
		s.forget(ref)
		return envelope.Key{}, cause
	}
	key, err := s.recall(ref)
	if err != nil {
		return envelope.Key{}, errors.Join(cause, err)
	}
	return envelope.Key{Secret: key, Cached: true}, nil
}

// said claims that the server itself answered.
func said(err error) bool {
	_, wrong := errors.AsType[*envelope.WrongKeyError](err)
	return wrong || errors.Is(err, envelope.ErrNoKey) || errors.Is(err, ErrRefused)
}

// fetch gets a key from one server and proves that it is the one. Its errors name the server.
func fetch(ctx context.Context, srv Server, ref envelope.SlotRef) (*envelope.Secret, error) {
	key, err := srv.Get(ctx, ref.UID)
	if err != nil {
		return nil, fmt.Errorf("get %s from %s: %w", ref, srv.Name(), err)
	}
	if got := envelope.CheckOf(key.Bytes()); got != ref.Check {
		key.Destroy()
		return nil, fmt.Errorf("get %s from %s: %w", ref, srv.Name(), &envelope.WrongKeyError{Ref: ref, Got: got})
	}
	return key, nil
}

// remember keeps a copy of a key that a server just gave. Without locked memory nothing is kept: a key that might be
// swapped to disk is worse than work that stops.
func (s *Source) remember(ref envelope.SlotRef, key *envelope.Secret) {
	twin, err := key.Clone()
	if err != nil {
		return
	}
	if !twin.Locked() {
		twin.Destroy()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grace <= 0 {
		twin.Destroy()
		return
	}
	s.held[held(ref)].key.Destroy()
	s.held[held(ref)] = heldKey{twin, s.now()}
	s.poke()
}

// held names a key in memory by what it is, so that an identifier used anew is another key.
func held(ref envelope.SlotRef) string {
	return ref.Group + "\x00" + ref.UID + "\x00" + string(ref.Check)
}

func (s *Source) forget(ref envelope.SlotRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[held(ref)].key.Destroy()
	delete(s.held, held(ref))
}

// recall answers a key from memory.
func (s *Source) recall(ref envelope.SlotRef) (*envelope.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.held[held(ref)]
	if !ok {
		return nil, errors.New("no copy of it is in memory")
	}
	if age := s.now().Sub(h.given); age < 0 || age >= s.grace {
		h.key.Destroy()
		delete(s.held, held(ref))
		return nil, fmt.Errorf("the copy in memory has outlived its grace time of %v", s.grace)
	}
	return h.key.Clone()
}

// Held answers until when a key may be used from memory if no server can be asked; false if not at all.
func (s *Source) Held(ref envelope.SlotRef) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.held[held(ref)]
	if !ok || !s.now().Before(h.given.Add(s.grace)) {
		return time.Time{}, false
	}
	return h.given.Add(s.grace), true
}

// Run wipes keys whose grace time is over, and all when ctx ends.
func (s *Source) Run(ctx context.Context) {
	defer s.wipe(func(heldKey) bool { return true })
	for {
		next := s.expire()
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
		}
	}
}

// expire wipes what is over and answers in how long to look again.
func (s *Source) expire() time.Duration {
	now := s.now()
	s.wipe(func(h heldKey) bool { return !now.Before(h.given.Add(s.grace)) }) // which holds mu
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Hour
	for _, h := range s.held {
		next = min(next, h.given.Add(s.grace).Sub(now))
	}
	return max(next, time.Second)
}

func (s *Source) wipe(which func(heldKey) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, h := range s.held {
		if which(h) {
			h.key.Destroy()
			delete(s.held, id)
		}
	}
}
