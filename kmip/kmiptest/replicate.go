package kmiptest

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// change is an object as it was stored at a time.
type change struct {
	at  time.Time
	id  string
	obj *object // nil: it is gone
}

// feed carries the changes of one server to another. Nothing runs in between: the follower takes what is due before it
// handles a request, so that a lag is exact and a test with its own clock needs no waiting.
type feed struct {
	from *store

	mu     sync.Mutex // guards what follows; taken after a store's
	lag    time.Duration
	held   bool
	queued []change
}

func (f *feed) push(c change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queued = append(f.queued, c)
}

// due takes what was changed so long ago that the follower knows it. What a server stored shortly before it went down
// stays with it until it is up again.
func (f *feed) due(now time.Time) []change {
	f.from.mu.RLock()
	if down := f.from.down; !down.IsZero() && down.Before(now) {
		now = down
	}
	f.from.mu.RUnlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held {
		return nil
	}
	n := 0
	for n < len(f.queued) && !f.queued[n].at.Add(f.lag).After(now) {
		n++
	}
	ready := slices.Clone(f.queued[:n])
	f.queued = slices.Delete(f.queued, 0, n)
	return ready
}

// Replication is the way of changes from a server to one that follows it.
type Replication struct{ f *feed }

// Follow has the server take over all objects and later changes of another one, each lag after it was made there. A
// clone follows its master; of several masters each follows each. Changes that came by replication go no further.
func (s *Server) Follow(from *Server, lag time.Duration) (*Replication, error) {
	if s == from {
		return nil, errors.New("a server cannot follow itself")
	}
	f := &feed{from: from.store, lag: lag}
	from.store.mu.Lock()
	now := from.store.now()
	for id, o := range from.store.objects {
		f.queued = append(f.queued, change{now, id, o})
	}
	from.store.feeds = append(from.store.feeds, f)
	from.store.mu.Unlock()
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.sources = append(s.store.sources, f)
	return &Replication{f}, nil
}

// SetLag changes the lag, also for what is on its way.
func (r *Replication) SetLag(lag time.Duration) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.lag = lag
}

// Hold stops replication, and Release has it go on; what queued up meanwhile arrives as if nothing had been.
func (r *Replication) Hold() { r.hold(true) }

// Release ends Hold.
func (r *Replication) Release() { r.hold(false) }

func (r *Replication) hold(held bool) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.held = held
}

// Pending answers how many changes are on their way.
func (r *Replication) Pending() int {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return len(r.f.queued)
}

// catchUp takes over what is due. Of two versions of an object the one stored later wins.
func (st *store) catchUp(now time.Time) {
	st.mu.RLock()
	sources := st.sources
	st.mu.RUnlock()
	for _, f := range sources {
		for _, c := range f.due(now) {
			st.adopt(c)
		}
	}
}

func (st *store) adopt(c change) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.stamps[c.id].After(c.at) {
		return
	}
	if c.obj == nil {
		st.drop(c.id)
		_ = st.unlink(c.id) // what stays on disk is back after a restart, as on a server whose disk is bad
		return
	}
	if err := st.save(c.obj); err == nil { // a follower that cannot write has not got the object
		st.hold(c.obj, c.at)
	}
}

func (st *store) setDown(at time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.down = at
}
