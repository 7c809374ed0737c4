package object

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when something recurs.
type Schedule interface {
	// Next returns the first time after t, in t's zone; zero: never.
	Next(t time.Time) time.Time
}

// ParseSchedule reads a cron schedule: five fields, or one of the names such as
// @hourly (Kubernetes, "CronJob", "Schedule syntax").
func ParseSchedule(text string) (s Schedule, err error) {
	defer func() { // the parser indexes past the end of some malformed text
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("malformed schedule %q", text)
		}
	}()
	return cron.ParseStandard(text)
}

// ParseZone returns the time zone of the name, as in "Europe/Vienna".
func ParseZone(name string) (*time.Location, error) {
	at, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %s", name)
	}
	return at, nil
}
