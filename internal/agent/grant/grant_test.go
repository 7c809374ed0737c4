package grant

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
)

func node(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func demand(milli, bytes int64) object.Demand {
	return object.Demand{CPUMilli: milli, MemoryBytes: bytes}
}

func TestAsk(t *testing.T) {
	for name, tt := range map[string]struct {
		ask           object.Demand
		reason, words string
	}{
		"less":                {demand(500, 100), "", ""},
		"more, there is room": {demand(1500, 200), "", ""},
		"all that is left":    {demand(2000, 600), "", ""},
		"cpu of others":       {demand(2001, 100), corev1.PodReasonDeferred, "Node didn't have enough resource: cpu, requested: 2001, used: 1000, capacity: 3000"},
		"memory of others":    {demand(500, 700), corev1.PodReasonDeferred, "Node didn't have enough resource: memory, requested: 700, used: 400, capacity: 1000"},
		"more than there is":  {demand(3001, 100), corev1.PodReasonInfeasible, "Node didn't have enough capacity: cpu, requested: 3001, capacity: 3000"},
	} {
		l := &Ledger{}
		l.Take("a", demand(1000, 100))
		l.Take("b", demand(1000, 400))
		l.SetCapacity(node("3", "1000"))
		if got, _ := l.Ask(Request{UID: "a", Demand: tt.ask}); got != (Answer{tt.reason, tt.words}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestLessIsGrantedOnAFullNode(t *testing.T) {
	l := &Ledger{}
	l.Take("a", demand(3000, 100))
	l.Take("b", demand(3000, 100))
	l.SetCapacity(node("4", "1000"))
	if got, _ := l.Ask(Request{UID: "a", Demand: demand(2500, 100)}); got.Reason != "" {
		t.Errorf("less of a node that was promised twice: %+v", got)
	}
}

func TestWaitingRequestsAreGrantedInOrder(t *testing.T) {
	l := &Ledger{}
	l.SetCapacity(node("4", "1000"))
	for _, uid := range []types.UID{"a", "b", "c", "d"} {
		l.Take(uid, demand(1000, 100))
	}
	at := func(n int64) time.Time { return time.Unix(n, 0) }
	for _, r := range []Request{
		{"a", demand(1500, 100), 0, at(2)}, {"b", demand(1500, 100), 0, at(1)}, {"c", demand(1500, 100), 10, at(3)},
	} {
		if got, _ := l.Ask(r); got.Reason != corev1.PodReasonDeferred {
			t.Fatalf("%s: %+v", r.UID, got)
		}
	}
	if got := l.Release("d"); !slices.Equal(got, []types.UID{"c", "b"}) {
		t.Errorf("granted %v, want the important one and the one that waited longest", got)
	}
	if got := l.SetCapacity(node("5", "1000")); !slices.Equal(got, []types.UID{"a"}) {
		t.Errorf("a larger node granted %v", got)
	}
	l.Ask(Request{UID: "a", Demand: demand(9000, 100)})
	if got := l.Release("a"); got != nil {
		t.Errorf("one that can never be granted waits: %v", got)
	}
	if _, more := l.Ask(Request{UID: "b", Demand: demand(100, 100)}); more != nil {
		t.Errorf("granted %v, and nobody waits", more)
	}
}
