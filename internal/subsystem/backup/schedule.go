package backup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is when a job starts by itself. The zero value never starts it.
type Schedule struct {
	text string
	// spec is for schedules of fixed hours, reckoned on the wall's clock; every
	// for those that only go by the time that has passed. One of them is set.
	spec  *cron.SpecSchedule
	every cron.Schedule
	loc   *time.Location
}

// hoursInEveryDay is the bit set of a cron field that names each hour.
const hoursInEveryDay = 1<<24 - 1

// ParseSchedule reads a cron expression of five fields (minute, hour, day of
// month, month, day of week), one of @hourly, @daily, @midnight, @weekly,
// @monthly, @yearly, @annually, or "@every DURATION" of a minute or more. Times
// are those of loc, or of the zone that "CRON_TZ=ZONE " in front names.
func ParseSchedule(text string, loc *time.Location) (Schedule, error) {
	rest := strings.TrimSpace(text)
	if zone, after, ok := cutZone(rest); ok {
		named, err := time.LoadLocation(zone)
		if err != nil || zone == "" {
			return Schedule{}, fmt.Errorf("schedule %q: no time zone %q", text, zone)
		}
		loc, rest = named, after
	}
	if rest == "" {
		return Schedule{}, fmt.Errorf("schedule %q is empty", text)
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(rest)
	if err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: %w", text, err)
	}
	s := Schedule{text: text, loc: loc}
	switch p := parsed.(type) {
	case *cron.SpecSchedule:
		s.spec = p
		if p.Hour&hoursInEveryDay == hoursInEveryDay {
			p.Location = loc
			s.spec, s.every = nil, p
		} else {
			p.Location = time.UTC // the wall's clock, see Next
		}
	case cron.ConstantDelaySchedule:
		if p.Delay < time.Minute {
			return Schedule{}, fmt.Errorf("schedule %q: every %s is less than a minute", text, p.Delay)
		}
		s.every = p
	}
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, fmt.Errorf("schedule %q names a day that never comes", text)
	}
	return s, nil
}

func cutZone(s string) (zone, rest string, ok bool) {
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if after, found := strings.CutPrefix(s, prefix); found {
			zone, rest, _ = strings.Cut(after, " ")
			return zone, strings.TrimSpace(rest), true
		}
	}
	return "", s, false
}

// String is the schedule as it was written.
func (s Schedule) String() string { return s.text }

// IsZero claims that nothing is scheduled.
func (s Schedule) IsZero() bool { return s.spec == nil && s.every == nil }

// Next is the first start after t; the zero time if there is none. A start of a
// fixed hour that the change to summer time leaves out happens at the change; one
// that the change back repeats happens once. A schedule of every hour goes by
// the time that has passed.
func (s Schedule) Next(t time.Time) time.Time {
	switch {
	case s.every != nil:
		return s.every.Next(t)
	case s.spec == nil:
		return time.Time{}
	}
	wall := asWall(t.In(s.loc))
	for {
		wall = s.spec.Next(wall)
		if wall.IsZero() {
			return time.Time{}
		}
		if at := onWall(wall, s.loc); at.After(t) {
			return at
		}
	}
}

// asWall is what the wall's clock shows, as a time of a zone without changes.
func asWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// onWall is the first moment at which the wall's clock in loc shows wall, or
// the moment at which it jumps over it.
func onWall(wall time.Time, loc *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, loc)
	start, end := t.ZoneBounds()
	if shown := asWall(t); !shown.Equal(wall) { // left out: t lies on either side of the change
		if shown.After(wall) {
			return start
		}
		return end
	}
	if start.IsZero() {
		return t
	}
	_, before := start.Add(-time.Second).Zone()
	_, now := t.Zone()
	if first := t.Add(-time.Duration(before-now) * time.Second); before > now && first.Before(start) {
		return first // shown twice
	}
	return t
}

// Interval is the longest time between two starts in a year from t on: what a
// job's copies may at most be apart when all goes well.
func (s Schedule) Interval(t time.Time) time.Duration {
	if s.IsZero() {
		return 0
	}
	const starts = 400 // every day of a year; a schedule of minutes repeats long before
	longest := time.Duration(0)
	end := t.AddDate(1, 0, 0)
	at := s.Next(t)
	for range starts {
		next := s.Next(at)
		if next.IsZero() {
			break
		}
		longest = max(longest, next.Sub(at))
		if at = next; at.After(end) {
			break
		}
	}
	return longest
}

// Window is a daily span in which scheduled runs may start. The zero value is
// the whole day.
type Window struct{ from, to time.Duration } // since midnight on the wall's clock; from > to crosses midnight

// ParseWindow reads "HH:MM-HH:MM"; "22:00-06:00" crosses midnight. The end is
// not part of it.
func ParseWindow(text string) (Window, error) {
	a, b, ok := strings.Cut(text, "-")
	from, err := parseClock(a)
	to, err2 := parseClock(b)
	if err = errors.Join(err, err2); !ok || err != nil {
		return Window{}, fmt.Errorf("window %q is not of the form HH:MM-HH:MM", text)
	}
	if from == to {
		return Window{}, fmt.Errorf("window %q is empty; leave it out for the whole day", text)
	}
	return Window{from, to}, nil
}

func parseClock(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", strings.TrimSpace(s))
	return t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)), err
}

// Fit is t, or the opening of the window after it when t lies outside.
func (w Window) Fit(t time.Time) time.Time {
	if w == (Window{}) {
		return t
	}
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	since := asWall(t).Sub(midnight)
	inside := w.from <= since && since < w.to
	if w.from > w.to {
		inside = since >= w.from || since < w.to
	}
	if inside {
		return t
	}
	opening := midnight.Add(w.from)
	if since >= w.from {
		opening = opening.AddDate(0, 0, 1)
	}
	return onWall(opening, t.Location())
}

// spread is a job's own share of its jitter: the same for each start, so that
// a job stays where it is in the day, and different between jobs and nodes.
func spread(node, job string, jitter time.Duration) time.Duration {
	if jitter <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(node + "\x00" + job)) // a hash takes all
	return time.Duration(h.Sum64() % uint64(jitter))
}
