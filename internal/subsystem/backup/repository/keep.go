package repository

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Span is a length of time by the calendar: "1y6m7d12h".
type Span struct{ Years, Months, Days, Hours int }

// ParseSpan reads numbers with the units y, m (months), d and h.
func ParseSpan(s string) (Span, error) {
	var out Span
	for rest := s; rest != ""; {
		i := strings.IndexAny(rest, "ymdh")
		if i < 1 {
			return Span{}, fmt.Errorf("span %q: numbers with y, m, d or h are needed, as in 1y6m7d12h", s)
		}
		n, err := strconv.ParseUint(rest[:i], 10, 16)
		if err != nil {
			return Span{}, fmt.Errorf("span %q: %w", s, err)
		}
		switch rest[i] {
		case 'y':
			out.Years += int(n)
		case 'm':
			out.Months += int(n)
		case 'd':
			out.Days += int(n)
		case 'h':
			out.Hours += int(n)
		}
		rest = rest[i+1:]
	}
	return out, nil
}

// String is the form that ParseSpan reads.
func (s Span) String() string {
	var b strings.Builder
	for _, p := range []struct {
		n    int
		unit string
	}{{s.Years, "y"}, {s.Months, "m"}, {s.Days, "d"}, {s.Hours, "h"}} {
		if p.n != 0 {
			fmt.Fprintf(&b, "%d%s", p.n, p.unit)
		}
	}
	return b.String()
}

// IsZero tells the span that is not set.
func (s Span) IsZero() bool { return s == Span{} }

func (s Span) before(t time.Time) time.Time {
	return t.AddDate(-s.Years, -s.Months, -s.Days).Add(-time.Duration(s.Hours) * time.Hour)
}

// Keep says which snapshots stay. The rules are joined by or: a snapshot that one of them keeps is kept.
type Keep struct {
	// Last keeps the newest n; the others keep the newest of each hour, day and so on that has one, for n of these.
	// -1 means all, 0 that the rule is not there. While a rule has not found its n, the oldest snapshot stays too.
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	// Within keeps all that are younger than the newest by less than the span; the others of each hour, day and so on
	// inside the span the newest.
	Within, WithinHourly, WithinDaily, WithinWeekly, WithinMonthly, WithinYearly Span
	// Tags keeps what carries all tags of one of the lists.
	Tags [][]string
}

// Valid answers nil when there is a rule, and each can be.
func (k Keep) Valid() error {
	none := true
	for _, n := range []int{k.Last, k.Hourly, k.Daily, k.Weekly, k.Monthly, k.Yearly} {
		if n < -1 {
			return fmt.Errorf("keep %d: a number from 1 or -1 for all is needed", n)
		}
		none = none && n == 0
	}
	for _, b := range k.rules(nil) {
		none = none && b.within.IsZero()
	}
	if none && len(k.Tags) == 0 {
		return errors.New("no rule says what to keep, so everything would be forgotten")
	}
	return nil
}

// rule is one line of Keep at work.
type rule struct {
	name   string
	left   int  // -1: no end; 0: not in force
	within Span // of the rules with a span
	bucket func(t time.Time, nr int) int
	last   int
}

func (k Keep) rules(numbers []int) []rule {
	hour := func(t time.Time, _ int) int { return (t.Year()*10000+int(t.Month())*100+t.Day())*100 + t.Hour() }
	day := func(t time.Time, _ int) int { return t.Year()*10000 + int(t.Month())*100 + t.Day() }
	week := func(t time.Time, _ int) int { y, w := t.ISOWeek(); return y*100 + w }
	month := func(t time.Time, _ int) int { return t.Year()*100 + int(t.Month()) }
	year := func(t time.Time, _ int) int { return t.Year() }
	each := func(_ time.Time, nr int) int { return nr }
	all := []rule{
		{name: "last", bucket: each},
		{name: "hourly", bucket: hour, within: k.WithinHourly},
		{name: "daily", bucket: day, within: k.WithinDaily},
		{name: "weekly", bucket: week, within: k.WithinWeekly},
		{name: "monthly", bucket: month, within: k.WithinMonthly},
		{name: "yearly", bucket: year, within: k.WithinYearly},
	}
	for i := range all {
		all[i].last = -1
		if numbers != nil {
			all[i].left = numbers[i]
		} else if i == 0 {
			all[i].within = k.Within
		}
	}
	return all
}

// Kept is a snapshot that stays, and why.
type Kept struct {
	Snapshot Snapshot `json:"snapshot"`
	Reasons  []string `json:"reasons"` // "last", "daily", "within weekly", "tags"
}

// Apply divides the snapshots of one group. It looks at nothing else. Times count in the zone of the snapshot.
func (k Keep) Apply(snaps []Snapshot, now time.Time) (keep []Kept, drop []Snapshot) {
	snaps = slices.Clone(snaps)
	slices.SortStableFunc(snaps, func(a, b Snapshot) int { return b.Time.Compare(a.Time) })
	newest := now
	for _, s := range snaps { // newest first: the first that is not in the future
		if newest = s.Time; !s.Time.After(now) {
			break
		}
	}
	byNumber := k.rules([]int{k.Last, k.Hourly, k.Daily, k.Weekly, k.Monthly, k.Yearly})
	bySpan := k.rules(nil)
	for nr, s := range snaps {
		var why []string
		if slices.ContainsFunc(k.Tags, func(l []string) bool { return hasTags(s, l) }) {
			why = append(why, "tags")
		}
		oldest := nr == len(snaps)-1
		for i := range byNumber {
			if r := &byNumber[i]; r.left != 0 && r.takes(s.Time, nr, oldest) {
				if r.left > 0 {
					r.left--
				}
				why = append(why, r.name)
			}
		}
		for i := range bySpan {
			if r := &bySpan[i]; !r.within.IsZero() && s.Time.After(r.within.before(newest)) && r.takes(s.Time, nr, oldest) {
				why = append(why, strings.TrimSuffix("within "+r.name, " last"))
			}
		}
		if len(why) > 0 {
			keep = append(keep, Kept{s, why})
		} else {
			drop = append(drop, s)
		}
	}
	return keep, drop
}

// takes tells whether the snapshot is the first of a new bucket, or the oldest of all.
func (r *rule) takes(t time.Time, nr int, oldest bool) bool {
	v := r.bucket(t, nr)
	if v == r.last && !oldest {
		return false
	}
	r.last = v
	return true
}

func hasTags(s Snapshot, tags []string) bool {
	return !slices.ContainsFunc(tags, func(t string) bool { return !slices.Contains(s.Tags, t) })
}
