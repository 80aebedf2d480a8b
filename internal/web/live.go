package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

const (
	maxViewers = 2000             // streams at a time; the next is refused with 503
	ringSize   = 1024             // messages that a slow or returning viewer can catch up on
	stateEvery = time.Second      // at most; nothing is computed while nobody looks
	beatEvery  = 15 * time.Second // an idle stream shows that it lives
	liveLooks  = 300              // active faults above which the time of each look is no longer sent
)

// patch changes one element in place, by its id: its text, and its state.
type patch struct {
	ID    string `json:"i"`
	Text  string `json:"t"`
	State string `json:"s,omitempty"` // also the shape
}

// news is what an event of a fault means for who looks at a list.
type news struct {
	ID    uint64 `json:"id"`
	Kind  string `json:"kind"` // raise, clear, change
	State string `json:"s"`
	Word  string `json:"w"`
	At    string `json:"at"`
}

// frame is one message of the stream, the same bytes for every viewer.
type frame struct {
	n    uint64 // grows by one
	seq  uint64 // of the event; 0 for a state, which needs no resuming
	body []byte
}

// hub hands the same frames to every viewer. A viewer reads at its own pace
// from the ring; one that falls behind it gets the whole state and is told that
// it has missed something. Nobody is waited for.
type hub struct {
	mu      sync.Mutex // guards the fields below
	ring    [ringSize]frame
	next    uint64        // number of the next frame
	moved   chan struct{} // closed at the next frame
	state   map[string]patch
	viewers int
	first   chan struct{} // capacity 1: somebody began to look
	over    chan struct{} // closed when the hub stops
}

func newHub() *hub {
	return &hub{next: 1, moved: make(chan struct{}), state: map[string]patch{}, first: make(chan struct{}, 1), over: make(chan struct{})}
}

// stop ends every stream.
func (h *hub) stop() { close(h.over) }

// publish adds a frame. The lock is held.
func (h *hub) publish(seq uint64, body []byte) {
	h.ring[h.next%ringSize] = frame{h.next, seq, body}
	h.next++
	close(h.moved)
	h.moved = make(chan struct{})
}

// batch is what a viewer has not seen yet.
type batch struct {
	frames []frame
	next   uint64          // where the viewer goes on
	lost   bool            // frames that it has not seen are gone
	moved  <-chan struct{} // closed when there is more
}

// since returns the frames from number n on.
func (h *hub) since(n uint64) batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := batch{next: h.next, moved: h.moved}
	if b.lost = n < h.next-min(h.next-1, ringSize); b.lost {
		return b
	}
	for ; n < h.next; n++ {
		b.frames = append(b.frames, h.ring[n%ringSize])
	}
	return b
}

// after returns the number of the first frame whose event is later than seq;
// known is false when events between the two are no longer there.
func (h *hub) after(seq, head uint64) (n uint64, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if seq >= head {
		return h.next, true
	}
	oldest := h.next - min(h.next-1, ringSize)
	for n := oldest; n < h.next; n++ {
		f := h.ring[n%ringSize]
		if f.seq > seq {
			return n, known || f.seq == seq+1
		}
		if f.seq != 0 && f.seq <= seq {
			known = true
		}
	}
	return h.next, known
}

func (h *hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.viewers >= maxViewers {
		return false
	}
	h.viewers++
	select {
	case h.first <- struct{}{}:
	default:
	}
	return true
}

func (h *hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.viewers--
}

func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.viewers > 0
}

// whole is the present state as one message.
func (h *hub) whole() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]patch, 0, len(h.state))
	for _, p := range h.state {
		all = append(all, p)
	}
	return message("state", 0, all)
}

// update publishes what differs from the state before.
func (h *hub) update(state map[string]patch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var changed []patch
	for id, p := range state {
		if h.state[id] != p {
			changed = append(changed, p)
		}
	}
	h.state = state
	if len(changed) > 0 {
		h.publish(0, message("state", 0, changed))
	}
}

// message is one server-sent event (WHATWG HTML, section 9.2). JSON has no line
// breaks of its own.
func message(event string, seq uint64, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte("null") // plain structs of text: cannot fail
	}
	id := ""
	if seq > 0 {
		id = fmt.Sprintf("id: %d\n", seq)
	}
	return fmt.Appendf(nil, "%sevent: %s\ndata: %s\n\n", id, event, b)
}

// live follows the journal and publishes the state while somebody looks.
func (w *Web) live(ctx context.Context) error {
	var follower sync.WaitGroup
	defer follower.Wait()
	head := w.o.Agent.Brief().Seq
	follower.Go(func() { w.follow(ctx, head) })
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.hub.first:
		case <-tick.C:
		}
		if w.hub.watched() {
			w.hub.update(w.patches(ctx))
		}
	}
}

// follow publishes the events after seq. When the journal cannot be read it
// tries again: a page that is open must not fall silent for good.
func (w *Web) follow(ctx context.Context, seq uint64) {
	for ctx.Err() == nil {
		for e, err := range w.o.Agent.Follow(ctx, seq) {
			if err != nil {
				break
			}
			seq = e.Seq
			w.hub.mu.Lock()
			w.hub.publish(e.Seq, message("fault", e.Seq, newsOf(e)))
			w.hub.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(stateEvery):
		}
	}
}

func newsOf(e fault.Event) news {
	n := news{ID: e.ID, Kind: string(e.Kind), At: e.At.UTC().Format("15:04:05")}
	if e.Key.Drill() || e.Key == (fault.Key{}) {
		n.Kind = "other"
	}
	switch e.Kind {
	case fault.KindRaise, fault.KindAdopt:
		n.State, n.Word = max(e.Severity, fault.Warning).String(), capital(max(e.Severity, fault.Warning).String())
	case fault.KindClear:
		n.State, n.Word = "ok", "Cleared "+n.At+" by a look"
		if e.Reason != fault.Verified {
			n.State, n.Word = "na", "Cleared "+n.At
		}
	}
	return n
}

// patches is the whole state that pages show, by element.
func (w *Web) patches(ctx context.Context) map[string]patch {
	st, checks := w.o.Agent.Brief(), w.o.Agent.Checks()
	nav := navOf(st)
	m := map[string]patch{}
	put := func(id, text, state string) { m[id] = patch{id, text, state} }
	put("live-q", spaced(st.Seq), "")
	put("nav", strconv.Itoa(nav.Active), nav.Worst)
	put("tab", capital(nav.Word), nav.Worst)
	for _, p := range st.Subsystems {
		put("p-"+p.Name, visible(sentence(p.Text)), "")
	}
	last := map[string]time.Time{}
	for i, c := range checks {
		if c.LastConclusive != nil {
			last[part(c.Name)] = latest(last[part(c.Name)], *c.LastConclusive)
		}
		if i < liveLooks {
			icon, word := checkState(c)
			put("c-"+digestID(c.ID)+"-s", word, icon)
			if c.Last != nil {
				put("c-"+digestID(c.ID)+"-l", c.Last.At.UTC().Format("15:04:05"), "")
			}
		}
	}
	for name, t := range last {
		put("pt-"+name, t.UTC().Format("15:04:05"), "")
	}
	if st.Summary.Active <= liveLooks {
		for _, r := range w.o.Agent.Rows(api.Query{}) {
			if !r.LastLook.IsZero() {
				put(fmt.Sprintf("f-%d-l", r.ID), r.LastLook.UTC().Format("15:04:05"), "")
			}
			put(fmt.Sprintf("f-%d-s", r.ID), capital(r.Severity.String()), r.Severity.String())
		}
	}
	w.backupPatches(ctx, put)
	w.keyServerPatches(ctx, put)
	return m
}

// digestID makes an id that is a word of a check's.
func digestID(id string) string { return newSession(digestOf(id), grant{}).id }

// events is the stream of a page: first the whole state, then what changes. It
// resumes after Last-Event-ID, or after the seq with which the page was made.
func (w *Web) events(rw http.ResponseWriter, r *http.Request, s *session) error {
	after := r.URL.Query().Get("after")
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		after = id
	}
	seq, err := strconv.ParseUint(after, 10, 63)
	if err != nil {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: "The stream begins after the seq of an event."}}
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return tooMany(rw)
	}
	if !w.hub.enter() {
		return tooMany(rw)
	}
	defer w.hub.leave()
	n, known := w.hub.after(seq, w.o.Agent.Brief().Seq)
	rw.Header().Set("Content-Type", "text/event-stream")
	v := &viewer{w: rw, c: http.NewResponseController(rw)}
	start := append([]byte("retry: 3000\n\n"), w.hub.whole()...)
	if !known {
		start = append(start, message("lost", 0, nil)...)
	}
	if err := v.send(start); err != nil {
		return nil //nolint:nilerr // the viewer is gone, which is no fault of ours
	}
	w.stream(r.Context(), v, n, s)
	return nil
}

func tooMany(rw http.ResponseWriter) error {
	rw.Header().Set("Retry-After", "30")
	return &refusal{http.StatusServiceUnavailable, wire.Error{Code: "too-many-streams", Message: "Too many pages are live at the moment. This one works all the same; load it again to see what is new."}}
}

// stream writes frames until the viewer goes, is too slow, or its session ends.
func (w *Web) stream(ctx context.Context, v *viewer, n uint64, s *session) {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		b := w.hub.since(n)
		n = b.next
		var out []byte
		if b.lost {
			out = append(w.hub.whole(), message("lost", 0, nil)...)
		}
		for _, f := range b.frames {
			out = append(out, f.body...)
		}
		if len(out) > 0 {
			if v.send(out) != nil {
				return
			}
			beat.Reset(beatEvery)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-w.hub.over:
			return
		case <-b.moved:
		case <-beat.C:
			if !w.o.Now().Before(s.Until) || v.send([]byte("event: beat\ndata: null\n\n")) != nil {
				return
			}
		}
	}
}

// viewer is the other end of a stream. One that does not take a message within
// writeWait is cut off.
type viewer struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (v *viewer) send(b []byte) error {
	_ = v.c.SetWriteDeadline(time.Now().Add(writeWait)) // only recorders of tests refuse it
	if _, err := v.w.Write(b); err != nil {
		return err
	}
	return v.c.Flush()
}
