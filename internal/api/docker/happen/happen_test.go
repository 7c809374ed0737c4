package happen

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"

	"trireme/internal/object"
	"trireme/internal/tables"
)

// A follower that is too slow is cut; others are not, and the newest events are kept.
func TestHubCutsTheSlow(t *testing.T) {
	h := NewHub()
	_, slow := h.Join()
	written := 0
	say := func(at time.Time) (events.Message, bool) {
		written++
		return Message(events.ContainerEventType, events.ActionStart, events.Actor{ID: "c"}, "local", at), true
	}
	for range followedMax + 1 {
		h.Tell(tables.Pods, object.Key{Name: "p"}, say)
	}
	got := 0
	for range slow {
		got++
	}
	if got != followedMax {
		t.Errorf("the slow one got %d events before it was cut; want %d", got, followedMax)
	}
	past, quick := h.Join()
	if len(past) > keptMax || len(past) < keptMax/2 {
		t.Errorf("%d events are kept", len(past))
	}
	if written != 0 {
		t.Errorf("%d events were written out, which nobody read", written)
	}
	h.Tell(tables.Pods, object.Key{Name: "p"}, say)
	x := <-quick
	for range 2 {
		if m, known := x.Message(); !known || m.Action != events.ActionStart || written != 1 {
			t.Errorf("%+v, written out %d times", m, written)
		}
	}
	h.Leave(quick)
	h.Tell(tables.Pods, object.Key{Name: "p"}, say)
	select {
	case <-quick:
		t.Error("it follows on after it has left")
	default:
	}
}
