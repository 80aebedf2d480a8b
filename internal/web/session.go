package web

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"allclear/internal/api"
)

const (
	linkLife    = 10 * time.Minute // of a one-time link
	sessionLife = 12 * time.Hour   // of a session, from its login on
	maxLinks    = 64               // outstanding; one more drops the oldest
	maxSessions = 256              // open; one more ends the oldest
	maxStreams  = 16               // of one session
	maxRestores = 2                // of one session, at a time
)

// digest is the SHA-256 of a token. Tokens themselves are never kept: whoever
// reads memory or disk cannot log in.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// token is 256 random bits; crypto/rand never fails.
func newToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// grant is what a link or a session lets somebody do.
type grant struct {
	Who   string    `json:"who"`
	Role  api.Role  `json:"role"`
	Until time.Time `json:"until"`
}

// session is an open session.
type session struct {
	grant
	id      string        // the first bytes of its digest, for the audit log
	probing chan struct{} // capacity 1: one probe at a time
	streams chan struct{} // capacity maxStreams
	restore chan struct{} // capacity maxRestores
}

// sessions are all links and sessions.
type sessions struct {
	keeper Keeper
	now    func() time.Time

	mu    sync.Mutex // guards the fields below
	links map[digest]grant
	open  map[digest]*session
}

// newSessions loads what the keeper has. What cannot be read is lost, which the
// error says; the sessions returned work all the same.
func newSessions(k Keeper, now func() time.Time) (*sessions, error) {
	s := &sessions{keeper: k, now: now, links: map[digest]grant{}, open: map[digest]*session{}}
	if k == nil {
		return s, nil
	}
	b, err := k.Load()
	if err != nil || len(b) == 0 {
		return s, err
	}
	kept := map[string]grant{}
	if err := json.Unmarshal(b, &kept); err != nil {
		return s, fmt.Errorf("read the sessions: %w", err)
	}
	for text, g := range kept {
		var d digest
		if n, err := hex.Decode(d[:], []byte(text)); err == nil && n == len(d) && len(text) == 2*len(d) {
			s.open[d] = newSession(d, g)
		}
	}
	s.expire()
	return s, nil
}

func newSession(d digest, g grant) *session {
	return &session{grant: g, id: hex.EncodeToString(d[:4]), probing: make(chan struct{}, 1), streams: make(chan struct{}, maxStreams), restore: make(chan struct{}, maxRestores)}
}

// mint makes a one-time link.
func (s *sessions) mint(who string, role api.Role) (token string, until time.Time) {
	token, until = newToken(), s.now().Add(linkLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	for len(s.links) >= maxLinks {
		delete(s.links, oldest(s.links, func(g grant) time.Time { return g.Until }))
	}
	s.links[digestOf(token)] = grant{who, role, until}
	return token, until
}

// exchange turns a link into a session; no token means that it was no link. A
// link works once, also when two ask at the same moment. The error says that
// the session was not kept over a restart; it works all the same.
func (s *sessions) exchange(link string) (token string, g grant, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digestOf(link)
	g, ok := s.links[d]
	delete(s.links, d)
	if !ok || !s.now().Before(g.Until) {
		return "", grant{}, nil
	}
	s.expire()
	for len(s.open) >= maxSessions {
		delete(s.open, oldest(s.open, func(o *session) time.Time { return o.Until }))
	}
	token, g.Until = newToken(), s.now().Add(sessionLife)
	s.open[digestOf(token)] = newSession(digestOf(token), g)
	return token, g, s.save()
}

// find returns the session of a token, nil if there is none.
func (s *sessions) find(token string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.open[digestOf(token)]
	if o == nil || !s.now().Before(o.Until) {
		return nil
	}
	return o
}

// end ends a session.
func (s *sessions) end(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, digestOf(token))
	return s.save()
}

// expire forgets what is over. The lock is held.
func (s *sessions) expire() {
	now := s.now()
	for d, g := range s.links {
		if !now.Before(g.Until) {
			delete(s.links, d)
		}
	}
	for d, o := range s.open {
		if !now.Before(o.Until) {
			delete(s.open, d)
		}
	}
}

// save writes the digests and grants. The lock is held.
func (s *sessions) save() error {
	if s.keeper == nil {
		return nil
	}
	kept := make(map[string]grant, len(s.open))
	for d, o := range s.open {
		kept[hex.EncodeToString(d[:])] = o.grant
	}
	b, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("keep the sessions: %w", err)
	}
	return s.keeper.Save(b)
}

func oldest[V any](m map[digest]V, until func(V) time.Time) digest {
	type aged struct {
		d digest
		t time.Time
	}
	var all []aged
	for d, v := range m {
		all = append(all, aged{d, until(v)})
	}
	return slices.MinFunc(all, func(a, b aged) int { return cmp.Or(a.t.Compare(b.t), slices.Compare(a.d[:], b.d[:])) }).d
}
