package object_test

import (
	"testing"
	"time"

	"trireme/internal/object"
)

// FuzzSchedule: any text is a schedule or an error, and a schedule never goes back.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"* * * * *", "@hourly", "@every 1h", "*/0 * * * *", "61 * * * *", "1-5,7 0 29 2 1", "TZ=Europe/Vienna 0 0 * * *", "CRON_TZ= ", "@"} {
		f.Add(s, "UTC")
	}
	f.Add("0 2 * * *", "../../etc/passwd")
	f.Fuzz(func(t *testing.T, text, zone string) {
		at := time.Date(2030, 3, 1, 0, 0, 0, 0, time.UTC)
		if z, err := object.ParseZone(zone); err == nil {
			at = at.In(z)
		}
		s, err := object.ParseSchedule(text)
		if err != nil {
			return
		}
		if next := s.Next(at); !next.IsZero() && !next.After(at) {
			t.Errorf("%q after %v: %v", text, at, next)
		}
	})
}

// FuzzKey: a key's text is read back as the same key.
func FuzzKey(f *testing.F) {
	f.Add("a/b")
	f.Add("/")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if k := object.ParseKey(s); object.ParseKey(k.String()) != k && k.Namespace != "" {
			t.Errorf("%q is %+v, and that is %+v", s, k, object.ParseKey(k.String()))
		}
	})
}
