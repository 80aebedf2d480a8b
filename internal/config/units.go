package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

type unit[T any] struct {
	name string
	size T
}

// durationUnits is a closed list, largest first. A month and a year have no fixed length and are not in it.
func durationUnits() []unit[time.Duration] {
	return []unit[time.Duration]{
		{"w", 7 * day}, {"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond},
	}
}

func sizeUnits() []unit[int64] {
	return []unit[int64]{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// ParseDuration reads a time span as people write it: "500ms", "30s", "5m", "26h", "30d", "2w", and sums from large to
// small such as "1d12h". It takes no sign, no fraction and no bare number. The largest is about 292 years.
func ParseDuration(s string) (time.Duration, error) {
	units := durationUnits()
	var sum time.Duration
	for rest := s; rest != "" || s == ""; {
		q, tail, err := split(rest)
		if err != nil {
			return 0, fmt.Errorf("%q is not a time span: %w", s, err)
		}
		rest = tail
		for len(units) > 0 && units[0].name != q.unit {
			units = units[1:]
		}
		if len(units) == 0 {
			return 0, fmt.Errorf("%q is not a time span: its units are w, d, h, m, s and ms, in this order", s)
		}
		size := units[0].size
		units = units[1:]
		if q.n > int64(math.MaxInt64-sum)/int64(size) {
			return 0, fmt.Errorf("%q is not a time span: it is longer than 292 years", s)
		}
		sum += time.Duration(q.n) * size
	}
	return sum, nil
}

// FormatDuration writes d, cut to milliseconds, the way [ParseDuration] reads it. A negative d is written as "0s".
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range durationUnits() {
		if n := d / u.size; n > 0 && u.name != "w" { // 30 days are 30d, not 4w2d
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// ParseSize reads a number of bytes: "512B", "4KiB", "8MiB", "2GiB", "1TiB". It takes no sign, no fraction and no bare
// number.
func ParseSize(s string) (int64, error) {
	q, rest, err := split(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %w", s, err)
	}
	for _, u := range sizeUnits() {
		if u.name != q.unit || rest != "" {
			continue
		}
		if q.n > math.MaxInt64/u.size {
			return 0, fmt.Errorf("%q is not a size: it is too large", s)
		}
		return q.n * u.size, nil
	}
	return 0, fmt.Errorf("%q is not a size: its unit is one of B, KiB, MiB, GiB and TiB", s)
}

// FormatSize writes n the way [ParseSize] reads it, in the largest unit that needs no fraction.
func FormatSize(n int64) string {
	for _, u := range sizeUnits() {
		if n%u.size == 0 && n != 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return "0B"
}

// quantity is a number with its unit, as in "12kB".
type quantity struct {
	n    int64
	unit string
}

// split takes the first quantity off s: "1d12h" is 1 d and "12h".
func split(s string) (q quantity, rest string, err error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if digits == 0 {
		return q, "", errors.New("it does not begin with a number")
	}
	q.n, err = strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return q, "", errors.New("its number is too large")
	}
	rest = s[digits:]
	letters := strings.IndexAny(rest, "0123456789")
	if letters < 0 {
		letters = len(rest)
	}
	if letters == 0 {
		return q, "", errors.New("its number has no unit")
	}
	q.unit = rest[:letters]
	return q, rest[letters:], nil
}
