package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/agent"
	"allclear/internal/api"
	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/subsystem"
	"allclear/internal/web"
	"allclear/internal/wire"
)

const codeBroken = fault.Code("demo/broken")

// hostile is what a foreign machine might put into evidence.
const hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31mred\x1b]0;title\x07\nsecond line\u202eevil"

// demo is a subsystem with any number of things that can be broken.
type demo struct {
	things int
	many   int // further things below one, all broken
	broken atomic.Bool
	text   string
}

func (d *demo) Name() string { return "demo" }

func (d *demo) Faults() []fault.Entry {
	return []fault.Entry{{
		Code: codeBroken, Legacy: []string{"D1"}, Title: "The thing is broken", Severity: fault.Major,
		Impact: "nothing works", Cause: "somebody broke it", Raise: "it is broken", Clear: "it is whole",
		Remedy: []fault.Remedy{{Text: "Mend it.", Impact: "none", Command: "mend {resource}"}, {Text: "Buy a new one.", Impact: "costs money"}}, Facts: []string{"how"},
	}}
}

func (d *demo) Checks() []check.Check {
	all := make([]check.Check, 0, d.things)
	for i := range d.things {
		all = append(all, check.Check{
			Name: "demo.thing", Resource: "thing-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26), Codes: []fault.Code{codeBroken}, Every: time.Hour,
			Run: func(_ context.Context, r *check.Report) {
				if d.broken.Load() {
					r.Present(codeBroken, errors.New("a crack "+d.text), map[string]string{"how": "cracked " + d.text, "evidence": d.text})
					return
				}
				r.Absent(codeBroken)
				r.Proved("the thing is whole %s", d.text)
			},
		})
	}
	if d.many > 0 {
		all = append(all, check.Check{Name: "demo.many", Resource: "many", Codes: []fault.Code{codeBroken}, Every: time.Hour, Timeout: time.Minute, Run: func(_ context.Context, r *check.Report) {
			for i := range d.many {
				r.At(fmt.Sprintf("many/%05d", i)).Present(codeBroken, errors.New("a crack"), nil)
			}
		}})
	}
	return all
}

func (d *demo) Run(ctx context.Context, _ check.Sink) error { <-ctx.Done(); return nil }

func (d *demo) Describe() (string, bool) { return "the things " + d.text, d.things > 0 }

// recorder is a journal as the agent declares it.
type recorder struct{ *journal.Store }

func (r recorder) Clock() fault.Clock { return r.Now() }

func (r recorder) View(k fault.Key) (fault.View, bool) {
	v, ok := r.Store.View(k)
	v.View.Seq = v.Seq
	return v.View, ok
}

func (r recorder) Page(after uint64, n int, want func(*fault.Fault) bool) ([]fault.View, bool) {
	page, more := r.Store.Page(after, n, want)
	views := make([]fault.View, len(page))
	for i, v := range page {
		v.View.Seq = v.Seq
		views[i] = v.View
	}
	return views, more
}

func (r recorder) Head() (string, uint64) { h := r.Store.Head(); return h.Epoch, h.Seq }

func (r recorder) Health() agent.StoreHealth { return agent.StoreHealth{} }

// memory is an audit log and a keeper of sessions.
type memory struct {
	mu      sync.Mutex // guards the fields below
	entries []wire.AuditEntry
	kept    []byte
}

func (m *memory) Append(e wire.AuditEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, e)
	return nil
}

func (m *memory) Recent(n int) ([]wire.AuditEntry, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Clone(m.entries)
	slices.Reverse(all)
	return all[:min(n, len(all))], 0, nil
}

func (m *memory) Load() ([]byte, error) { m.mu.Lock(); defer m.mu.Unlock(); return m.kept, nil }

func (m *memory) Save(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = slices.Clone(b)
	return nil
}

// last is the newest entry of the audit log.
func (m *memory) last() wire.AuditEntry {
	all, _, _ := m.Recent(1)
	if len(all) == 0 {
		return wire.AuditEntry{}
	}
	return all[0]
}

// lookout is a prober that answers what it is told to, when it is let.
type lookout struct {
	hold chan struct{} // closed: answer at once
	text string
}

func (l *lookout) Policies() []string { return []string{"openssh-9"} }

func (l *lookout) SSH(ctx context.Context, target, _ string) (wire.SSHProbe, error) {
	select {
	case <-l.hold:
	case <-ctx.Done():
		return wire.SSHProbe{}, ctx.Err()
	}
	return wire.SSHProbe{Target: target, Banner: "SSH-2.0-" + l.text, Error: l.text, Code: "ssh/not-ssh"}, nil
}

func (l *lookout) Endpoint(_ context.Context, _, target string) (wire.EndpointProbe, error) {
	return wire.EndpointProbe{}, errors.New("not for a page: " + target)
}

// clock is the clock of sessions and links.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) add(d time.Duration) { c.ahead.Add(int64(d)) }

// fixture is a page on a real agent on a real journal.
type fixture struct {
	t      *testing.T
	demo   *demo
	store  *journal.Store
	agent  *agent.Agent
	page   *web.Web
	memory *memory
	prober *lookout
	server *httptest.Server
	clock  *clock
	opts   web.Options
}

func start(t testing.TB, d *demo, set ...func(*web.Options)) *fixture {
	t.Helper()
	return startWith(t, d, 0, set...)
}

// startWith takes a limit of active faults, 0 for the default.
func startWith(t testing.TB, d *demo, active int, set ...func(*web.Options)) *fixture {
	t.Helper()
	f := &fixture{demo: d, memory: &memory{}, prober: &lookout{hold: make(chan struct{}), text: d.text}, clock: &clock{}}
	f.t, _ = t.(*testing.T)
	cat, err := fault.NewCatalogue(slices.Concat(agent.Faults(), check.Faults(), d.Faults())...)
	if err != nil {
		t.Fatal(err)
	}
	o := journal.Options{Dir: filepath.Join(t.TempDir(), "journal"), Node: "db-01", Catalogue: cat, BallastBytes: -1}
	o.Limits.Active = active
	if f.store, err = journal.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if f.agent, err = agent.New(agent.Options{
		Node: "db-01", Version: wire.Version{Version: "1.2.3"}, Recorder: recorder{f.store}, Catalogue: cat,
		Subsystems: []subsystem.Subsystem{d}, Log: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	f.opts = web.Options{
		Agent: f.agent, Node: "db-01", Version: "1.2.3", Prober: f.prober, Audit: f.memory, Keeper: f.memory,
		Base: func() string { return f.server.URL }, Now: f.clock.Now,
	}
	for _, s := range set {
		s(&f.opts)
	}
	if f.page, err = web.New(f.opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{f.agent.Run, f.page.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	f.server = httptest.NewServer(f.page)
	t.Cleanup(func() {
		cancel()
		running.Wait()
		f.server.Close()
		if err := f.store.Close(); err != nil {
			t.Errorf("close the journal: %v", err)
		}
	})
	return f
}

// person is a browser without JavaScript.
type person struct {
	f      *fixture
	client *http.Client
}

// stranger has no session.
func (f *fixture) stranger() *person {
	jar, _ := cookiejar.New(nil) // fails never without options
	return &person{f, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// someone has a session with this role.
func (f *fixture) someone(role api.Role) *person {
	p := f.stranger()
	if resp, text := p.post("/login", url.Values{"token": {f.link(role)}}); resp.StatusCode != http.StatusSeeOther {
		panic("login: " + resp.Status + text)
	}
	return p
}

func (f *fixture) link(role api.Role) string {
	l, err := f.page.Login("anna", role)
	if err != nil {
		panic(err)
	}
	_, token, _ := strings.Cut(l.URL, "token=")
	return token
}

func (p *person) do(method, path string, body io.Reader, header ...string) (*http.Response, string) {
	req, err := http.NewRequest(method, p.f.server.URL+path, body)
	if err != nil {
		panic(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	return resp, string(b)
}

func (p *person) get(path string) (*http.Response, string) { return p.do("GET", path, nil) }

func (p *person) post(path string, form url.Values, header ...string) (*http.Response, string) {
	return p.do("POST", path, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

// raise breaks the things and lets the agent find it; it returns the first.
func (f *fixture) raise(t testing.TB) wire.Fault {
	t.Helper()
	f.demo.broken.Store(true)
	if _, err := f.agent.Verify(t.Context(), []string{"demo.thing"}); err != nil {
		t.Fatal(err)
	}
	found, err := f.agent.Fault("demo/broken@thing-a")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// stream reads server-sent events.
func (p *person) stream(t *testing.T, after string, header ...string) iter.Seq2[string, string] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", p.f.server.URL+"/events?after="+after, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("stream: %s", resp.Status)
	}
	return func(yield func(event, data string) bool) {
		buffer := ""
		chunk := make([]byte, 4096)
		for {
			n, err := resp.Body.Read(chunk)
			buffer += string(chunk[:n])
			for {
				message, rest, ok := strings.Cut(buffer, "\n\n")
				if !ok {
					break
				}
				buffer = rest
				var event, data, id string
				for line := range strings.Lines(message) {
					if v, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "event: "); ok {
						event = v
					} else if v, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "data: "); ok {
						data = v
					} else if v, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "id: "); ok {
						id = "#" + v
					}
				}
				if event != "" {
					event += id
				}
				if event != "" && !yield(event, data) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}
