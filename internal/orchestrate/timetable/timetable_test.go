package timetable

import (
	"testing"
	"time"

	"trireme/internal/object"
)

// TestLatest: years of missed minutes cost no more than a hundred, and summer time moves
// what a zone's clock says.
func TestLatest(t *testing.T) {
	vienna, err := object.ParseZone("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		plan, from, now, want string
		zone                  *time.Location
		n                     int
	}{
		{"* * * * *", "2030-01-01T00:00:00Z", "2030-01-01T00:00:59Z", "", time.UTC, 0},
		{"* * * * *", "2030-01-01T00:00:00Z", "2030-01-01T00:03:10Z", "2030-01-01T00:03:00Z", time.UTC, 3},
		{"* * * * *", "2020-01-01T00:00:00Z", "2030-01-01T00:03:10Z", "2030-01-01T00:03:00Z", time.UTC, MissedMax + 1},
		{"0 0 1 1 *", "1800-01-01T00:00:00Z", "2030-03-01T00:00:00Z", "2030-01-01T00:00:00Z", time.UTC, MissedMax + 1},
		{"30 2 * * *", "2030-03-30T00:00:00Z", "2030-03-30T12:00:00Z", "2030-03-30T01:30:00Z", vienna, 1},
		{"30 12 * * *", "2030-07-01T00:00:00Z", "2030-07-01T12:00:00Z", "2030-07-01T10:30:00Z", vienna, 1},
	} {
		plan, err := object.ParseSchedule(c.plan)
		if err != nil {
			t.Fatal(err)
		}
		at := func(text string) time.Time {
			v, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Fatal(err)
			}
			return v.In(c.zone)
		}
		got, n := Latest(plan, at(c.from), at(c.now))
		text := ""
		if !got.IsZero() {
			text = got.UTC().Format(time.RFC3339)
		}
		if text != c.want || n != c.n {
			t.Errorf("%s from %s to %s: %s (%d), want %s (%d)", c.plan, c.from, c.now, text, n, c.want, c.n)
		}
	}
}
