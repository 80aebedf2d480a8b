package config_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"allclear/internal/config"
)

func TestDurationsAreReadAsPeopleWriteThem(t *testing.T) {
	const d = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"500ms": 500 * time.Millisecond, "30s": 30 * time.Second, "5m": 5 * time.Minute, "26h": 26 * time.Hour, "30d": 30 * d, "2w": 14 * d,
		"1d12h": 36 * time.Hour, "1w1d1h1m1s1ms": 8*d + time.Hour + time.Minute + time.Second + time.Millisecond, "0s": 0, "106751d": 106751 * d,
	} {
		if got, err := config.ParseDuration(s); got != want || err != nil {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "5", "-5m", "+5m", "5 m", "5M", "1.5h", "m", "5m3", "5s5m", "5m5m", "1y", "106752d", "99999999999999999999s", "9223372036854775807w", "5m\n"} {
		if got, err := config.ParseDuration(s); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", s, got)
		}
	}
}

func TestSizesAreReadAsPeopleWriteThem(t *testing.T) {
	for s, want := range map[string]int64{"0B": 0, "512B": 512, "4KiB": 4096, "8MiB": 8 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40, "9223372036854775807B": math.MaxInt64} {
		if got, err := config.ParseSize(s); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "5", "-1B", "1kB", "1MB", "1G", "1GiB2B", "8388608TiB", "9223372036854775808B", "1 GiB"} {
		if got, err := config.ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, got)
		}
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64/int64(time.Millisecond)).Draw(t, "ms")) * time.Millisecond
		if got, err := config.ParseDuration(config.FormatDuration(d)); got != d || err != nil {
			t.Fatalf("%v is written %q and read %v, %v", d, config.FormatDuration(d), got, err)
		}
		n := rapid.Int64Range(0, math.MaxInt64).Draw(t, "n")
		if got, err := config.ParseSize(config.FormatSize(n)); got != n || err != nil {
			t.Fatalf("%d is written %q and read %d, %v", n, config.FormatSize(n), got, err)
		}
	})
	for d, want := range map[time.Duration]string{30 * 24 * time.Hour: "30d", 90 * time.Second: "1m30s", 0: "0s", -time.Second: "0s", time.Microsecond: "0s"} {
		if got := config.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}
