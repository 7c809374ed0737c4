package schedule

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/tables"
)

// house is a world of one node and tenants.
type house struct {
	*looptest.World
	t testing.TB
	r *loop.Runner
}

func newHouse(t testing.TB, cpu string) *house {
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	h := &house{w, t, w.Runner(New(Config{}))}
	h.Put(fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: "%s", memory: 64Gi, pods: "110"}, conditions: [{type: Ready, status: "True"}]}}`, cpu))
	return h
}

func (h *house) tenant(name, spec string) {
	h.Put(fmt.Sprintf("{apiVersion: trireme.dev/v1, kind: Tenant, metadata: {name: %s}, spec: {%s}}", name, spec))
}

func (h *house) pods(ns string, n int) {
	for i := range n {
		h.Put(fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {namespace: %s, name: p%03d}, spec: {schedulerName: default-scheduler, containers: [{name: c, resources: {requests: {cpu: "1"}}}]}}`, ns, i))
	}
}

// placed settles and returns how many pods of each namespace have a node.
func (h *house) placed() map[string]int {
	h.t.Helper()
	h.Settle(h.r)
	out := map[string]int{}
	for row := range tables.Pods.Rows(h.Store.Head(), "") {
		if row.Head().Node != "" {
			out[row.Key().Namespace]++
		}
	}
	return out
}

func (h *house) rests() { h.AtRest("all keys again", []loop.Reconciler{New(Config{})}) }

// why returns what is said of the last pod of a namespace.
func (h *house) why(ns string) (why string) {
	for row := range tables.Pods.Rows(h.Store.Head(), ns) {
		if c := object.PodCondition(row.Object(), corev1.PodScheduled); c != nil {
			why = c.Message
		}
	}
	return why
}

func TestTenantsTakeTurns(t *testing.T) {
	h := newHouse(t, "12")
	h.pods("a", 20)
	h.pods("b", 20)
	if got := h.placed(); got["a"] != 6 || got["b"] != 6 {
		t.Errorf("two tenants have %v", got)
	}
	w := newHouse(t, "12")
	w.tenant("a", "weight: 2")
	w.pods("a", 20)
	w.pods("b", 20)
	if got := w.placed(); got["a"] != 8 || got["b"] != 4 {
		t.Errorf("weights 2:1 gave %v", got)
	}
	p := newHouse(t, "12")
	p.tenant("a", "path: eng/a")
	p.tenant("b", "path: eng/b")
	for _, ns := range []string{"a", "b", "c"} {
		p.pods(ns, 20)
	}
	if got := p.placed(); got["a"] != 3 || got["b"] != 3 || got["c"] != 6 {
		t.Errorf("two below one and another gave %v", got)
	}
	p.rests()
}

func TestLimitOfATenant(t *testing.T) {
	h := newHouse(t, "12")
	h.tenant("eng", `limit: {cpu: "5"}`)
	h.tenant("a", "path: eng/a")
	h.tenant("b", "path: eng/b")
	h.pods("a", 4)
	h.pods("b", 4)
	if got := h.placed(); got["a"]+got["b"] != 5 {
		t.Errorf("a limit of 5 let %v in", got)
	}
	if why := h.why("b"); why != "tenant eng would exceed its limit of cpu: 1 asked for, 5 used, 5 limited" {
		t.Errorf("it says %q", why)
	}
	h.rests()
	h.tenant("eng", `limit: {cpu: "7"}`)
	if got := h.placed(); got["a"]+got["b"] != 7 {
		t.Errorf("a limit of 7 let %v in", got)
	}
}

func TestGuaranteeOfATenant(t *testing.T) {
	h := newHouse(t, "10")
	h.tenant("vip", `guarantee: {cpu: "4"}`)
	h.pods("greedy", 20)
	if got := h.placed(); got["greedy"] != 6 {
		t.Errorf("who is greedy has %v, with 4 of 10 CPUs kept for another", got)
	}
	if why := h.why("greedy"); !strings.Contains(why, "is kept for the guarantee of tenant vip") {
		t.Errorf("it says %q", why)
	}
	h.pods("vip", 20)
	if got := h.placed(); got["vip"] != 4 || got["greedy"] != 6 {
		t.Errorf("with vip there: %v", got)
	}
	h.rests()
}

func TestReservedRoom(t *testing.T) {
	h := newHouse(t, "10")
	h.Put(`{apiVersion: mesos.trireme.dev/v1, kind: Agent, metadata: {name: n1}, spec: {reserved: [{name: cpus, type: SCALAR, scalar: {value: 4}, reservations: [{type: DYNAMIC, role: ads}]}]}, status: {id: S1}}`)
	h.pods("web", 20)
	if got := h.placed(); got["web"] != 6 {
		t.Errorf("beside 4 CPUs that are reserved for others: %v", got)
	}
	if why := h.why("web"); !strings.Contains(why, "reserved for others") {
		t.Errorf("it says %q", why)
	}
	h.rests()
	h.pods("ads", 20)
	if got := h.placed(); got["ads"] != 4 {
		t.Errorf("the role whose it is: %v", got)
	}
}
