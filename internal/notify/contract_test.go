package notify_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/notify"
)

// post is a receiver of one kind, fake or real, that can be asked what it took.
type post struct {
	config notify.Config
	// took returns what has arrived, in the order of arrival: one record a
	// message, however hostile the message was.
	took func(t *testing.T) []taken
}

// taken is one record at a receiver.
type taken struct {
	kind     string // raise, change, clear, test, digest
	code     string
	resource string
	severity string
	drill    bool
}

// hostile is text that foreign machines can put into evidence.
const hostile = "x\r\nBcc: evil@example.com\r\n\r\n<165>1 - - - - - - forged\x1b[31m<script>alert(1)</script>\"]\\ \u202e end"

const hostileResource = "r\r\nBcc: evil@example.com\n<165>1 forged\x1b[2J\"]\\<b>"

// courierOf runs a notifier with one sink over a journal of its own.
func courierOf(t *testing.T, c notify.Config) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), begun: time.Now(), looks: map[fault.Key]fault.Observation{}}
	store, err := journal.Open(t.Context(), journal.Options{Dir: w.dir, Node: "n1", Catalogue: catalogue(), BallastBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	w.notifier = notify.New(notify.Options{Node: "n1", Journal: store, Wire: wireOf}, []notify.Config{c})
	done := make(chan error, 1)
	ctx, cancel := cancelable(t)
	go func() { done <- w.notifier.Run(ctx, nobody{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if w.err != nil {
			t.Error(w.err)
		}
	})
	return w
}

// await polls a receiver that is another process or goroutine; it judges
// nothing.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-tick.C
	}
}

// believes folds what was taken into what the receiver holds now, and how many
// records that were.
func believes(records []taken) (map[string]string, int) {
	held := map[string]string{}
	n := 0
	for _, r := range records {
		if r.code == "" {
			continue
		}
		n++
		if r.kind == "clear" {
			delete(held, r.code+"@"+r.resource)
		} else {
			held[r.code+"@"+r.resource] = r.severity
		}
	}
	return held, n
}

// contract is what every sink must do, by what its receiver has at the end.
func contract(t *testing.T, newPost func(t *testing.T) *post) {
	t.Run("raise, change and clear arrive, and nothing is forged", func(t *testing.T) { changesArrive(t, newPost(t)) })
	t.Run("a test message is answered", func(t *testing.T) {
		p := newPost(t)
		w := courierOf(t, p.config)
		got, err := w.notifier.Test(t.Context(), p.config.Name)
		if err != nil || !got.OK || got.Answer == "" {
			t.Fatalf("answer %+v, %v", got, err)
		}
		await(t, "the test message", func() bool {
			records := p.took(t)
			return len(records) == 1 && records[0].kind == "test"
		})
		if held, _ := believes(p.took(t)); len(held) != 0 {
			t.Errorf("a test made it believe in %v", held)
		}
	})
	t.Run("a probe tells nothing", func(t *testing.T) {
		p := newPost(t)
		proved, err := p.config.Sink.Probe(t.Context())
		if err != nil || proved == "" {
			t.Fatalf("%q, %v", proved, err)
		}
		if got := p.took(t); len(got) != 0 {
			t.Errorf("a probe sent %v", got)
		}
	})
}

func changesArrive(t *testing.T, p *post) {
	w := courierOf(t, p.config)
	drill := fault.Key{Code: plain, Resource: "drill/1/x"}
	evil := fault.Key{Code: plain, Resource: hostileResource}
	steps := []struct {
		key  fault.Key
		is   fault.Verdict
		at   fault.Severity
		text string
		want map[string]string
	}{
		{r1, fault.Present, fault.Major, "seen", map[string]string{"test/plain@r1": "major"}},
		{r1, fault.Present, fault.Critical, "worse", map[string]string{"test/plain@r1": "critical"}},
		{drill, fault.Present, fault.Minor, "seen", map[string]string{"test/plain@r1": "critical", "test/plain@drill/1/x": "minor"}},
		{r1, fault.Absent, 0, "", map[string]string{"test/plain@drill/1/x": "minor"}},
		{drill, fault.Absent, 0, "", map[string]string{}},
		{evil, fault.Present, fault.Warning, hostile, map[string]string{"evil": "warning"}},
		{evil, fault.Absent, 0, "", map[string]string{}},
	}
	for i, s := range steps {
		w.looks[s.key] = fault.Observation{Key: s.key, Verdict: s.is, Severity: s.at, Text: s.text}
		w.look(t.Context(), s.key)
		var held map[string]string
		n := 0
		await(t, fmt.Sprintf("%s to hold %v", p.config.Kind, s.want), func() bool {
			records := p.took(t)
			for _, r := range records {
				if strings.Contains(r.resource, "drill/") != r.drill {
					t.Fatalf("drill label wrong: %+v", r)
				}
			}
			held, n = believes(records)
			for k := range held {
				if strings.Contains(k, "Bcc") { // each protocol writes it in its own way
					held = map[string]string{"evil": held[k]}
				}
			}
			return maps.Equal(held, s.want)
		})
		if n != i+1 {
			t.Fatalf("%d records after %d messages", n, i+1)
		}
	}
}
