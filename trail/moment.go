package trail

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// Moment is the stretch of time that somebody named: a day, a minute, a
// second, or an instant. From belongs to it, To is the first instant behind
// it. A filter begins at the From of --since and ends before the To of
// --until, so that "--until 2026-11-23" has that whole day in it.
type Moment struct{ From, To time.Time }

// momentHint is what the operator reads below a time that was not understood.
const momentHint = `write a time as 2026-11-23, "2026-11-23 08:41", 2026-11-23T08:41:07Z, 2h, "3 days ago", today or yesterday; ` +
	`a time without a zone is UTC`

// ParseMoment reads a time as people write it: RFC 3339 (with T or a space,
// down to a date or a month, UTC where no zone is given, and the form in which
// sentences print it), an age (2h, 1h30m, 3d, "3 days ago", "2 weeks ago"), or
// now, today, yesterday.
func ParseMoment(s string, now time.Time) (Moment, error) {
	now = now.UTC()
	text := strings.ToLower(strings.Join(strings.Fields(s), " "))
	m, ok := namedMoment(text, now)
	if !ok {
		m, ok = absoluteMoment(text)
	}
	if !ok {
		m, ok = ageMoment(text, now)
	}
	if !ok {
		return Moment{}, audit.WithHint(fmt.Errorf("read time %s: not a time", quote(s, 60)), momentHint)
	}
	if m.From.Year() < 1970 || m.To.Year() > 2299 {
		err := fmt.Errorf("read time %s: outside the years 1970 to 2299 that the trail can hold", quote(s, 60))
		return Moment{}, audit.WithHint(err, momentHint)
	}
	return m, nil
}

func namedMoment(s string, now time.Time) (Moment, bool) {
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	switch s {
	case "now":
		return Moment{now, now}, true
	case "today":
		return Moment{today, today.AddDate(0, 0, 1)}, true
	case "yesterday":
		return Moment{today.AddDate(0, 0, -1), today}, true
	}
	return Moment{}, false
}

func absoluteMoment(s string) (Moment, bool) {
	s = strings.TrimSuffix(strings.TrimSuffix(s, " utc"), "z")
	s = strings.Replace(s, "t", " ", 1)
	for _, form := range []struct {
		layout string
		to     func(time.Time) time.Time
	}{
		{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
		{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
		{"2006-01-02 15:04", func(t time.Time) time.Time { return t.Add(time.Minute) }},
		{"2006-01-02 15:04:05", func(t time.Time) time.Time { return t.Add(precision(s)) }},
	} {
		for _, zone := range []string{"", "Z07:00", "Z07", " Z07:00", " Z07"} {
			if zone != "" && len(form.layout) <= len("2006-01-02") {
				continue // "2026-11-02" is a day, not a month in a zone behind UTC
			}
			if t, err := time.Parse(form.layout+zone, s); err == nil {
				t = t.UTC().Truncate(time.Microsecond)
				return Moment{t, form.to(t)}, true
			}
		}
	}
	return Moment{}, false
}

// precision is the length of the stretch that a time with seconds names: one
// second, or one unit of the last digit behind the point, at least 1 µs.
func precision(s string) time.Duration {
	_, fraction, ok := strings.Cut(s, ".")
	if !ok {
		return time.Second
	}
	unit := time.Second
	for _, c := range fraction {
		if c < '0' || c > '9' || unit == time.Microsecond {
			break
		}
		unit /= 10
	}
	return unit
}

// ageMoment reads numbers with units, which count back from now.
func ageMoment(s string, now time.Time) (Moment, bool) {
	s = strings.TrimSpace(strings.TrimSuffix(s, "ago"))
	t := now
	for first := true; s != "" || first; first = false {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		n, rest := 1, s
		if word, ok := strings.CutPrefix(s, "an "); ok {
			rest = word
		} else if word, ok := strings.CutPrefix(s, "a "); ok {
			rest = word
		} else {
			var err error
			if n, err = strconv.Atoi(s[:digits]); err != nil || n > 100_000_000 {
				return Moment{}, false
			}
			rest = strings.TrimSpace(s[digits:])
		}
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		var ok bool
		if t, ok = goBack(t, n, rest[:letters]); !ok {
			return Moment{}, false
		}
		s = strings.TrimLeft(rest[letters:], " ,")
		s = strings.TrimSpace(strings.TrimPrefix(s, "and "))
	}
	return Moment{t, t}, true
}

func goBack(t time.Time, n int, unit string) (time.Time, bool) {
	switch unit {
	case "s", "sec", "secs", "second", "seconds":
		return t.Add(-time.Duration(n) * time.Second), true
	case "m", "min", "mins", "minute", "minutes":
		return t.Add(-time.Duration(n) * time.Minute), n < 1<<27
	case "h", "hour", "hours":
		return t.Add(-time.Duration(n) * time.Hour), n < 1<<21
	case "d", "day", "days":
		return t.AddDate(0, 0, -n), n < 1<<17
	case "w", "week", "weeks":
		return t.AddDate(0, 0, -7*n), n < 1<<14
	case "month", "months":
		return t.AddDate(0, -n, 0), n < 1<<12
	case "y", "year", "years":
		return t.AddDate(-n, 0, 0), n < 1<<8
	}
	return t, false
}
