package backup_test

import (
	"strings"
	"testing"
	"time"

	"allclear/internal/subsystem/backup"
)

func zone(t *testing.T, name string) *time.Location { return must(time.LoadLocation(name))(t) }

func TestNextStart(t *testing.T) {
	berlin := zone(t, "Europe/Berlin") // changes on 2026-03-29 at 02:00 and on 2026-10-25 at 03:00
	for _, c := range []struct{ schedule, after, want string }{
		{"0 2 * * *", "2026-11-22T13:00:00+01:00", "2026-11-23T02:00:00+01:00"},
		{"@hourly", "2026-11-22T13:00:00+01:00", "2026-11-22T14:00:00+01:00"},
		{"@daily", "2026-11-22T13:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		{"15,45 8-18/5 * * mon-fri", "2026-11-20T18:50:00+01:00", "2026-11-23T08:15:00+01:00"},
		{"@every 90m", "2026-11-22T13:00:00+01:00", "2026-11-22T14:30:00+01:00"},
		{"CRON_TZ=America/New_York 0 2 * * *", "2026-11-22T13:00:00+01:00", "2026-11-23T08:00:00+01:00"},
		{"0 0 29 2 *", "2026-11-22T13:00:00+01:00", "2028-02-29T00:00:00+01:00"},
		// Left out by the change: at the change, and every day still once.
		{"30 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"30 2 * * *", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		// Shown twice: at the first.
		{"30 2 * * *", "2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00"},
		{"30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		{"30 2 * * *", "2026-10-25T02:45:00+02:00", "2026-10-26T02:30:00+01:00"},
		{"30 2 * * *", "2026-10-25T02:15:00+01:00", "2026-10-26T02:30:00+01:00"},
		// Every hour goes by the time that passes.
		{"30 * * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"},
		{"30 * * * *", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"},
	} {
		s := must(backup.ParseSchedule(c.schedule, berlin))(t)
		after := must(time.Parse(time.RFC3339, c.after))(t)
		if got := s.Next(after).In(berlin).Format(time.RFC3339); got != c.want {
			t.Errorf("%s after %s: %s, want %s", c.schedule, c.after, got, c.want)
		}
	}
}

// A day has 23, 24 or 25 hours, and one start.
func TestADailyScheduleStartsOnceOnEveryDayOfAYear(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"} {
		loc := zone(t, name)
		for _, text := range []string{"30 1 * * *", "0 2 * * *", "30 2 * * *", "0 0 * * *"} {
			s := must(backup.ParseSchedule(text, loc))(t)
			at := time.Date(2018, 1, 1, 12, 0, 0, 0, loc)
			day := at
			for range 365 {
				day = day.AddDate(0, 0, 1)
				next := s.Next(at)
				if !next.After(at) || next.Format(time.DateOnly) != day.Format(time.DateOnly) {
					t.Fatalf("%s in %s: after %s comes %s, want one on %s", text, name, at, next, day.Format(time.DateOnly))
				}
				at = next
			}
		}
	}
}

func TestSchedulesThatCannotBe(t *testing.T) {
	for text, why := range map[string]string{
		"": "empty", "* * * *": "expected", "60 * * * *": "60", "0 0 31 2 *": "never comes", "@every 30s": "less than a minute",
		"TZ=": "no time zone", "CRON_TZ=Nowhere/Land 0 2 * * *": "no time zone", "TZ=Europe/Berlin": "empty", "0 2 * * * *": "expected", "@fortnightly": "unrecognized",
	} {
		if s, err := backup.ParseSchedule(text, time.UTC); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, %v; want %q", text, s, err, why)
		}
	}
	if (backup.Schedule{}).Next(time.Now()) != (time.Time{}) {
		t.Error("no schedule has a next start")
	}
}

func TestIntervalIsTheLongestPause(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"@hourly": time.Hour, "0 2 * * *": 24 * time.Hour, "0 2 * * 1-5": 72 * time.Hour, "@weekly": 7 * 24 * time.Hour, "0 8,20 * * *": 12 * time.Hour, "@every 90m": 90 * time.Minute,
	} {
		if got := must(backup.ParseSchedule(text, time.UTC))(t).Interval(now); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestWindows(t *testing.T) {
	at := func(clock string) time.Time { return must(time.Parse(time.DateTime, "2026-11-22 "+clock))(t) }
	for _, c := range []struct{ window, at, want string }{
		{"22:00-06:00", "23:30:00", "2026-11-22 23:30:00"},
		{"22:00-06:00", "05:59:59", "2026-11-22 05:59:59"},
		{"22:00-06:00", "06:00:00", "2026-11-22 22:00:00"},
		{"01:00-05:00", "00:59:00", "2026-11-22 01:00:00"},
		{"01:00-05:00", "05:00:00", "2026-11-23 01:00:00"},
	} {
		w := must(backup.ParseWindow(c.window))(t)
		if got := w.Fit(at(c.at)).Format(time.DateTime); got != c.want {
			t.Errorf("%s at %s: %s, want %s", c.window, c.at, got, c.want)
		}
	}
	if got := (backup.Window{}).Fit(at("12:00:00")); !got.Equal(at("12:00:00")) {
		t.Errorf("the whole day: %s", got)
	}
	for _, text := range []string{"", "22:00", "22:00-25:00", "6-7", "06:00-06:00"} {
		if _, err := backup.ParseWindow(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, s := range []string{"0 2 * * *", "@hourly", "@every 1h", "CRON_TZ=UTC */5 1-3,7 * jan sun", "TZ=", "*/0 * * * *"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := backup.ParseSchedule(text, time.UTC)
		if err == nil && !s.Next(now).After(now) {
			t.Errorf("%q: next is %s", text, s.Next(now))
		}
	})
}
