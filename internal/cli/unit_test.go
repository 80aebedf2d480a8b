package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

func TestHostileTextIsShownAndNeverObeyed(t *testing.T) {
	cases := []struct{ in, want string }{
		{"OpenSSH_9.2p1 Debian-2", "OpenSSH_9.2p1 Debian-2"},
		{"Größe 鍵 ключ", "Größe 鍵 ключ"},
		{"\x1b[2J\x1b]0;root\x07", `\x1b[2J\x1b]0;root\x07`},
		{"a\nb\r\tc", `a\nb\r\tc`},
		{"\u009b31m", `\u{009b}31m`},
		{"\x7f\x00", `\x7f\x00`},
		{"safe\u202egnp.exe", `safe\u{202e}gnp.exe`},
		{"zero\u200bwidth\ufeff", `zero\u{200b}width\u{feff}`},
		{"line\u2028para\u2029", `line\u{2028}para\u{2029}`},
		{"\xff\xfe", `\xff\xfe`},
		{"tag\U000e0041", `tag\u{e0041}`},
		{"\ufffd", "\ufffd"}, // the character itself is harmless
	}
	for _, c := range cases {
		if got := safe(c.in); got != c.want {
			t.Errorf("safe(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := safeLines("one\x1b\ntwo"); got != "one\\x1b\ntwo" {
		t.Errorf("safeLines: %q", got)
	}
}

func TestJSONForTheTerminalIsTheSameJSON(t *testing.T) {
	in := map[string]string{"k": "\u009b31m \x7f \u202e \U000e0041 \x1b[2J Größe \n\t"}
	b, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	out := safeJSON(b)
	if i := strings.IndexFunc(string(out), func(r rune) bool { return r != '\n' && hostile(r) }); i >= 0 {
		t.Errorf("a hostile rune is left: %q", out[i:])
	}
	var back map[string]string
	if err := json.Unmarshal(out, &back); err != nil || back["k"] != in["k"] {
		t.Errorf("it came back as %q, %v", back["k"], err)
	}
}

func FuzzSafe(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[31m", "\xf4\x90\x80\x80", "a\u202eb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := safe(s)
		if strings.ContainsFunc(out, hostile) {
			t.Errorf("safe(%q) = %q", s, out)
		}
		if safe(out) != out {
			t.Errorf("safe is not stable: %q", out)
		}
	})
}

func TestMaskedFaultsStandBelowTheirCause(t *testing.T) {
	mk := func(id uint64, sev fault.Severity, code, resource string, by ...string) wire.Fault {
		return wire.Fault{ID: id, Severity: sev, Code: fault.Code(code), Resource: resource, MaskedBy: by}
	}
	faults := []wire.Fault{
		mk(1, fault.Warning, "a/x", "r"),
		mk(2, fault.Critical, "b/job", "r", "a/x@r"),
		mk(3, fault.Major, "c/y", "r"),
		mk(4, fault.Minor, "d/z", "r", "b/job@r"),
		mk(5, fault.Minor, "e/lost", "r", "not/listed@r"),
		mk(6, fault.Minor, "f/ring", "r", "g/ring@r"),
		mk(7, fault.Minor, "g/ring", "r", "f/ring@r"),
	}
	var got []string
	for _, l := range nest(faults) {
		got = append(got, strings.Repeat(">", l.depth)+string(l.fault.Code))
	}
	want := []string{"c/y", "e/lost", "a/x", ">b/job", ">>d/z", "f/ring", ">g/ring"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNagiosLines(t *testing.T) {
	sum := func(critical, major, minor int) wire.Summary {
		return wire.Summary{Active: critical + major + minor, Severity: map[string]int{"critical": critical, "major": major, "minor": minor}, Checks: 4, Conclusive: 4}
	}
	cases := []struct {
		st   wire.Status
		code int
	}{
		{wire.Status{Verdict: "all-clear", Summary: sum(0, 0, 0)}, 0},
		{wire.Status{Verdict: "faults", Summary: sum(0, 0, 1)}, 1},
		{wire.Status{Verdict: "faults", Summary: sum(0, 1, 1)}, 2},
		{wire.Status{Verdict: "faults", Summary: sum(1, 0, 0)}, 2},
		{wire.Status{Verdict: "not-yet-known"}, 3},
	}
	for _, c := range cases {
		c.st.Sentence = "x"
		c.st.Faults = []wire.Fault{{Code: "a/b", Resource: "r|s", Title: "two\nlines"}}
		line, code := nagiosStatus(&c.st)
		if code != c.code || strings.Contains(line, "\n") || strings.Count(line, "|") != 1 || !strings.HasPrefix(line, "ALLCLEAR "+nagiosWords[code]+" - ") {
			t.Errorf("%s: code %d, want %d; %q", c.st.Verdict, code, c.code, line)
		}
	}
	probes := []struct {
		all  []probed
		code int
	}{
		{[]probed{{ok: true}, {ok: true}}, 0},
		{[]probed{{ok: true}, {inconclusive: true}}, 3},
		{[]probed{{inconclusive: true}, {code: "ssh/unreachable"}}, 2},
		{[]probed{{code: "ssh/unreachable"}, {inconclusive: true}}, 2},
	}
	for _, c := range probes {
		if line, code := nagiosProbe("SSH", c.all); code != c.code {
			t.Errorf("%+v: code %d, want %d; %q", c.all, code, c.code, line)
		}
	}
}

func TestTimesOfAShelf(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 3, 41, 0, time.UTC)
	cases := []struct{ in, want string }{
		{"2026-11-23T10:00:00+02:00", "2026-11-23T08:00:00Z"},
		{"2026-11-23 10:00", "2026-11-23T10:00:00Z"},
		{"18:00", "2026-11-22T18:00:00Z"},
		{"14:03", "2026-11-23T14:03:00Z"},
		{"2026-11-22T14:03:41Z", ""},
		{"tomorrow", ""},
	}
	for _, c := range cases {
		got, err := parseTime(c.in, now)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s was taken for %s", c.in, got)
			}
			continue
		}
		if err != nil || got.Format(time.RFC3339) != c.want {
			t.Errorf("%s: %s %v, want %s", c.in, got.Format(time.RFC3339), err, c.want)
		}
	}
}

func TestTimesForPeople(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 3, 41, 0, time.UTC)
	p := &printer{now: func() time.Time { return now }}
	for in, want := range map[time.Time]string{
		now: "14:03:41", now.Add(-24 * time.Hour): "2026-11-21 14:03:41", {}: "never",
		now.In(time.FixedZone("", 9*3600)): "14:03:41",
	} {
		if got := p.clock(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestNearestWord(t *testing.T) {
	words := []string{"ssh/unreachable", "ssh/not-ssh", "system/disk-low", "F999723"}
	for in, want := range map[string]string{
		"ssh/unreachabl": "ssh/unreachable", "ssh/unreachable ": "ssh/unreachable", "disk-low": "system/disk-low", "F99972": "F999723",
		"ssh/unr": "ssh/unreachable", "zebra": "", "": "", strings.Repeat("s", 1000): "",
	} {
		if got := nearest(in, words); got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", in, got, want)
		}
	}
}
