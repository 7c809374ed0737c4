package object

import (
	"testing"
	"time"
)

func TestReadRebalance(t *testing.T) {
	for text, want := range map[string]*Rebalance{
		"": nil, "false": nil, "true": {1, 30 * time.Second}, "max=3": {3, 30 * time.Second}, "pause=1m, max=2": {2, time.Minute}, "pause=0s": {1, 0},
	} {
		got, err := ReadRebalance(text)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yes", "max=0", "max=x", "pause=-1s", "pause=25h", "max=2,", "pause"} {
		if got, err := ReadRebalance(text); err == nil {
			t.Errorf("%q reads as %v", text, got)
		}
	}
}
