package object

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RebalanceKey is on what has its pods moved to nodes that have come: a label of a swarm service
// or a Marathon app, an annotation of others, or of a namespace for all in it that do not say
// otherwise themselves. ReadRebalance reads it.
const RebalanceKey = "trireme.dev/rebalance"

// OpenSinceAnnotation is on nodes: since when they take pods (RFC 3339). orchestrate/rebalance writes it.
const OpenSinceAnnotation = "trireme.dev/open-since"

// Rebalance is how pods of one owner may be moved.
type Rebalance struct {
	Max   int           // at once
	Pause time.Duration // after the last of them became ready, and after a node has come
}

// pauseRebalance is the pause where none is given, pauseMax the longest.
const (
	pauseRebalance = 30 * time.Second
	pauseMax       = 24 * time.Hour
)

// ReadRebalance reads what RebalanceKey says: true, false, or max=2,pause=30s. Nil: pods stay.
func ReadRebalance(text string) (*Rebalance, error) {
	r := &Rebalance{Max: 1, Pause: pauseRebalance}
	switch text {
	case "", "false":
		return nil, nil
	case "true":
		return r, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		word, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var err error
		switch word {
		case "max":
			if r.Max, err = strconv.Atoi(value); err == nil && r.Max < 1 {
				err = fmt.Errorf("%d is less than 1", r.Max)
			}
		case "pause":
			if r.Pause, err = time.ParseDuration(value); err == nil && (r.Pause < 0 || r.Pause > pauseMax) {
				err = fmt.Errorf("%s is not between 0s and %s", r.Pause, pauseMax)
			}
		default:
			err = fmt.Errorf("the words are max and pause")
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %q: %w; write true, false or max=2,pause=30s", text, part, err)
		}
	}
	return r, nil
}
