package gang

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"

	"trireme/internal/object"
)

func TestOrder(t *testing.T) {
	cpu := func(n int64) object.Demand { return object.Demand{CPUMilli: n} }
	domains := []Domain{{"wide", cpu(10), 9}, {"tight", cpu(4), 9}, {"few", cpu(4), 3}, {"small", cpu(3), 9}}
	for _, c := range []struct {
		sum  int64
		pods int
		want []string
	}{
		{4, 4, []string{"tight", "wide"}},
		{4, 3, []string{"few", "tight", "wide"}},
		{1, 1, []string{"few", "small", "tight", "wide"}},
		{20, 4, []string{"wide"}}, // none holds them: it comes closest
	} {
		var got []string
		for _, d := range Order(domains, cpu(c.sum), c.pods) {
			got = append(got, d.Value)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%d pods of %d: %s", c.pods, c.sum, d)
		}
	}
	if got := Order(nil, cpu(1), 1); got != nil {
		t.Errorf("of none: %v", got)
	}
}

// TestGroups: who counts for the minimum, and when groups are forgotten.
func TestGroups(t *testing.T) {
	key := func(name string) object.Key { return object.Key{Namespace: "x", Name: name} }
	row := &schedulingv1alpha3.PodGroup{}
	row.Namespace, row.Name = "x", "g"
	row.Spec.SchedulingPolicy.Gang = &schedulingv1alpha3.GangSchedulingPolicy{MinCount: 2}
	s := New()
	s.Wait(key("a"), "g")
	g := s.Of(key("a"))
	if !g.Together() || g.Lacks() != "pod group g does not exist" {
		t.Errorf("without its row: %q", g.Lacks())
	}
	s.Set(key("g"), row)
	if g.Lacks() != "gang g: 1 of 2 pods exist" {
		t.Errorf("with one pod: %q", g.Lacks())
	}
	s.Place(key("b"), "g", "n")
	if g.Lacks() != "" || g.Need() != 1 || g.Home() != "n" || !g.Together() {
		t.Errorf("with one that has a node: %q, %d needed", g.Lacks(), g.Need())
	}
	s.Place(key("a"), "g", "m")
	if g.Together() || len(g.Waiting()) != 0 {
		t.Error("a gang that is whole waits")
	}
	if s.Changed(); s.Changed() != nil {
		t.Error("what has changed is told twice")
	}
	s.Drop(key("a"))
	s.Set(key("g"), nil)
	if len(s.Changed()) != 1 || len(s.by) != 1 {
		t.Error("a group is forgotten that has a pod")
	}
	if s.Drop(key("b")); len(s.by)+len(s.of)+len(s.Changed()) != 0 {
		t.Error("a group without row and pods is kept")
	}
}

// TestSaid: the condition moves once to true, and stays.
func TestSaid(t *testing.T) {
	g, row, now := &Group{known: true, Min: 2}, &schedulingv1alpha3.PodGroup{}, time.Unix(1_900_000_000, 0)
	row = g.Said(row, "why", now)
	if c := row.Status.Conditions[0]; c.Reason != "Unschedulable" || c.Message != "why" || g.Said(row, "why", now.Add(time.Hour)) != nil {
		t.Errorf("why not: %+v", c)
	}
	g.late = true
	if row = g.Said(row, "why", now); !TimedOut(row) {
		t.Errorf("too late: %+v", row.Status.Conditions)
	}
	if row = g.Said(row, "", now); row.Status.Conditions[0].Status != "True" || g.Said(row, "why", now) != nil {
		t.Errorf("placed: %+v", row.Status.Conditions)
	}
}
