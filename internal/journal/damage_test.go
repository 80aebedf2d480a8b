package journal_test

import (
	"bytes"
	"database/sql"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

// filled is a closed journal with many faults, some of them told.
func filled(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	var obs []fault.Observation
	for i := range 500 {
		obs = append(obs, fault.Observation{Key: key(plain, itoa(i)), Verdict: fault.Present, Text: strings.Repeat("x", 200)})
	}
	if _, err := n.look(obs...); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		told := &fault.Told{Occurrence: 1, Severity: fault.Major, Notice: 1}
		if err := n.SetTold(t.Context(), "mail", key(plain, itoa(i)), told); err != nil {
			t.Fatal(err)
		}
	}
	n.absent(key(plain, "19")) // cleared, and mail does not know it yet
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.markUnclean()
	return n
}

// markUnclean makes the next start check the database.
func (n *node) markUnclean() {
	n.t.Helper()
	n.sql("UPDATE node SET clean = 0")
}

func (n *node) sql(statement string) {
	n.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(n.opts.Dir, "journal.db"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) database() string { return filepath.Join(n.opts.Dir, "journal.db") }

func TestABrokenDatabaseIsSetAsideAndReadAsFarAsItGoes(t *testing.T) {
	n := filled(t)
	b, err := os.ReadFile(n.database())
	if err != nil {
		t.Fatal(err)
	}
	// A leaf page of the beliefs in the middle of the file.
	at := bytes.LastIndex(b[:len(b)*3/4], []byte(`"raised":`)) / 4096 * 4096
	copy(b[at:at+4096], bytes.Repeat([]byte{0xa5}, 4096))
	if err := os.WriteFile(n.database(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	n.open()
	aside := n.Health().SetAside
	if aside == nil || aside.Complete || aside.Beliefs < 400 || aside.Beliefs >= 500 || aside.Told != 20 {
		t.Fatalf("got %+v", aside)
	}
	if _, err := os.Stat(aside.Path); err != nil {
		t.Fatalf("the broken database is not kept: %v", err)
	}
	if got := n.Summary().Active; got < aside.Beliefs {
		t.Fatalf("%d active, %d were read", got, aside.Beliefs)
	}
	if !n.active(key(plain, "19")) {
		t.Fatal("a fault whose clear somebody waits for was not adopted")
	}
	n.clock.pass(time.Minute)
	n.absent(key(plain, "3"))
	if due := n.Pending("mail"); len(due) == 0 || due[0].Send != fault.SendClear {
		t.Fatalf("the clear of an adopted fault is not told: %+v", due)
	}
	n.verified()
	n.restart()
	if n.Health().SetAside == nil {
		t.Fatal("the loss was forgotten by a restart")
	}
	if err := n.ForgetSetAside(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.restart()
	if n.Health().SetAside != nil {
		t.Fatal("the loss is told for ever")
	}
}

func TestAnythingInPlaceOfTheDatabaseIsSurvived(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"garbage":        func(b []byte) []byte { return bytes.Repeat([]byte("no database "), 1000) },
		"header damaged": func(b []byte) []byte { copy(b, make([]byte, 100)); return b },
		"cut in half":    func(b []byte) []byte { return b[:len(b)/2] },
		"one page":       func(b []byte) []byte { return b[:4096] },
		"empty":          func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			n := filled(t)
			b, err := os.ReadFile(n.database())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(n.database(), spoil(b), 0o600); err != nil {
				t.Fatal(err)
			}
			n.open()
			if n.Health().SetAside == nil {
				t.Fatal("nobody says that the journal was lost")
			}
			n.present(key(plain, "new"))
			n.verified()
		})
	}
}

func TestRandomDamageNeverKeepsTheStoreFromOpening(t *testing.T) {
	n := filled(t)
	whole, err := os.ReadFile(n.database())
	if err != nil {
		t.Fatal(err)
	}
	for range rounds(15, 500) {
		b := bytes.Clone(whole)
		at := rand.IntN(len(b) - 512)
		for i := range 512 {
			b[at+i] = byte(rand.Uint32())
		}
		hurt := &node{t: t, opts: n.opts, clock: n.clock, disk: n.disk}
		hurt.opts.Dir = t.TempDir()
		if err := os.WriteFile(hurt.database(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		hurt.open()
		hurt.present(key(plain, "new"))
		if err := hurt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOnlySoManyBrokenDatabasesAreKept(t *testing.T) {
	n := newNode(t)
	for range 6 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.database(), []byte(strings.Repeat("broken", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		n.clock.pass(1e9)
		n.open()
	}
	kept, err := filepath.Glob(n.database() + ".corrupt-*Z")
	if err != nil || len(kept) != 3 {
		t.Fatalf("%d kept, %v", len(kept), err)
	}
}

func TestAJournalOfANewerProgramIsLeftAlone(t *testing.T) {
	n := newNode(t)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.sql("PRAGMA user_version = 99")
	if s, err := journal.Open(t.Context(), n.opts); err == nil {
		s.Close()
		t.Fatal("opened a journal that it cannot understand")
	}
	if kept, _ := filepath.Glob(n.database() + ".corrupt-*"); len(kept) != 0 {
		t.Fatalf("a sound journal was set aside: %v", kept)
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	for name, statement := range map[string]string{
		"an event changed":     `UPDATE events SET body = CAST(replace(body, 'major', 'minor') AS BLOB) WHERE seq = 100`,
		"an event removed":     `DELETE FROM events WHERE seq = 100`,
		"the last one removed": `DELETE FROM events WHERE seq = (SELECT max(seq) FROM events) - 1`,
		"a belief changed":     `UPDATE beliefs SET body = CAST(replace(body, 'major', 'minor') AS BLOB) WHERE id = 100`,
		"a belief removed":     `DELETE FROM beliefs WHERE id = 100`,
		"a hole papered over": `UPDATE events SET prev = (SELECT hash FROM events WHERE seq = 99) WHERE seq = 101;
			DELETE FROM events WHERE seq = 100`,
	} {
		t.Run(name, func(t *testing.T) {
			n := filled(t)
			n.open()
			n.verified()
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			n.sql(statement)
			n.open()
			if n.Health().SetAside != nil {
				return // the end of the chain is tested at each start
			}
			_, err := n.Verify(t.Context())
			if _, ok := errors.AsType[*journal.DamageError](err); !ok {
				t.Fatalf("not noticed: %v", err)
			}
		})
	}
}
