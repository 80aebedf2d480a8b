package repository_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/subsystem/backup/source"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestKeepRules(t *testing.T) {
	times := []string{
		"2024-01-01 00:10", "2024-01-01 00:40", "2024-01-01 23:00", "2024-01-02 01:00", "2024-01-09 01:00",
		"2024-02-01 01:00", "2024-12-30 01:00", "2025-01-02 01:00", "2025-01-02 02:00", "2025-01-02 02:30",
	}
	var snaps []repository.Snapshot
	for i, s := range times {
		snap := repository.Snapshot{Time: at(s)}
		if i%3 == 0 {
			snap.Tags = []string{"a", "b"}
		}
		snaps = append(snaps, snap)
	}
	span := func(s string) repository.Span {
		out, err := repository.ParseSpan(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		name string
		keep repository.Keep
		want string // places in times, newest first
	}{
		{"last 3", repository.Keep{Last: 3}, "9 8 7"},
		{"last, all", repository.Keep{Last: -1}, "9 8 7 6 5 4 3 2 1 0"},
		{"hourly 2", repository.Keep{Hourly: 2}, "9 7"},
		{"daily 2", repository.Keep{Daily: 2}, "9 6"},
		{"weekly joins the turn of the year", repository.Keep{Weekly: 1}, "9"},
		{"monthly 3", repository.Keep{Monthly: 3}, "9 6 5"},
		{"monthly, more than there are: the oldest stays", repository.Keep{Monthly: 12}, "9 6 5 4 0"},
		{"yearly, all", repository.Keep{Yearly: -1}, "9 6 0"},
		{"within 3 days", repository.Keep{Within: span("3d")}, "9 8 7"},
		{"within 1y1m daily", repository.Keep{WithinDaily: span("1y1m")}, "9 6 5 4 3 2 0"},
		{"tags", repository.Keep{Tags: [][]string{{"b", "a"}, {"c"}}}, "9 6 3 0"},
		{"rules are joined by or", repository.Keep{Last: 1, Tags: [][]string{{"a"}}}, "9 6 3 0"},
	} {
		keep, drop := c.keep.Apply(snaps, at("2026-01-01 00:00"))
		var got []string
		for _, k := range keep {
			i := slices.IndexFunc(times, func(s string) bool { return at(s).Equal(k.Snapshot.Time) })
			got = append(got, strconv.Itoa(i))
		}
		if strings.Join(got, " ") != c.want || len(keep)+len(drop) != len(snaps) {
			t.Errorf("%s: kept %v, want %s", c.name, got, c.want)
		}
	}
}

func TestKeepRefusesToKeepNothing(t *testing.T) { synctest.Test(t, testKeepRefusesToKeepNothing) }

func testKeepRefusesToKeepNothing(t *testing.T) {
	for _, k := range []repository.Keep{{}, {Last: -2}} {
		if k.Valid() == nil {
			t.Errorf("%+v is accepted", k)
		}
	}
	r, _ := createDir(t)
	backup(t, r, t.TempDir())
	if _, err := r.Forget(t.Context(), repository.Keep{Tags: [][]string{{"none"}}}, repository.ForgetOptions{}); err == nil {
		t.Error("a rule that keeps nothing was applied")
	}
	if n := len(read(t, r).Snapshots()); n != 1 {
		t.Errorf("%d snapshots left", n)
	}
}

func TestSpans(t *testing.T) {
	for in, want := range map[string]repository.Span{"1y2m3d4h": {1, 2, 3, 4}, "7d": {Days: 7}, "2d12h": {Days: 2, Hours: 12}} {
		got, err := repository.ParseSpan(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"d", "1", "1w", "-1d", "99999999d"} {
		if got, err := repository.ParseSpan(in); err == nil {
			t.Errorf("%s is read as %v", in, got)
		}
	}
}

// TestKeepAgreesWithRestic lets the judge apply the same rules to the same snapshots.
func TestKeepAgreesWithRestic(t *testing.T) { synctest.Test(t, testKeepAgreesWithRestic) }

func testKeepAgreesWithRestic(t *testing.T) {
	r, dir := createDir(t)
	j := newRestic(t, dir)
	root := t.TempDir()
	tree, err := source.New(source.Options{Roots: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	start := at("2023-11-03 05:00")
	for i := range 24 {
		var tags []string
		if i%5 == 0 {
			tags = []string{"five"}
		}
		when := start.Add(time.Duration(i*i*i) * 67 * time.Minute)
		if _, err := r.Backup(t.Context(), repository.Files(tree, &source.Report{}), repository.BackupOptions{Paths: []string{root}, Time: when, Tags: tags}); err != nil {
			t.Fatal(err)
		}
	}
	all := read(t, r).Snapshots()
	for _, c := range []struct {
		keep repository.Keep
		args string
	}{
		{repository.Keep{Last: 3, Hourly: 5}, "--keep-last 3 --keep-hourly 5"},
		{repository.Keep{Daily: 4, Weekly: 3, Monthly: 5}, "--keep-daily 4 --keep-weekly 3 --keep-monthly 5"},
		{repository.Keep{Yearly: 1, Tags: [][]string{{"five"}}}, "--keep-yearly 1 --keep-tag five"},
		{repository.Keep{Within: repository.Span{Months: 2, Days: 3}}, "--keep-within 2m3d"},
		{repository.Keep{WithinWeekly: repository.Span{Years: 1}, WithinHourly: repository.Span{Days: 40}}, "--keep-within-weekly 1y --keep-within-hourly 40d"},
	} {
		keep, _ := c.keep.Apply(all, at("2026-01-01 00:00"))
		var got, want []string
		for _, k := range keep {
			got = append(got, k.Snapshot.ID.Short())
		}
		var groups []struct {
			Keep []struct {
				ID string `json:"short_id"`
			}
		}
		out := j.run(append([]string{"forget", "--dry-run", "--json"}, strings.Fields(c.args)...)...)
		if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &groups); err != nil {
			t.Fatal(err, out)
		}
		for _, k := range groups[0].Keep {
			want = append(want, k.ID)
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: restic keeps -, we keep +\n%s", c.args, diff)
		}
	}
}
