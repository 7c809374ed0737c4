package offer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/offer"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// world is a store with the loop.
type world struct {
	*looptest.World
	t testing.TB
	r *loop.Runner
}

func newWorld(t testing.TB, more ...loop.Reconciler) *world {
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	w.Put("{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, uid: m}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: default}}")
	return &world{w, t, w.Runner(append([]loop.Reconciler{offer.NewLoop(offer.LoopConfig{})}, more...)...)}
}

func (w *world) node(name, cpu, memory, agent string) {
	w.Put(fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: %s}, status: {allocatable: {cpu: "%s", memory: %s, pods: "110"}, conditions: [{type: Ready, status: "True"}]}}
---
{apiVersion: mesos.trireme.dev/v1, kind: Agent, metadata: {name: %s}, spec: {%s}, status: {id: S-%s}}`, name, cpu, memory, name, agent, name))
}

func (w *world) framework(id, info string) {
	w.Put(fmt.Sprintf(`{apiVersion: mesos.trireme.dev/v1, kind: Framework, metadata: {name: %s}, spec: {id: %s, user: ann, info: {user: root, name: %s, %s}}, status: {connected: true}}`, id, id, id, info))
}

func (w *world) pod(ns, name, node, cpu, more string) {
	w.Put(fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {namespace: %s, name: %s%s}, spec: {nodeName: %s, schedulerName: default-scheduler, containers: [{name: c, resources: {requests: {cpu: "%s"}}}]}}`, ns, name, more, node, cpu))
}

// offers settles the loops and returns the offers as lines, in order.
func (w *world) offers() string {
	w.t.Helper()
	w.Settle(w.r)
	var out []string
	for o := range tables.MesosOffers.All(w.Store.Head()) {
		l, err := resource.From("resources", o.Resources)
		if err != nil {
			w.t.Fatal(err)
		}
		what := "lent"
		if o.Inverse {
			what = "asked for"
		}
		if o.Refused {
			what = "refused"
		}
		line := fmt.Sprintf("%s %s %s as %s: %s", what, o.Node, o.Framework, o.Role, l.AllocatedTo(""))
		if o.Unavailability != nil {
			line += fmt.Sprintf(" until %d", o.Unavailability.GetStart().GetNanoseconds())
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func (w *world) want(what, want string) {
	w.t.Helper()
	if got := w.offers(); got != want {
		w.t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
	w.AtRest(what+": all keys again", []loop.Reconciler{offer.NewLoop(offer.LoopConfig{})})
}

func (w *world) change(f func(*store.Tx, *mesos.Offer)) {
	w.Update(func(tx *store.Tx) {
		for o := range tables.MesosOffers.All(tx) {
			f(tx, o)
		}
	})
}

func refuse(until time.Time) func(*store.Tx, *mesos.Offer) {
	return func(tx *store.Tx, o *mesos.Offer) {
		o = o.Clone()
		o.Refused, o.Until = true, until
		tables.MesosOffers.Put(tx, o)
	}
}

func TestOffersFollowTheNodes(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4", "1Gi", "")
	w.want("nobody wants", "")
	w.framework("f", "role: web")
	w.want("a framework comes", "lent n1 f as web: cpus:4; mem:1024; ports:[31000-32000]")
	w.pod("default", "p", "n1", "1500m", "")
	w.want("a pod takes lent room", "lent n1 f as web: cpus:2.5; mem:1024; ports:[31000-32000]")
	w.Delete("pods", object.Key{Namespace: "default", Name: "p"})
	w.Advance(time.Second)
	w.want("room that comes back while the rest is lent is an offer of its own", "lent n1 f as web: cpus:1.5\nlent n1 f as web: cpus:2.5; mem:1024; ports:[31000-32000]")
	w.Merge(`{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {unschedulable: true}}`)
	w.want("the node is cordoned", "")
	w.Merge(`{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {unschedulable: null}}`)
	w.want("and back", "lent n1 f as web: cpus:4; mem:1024; ports:[31000-32000]")
	w.Merge(`{apiVersion: mesos.trireme.dev/v1, kind: Framework, metadata: {name: f}, status: {connected: false}}`)
	w.want("its stream ends", "")
}

func TestOffersThatNobodyAnswers(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4", "1Gi", "")
	w.framework("hoards", "role: a")
	w.want("lent", "lent n1 hoards as a: cpus:4; mem:1024; ports:[31000-32000]")
	w.framework("waits", "role: b")
	w.Advance(59 * time.Second)
	w.want("it has it", "lent n1 hoards as a: cpus:4; mem:1024; ports:[31000-32000]")
	w.Advance(2 * time.Second)
	if got := w.offers(); !strings.HasPrefix(got, "lent n1 ") {
		t.Errorf("after the timeout: %s", got)
	}
	w.change(refuse(w.Now().Add(time.Hour)))
	w.Advance(time.Second)
	got := w.offers()
	if !strings.Contains(got, "lent n1 waits") && !strings.Contains(got, "lent n1 hoards") || strings.Count(got, "\n") != 1 {
		t.Errorf("what one refuses another gets: %s", got)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4", "1Gi", "")
	w.framework("f", "role: a")
	w.offers()
	w.change(refuse(w.Now().Add(5 * time.Second)))
	w.want("refused", "refused n1 f as a: cpus:4; mem:1024; ports:[31000-32000]")
	w.Advance(5 * time.Second)
	w.want("its time is over", "lent n1 f as a: cpus:4; mem:1024; ports:[31000-32000]")
	w.change(refuse(w.Now().Add(time.Hour)))
	w.node("n1", "8", "1Gi", "")
	w.want("the agent is another", "lent n1 f as a: cpus:8; mem:1024; ports:[31000-32000]")
	w.change(func(tx *store.Tx, o *mesos.Offer) { tables.MesosOffers.Delete(tx, object.KeyOf(o)) })
	w.Settle(w.r)
	if got := w.offers(); got != "" {
		t.Errorf("who declines for no time at all is offered it at once: %s", got)
	}
	w.Advance(time.Second)
	w.want("but in the next interval", "lent n1 f as a: cpus:8; mem:1024; ports:[31000-32000]")
}

func TestReservedRoom(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4", "1Gi", `resources: [{name: cpus, type: SCALAR, scalar: {value: 3}, reservations: [{type: STATIC, role: ads}]}]`)
	w.framework("f", "role: a")
	w.framework("g", "role: ads")
	w.want("only the role is offered it", "lent n1 f as a: cpus:1; mem:1024; ports:[31000-32000]\nlent n1 g as ads: cpus(ads):3")
	w.pod("ads", "p", "n1", "2", "")
	w.want("its pods take of it first", "lent n1 f as a: cpus:1; mem:1024; ports:[31000-32000]\nlent n1 g as ads: cpus(ads):1")
}

func TestMaintenance(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4", "1Gi", "")
	w.framework("f", "role: a")
	w.framework("g", "role: b")
	w.pod("b", "p", "n1", "1", `, labels: {mesos.trireme.dev/framework: g}`)
	w.want("before", "lent n1 f as a: cpus:3; mem:1024; ports:[31000-32000]")
	w.node("n1", "4", "1Gi", "unavailability: {start: {nanoseconds: 5}}")
	w.want("who has something of it or is offered it is asked", `asked for n1 f as :  until 5
asked for n1 g as :  until 5
lent n1 f as a: cpus:3; mem:1024; ports:[31000-32000] until 5`)
	w.change(func(tx *store.Tx, o *mesos.Offer) {
		if o.Inverse && o.Framework == "g" {
			refuse(w.Now().Add(5*time.Second))(tx, o)
		}
	})
	w.want("one answers", `asked for n1 f as :  until 5
lent n1 f as a: cpus:3; mem:1024; ports:[31000-32000] until 5
refused n1 g as :  until 5`)
	w.Advance(5 * time.Second)
	w.want("and is asked again", `asked for n1 f as :  until 5
asked for n1 g as :  until 5
lent n1 f as a: cpus:3; mem:1024; ports:[31000-32000] until 5`)
	w.node("n1", "4", "1Gi", "")
	w.want("it is called off", "lent n1 f as a: cpus:3; mem:1024; ports:[31000-32000]")
}

func TestTenantsBindOffers(t *testing.T) {
	w := newWorld(t)
	w.Put(`{apiVersion: trireme.dev/v1, kind: Tenant, metadata: {name: web}, spec: {path: eng/web}}
---
{apiVersion: trireme.dev/v1, kind: Tenant, metadata: {name: eng}, spec: {limit: {cpu: "3"}}}`)
	w.node("n1", "8", "1Gi", "")
	w.pod("web", "p", "n1", "1", "")
	w.framework("f", "role: web")
	w.want("the limit of the tenant above, and its pods", "lent n1 f as web: cpus:2; mem:1024; ports:[31000-32000]")
	w.Merge(`{apiVersion: trireme.dev/v1, kind: Tenant, metadata: {name: eng}, spec: {limit: {cpu: "1"}}}`)
	w.want("a lower limit takes nothing back", "lent n1 f as web: cpus:2; mem:1024; ports:[31000-32000]")
	w.change(func(tx *store.Tx, o *mesos.Offer) { tables.MesosOffers.Delete(tx, object.KeyOf(o)) })
	w.Advance(time.Second)
	w.want("and counts from then on", "lent n1 f as web: mem:1024; ports:[31000-32000]")
}

// TestWhatPodsDoNotUseIsLentToo: but for a margin, in steps, and to who takes what is revocable.
func TestWhatPodsDoNotUseIsLentToo(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "10", "10Gi", "")
	w.pod("default", "p", "n1", "10", ", uid: p")
	uses := func(pod, uid string, milli int64) {
		w.Update(func(tx *store.Tx) {
			s := &object.PodSample{Containers: []object.ContainerUse{{Name: "c", CPUNano: milli * 1e6}}}
			s.Namespace, s.Name, s.UID, s.Window.Duration = "default", pod, types.UID(uid), time.Second
			tables.PodSamples.Put(tx, s)
		})
	}
	w.framework("firm", "role: a")
	w.framework("takes", "role: b, capabilities: [{type: REVOCABLE_RESOURCES}]")
	w.change(func(tx *store.Tx, o *mesos.Offer) { tables.MesosOffers.Delete(tx, object.KeyOf(o)) })
	lent := func() (out string) {
		for line := range strings.Lines(w.offers()) {
			if strings.Contains(line, "REV") {
				out += strings.TrimSpace(line)
			}
		}
		return out
	}
	for _, step := range []struct {
		what, want string
		do         func()
	}{
		{"nobody has measured", "", func() {}},
		{"one tenth stays, 8.9 are 17 steps", "lent n1 takes as b: cpus{REV}:8.5", func() { uses("p", "p", 100) }},
		{"its owner needs it", "", func() { uses("p", "p", 9000) }},
		{"and no more", "lent n1 takes as b: cpus{REV}:8.5", func() { uses("p", "p", 100) }},
		{"it is of a pod that is gone", "", func() { uses("p", "other", 100) }},
	} {
		step.do()
		w.Advance(time.Second)
		if got := lent(); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	uses("p", "p", 100)
	w.Update(func(tx *store.Tx) {
		task := &mesos.Task{Node: "n1", State: mesosv1.TaskState_TASK_RUNNING, Info: &mesosv1.TaskInfo{}}
		task.Namespace, task.Name = "takes", "t"
		r := resource.Of(resource.CPUs, 2000)
		r.Revocable = true
		task.Info.Resources = resource.List{r}.Messages(true)
		tables.MesosTasks.Put(tx, task)
	})
	w.pod("default", "t", "n1", "0", ", uid: t, labels: {mesos.trireme.dev/framework: takes, mesos.trireme.dev/revocable: yes-it-is}")
	uses("t", "t", 2000)
	if got := lent(); got != "lent n1 takes as b: cpus{REV}:6.5" {
		t.Errorf("a task has 2 of it, and uses them: %q", got)
	}
	w.AtRest("a loop that was just made", []loop.Reconciler{offer.NewLoop(offer.LoopConfig{})})
	w.Merge(`{apiVersion: mesos.trireme.dev/v1, kind: Framework, metadata: {name: takes}, status: {connected: false}}`)
	if got := lent(); got != "" {
		t.Errorf("nobody takes what is revocable: %q", got)
	}
}

// BenchmarkLoop makes 10,000 offers as rows for 1,000 frameworks, all of which have declined before.
func BenchmarkLoop(b *testing.B) {
	const agents, frameworks = 10_000, 1000
	w := newWorld(b)
	for i := range frameworks {
		w.framework(fmt.Sprintf("f%04d", i), "role: '*'")
	}
	w.Settle(w.r)
	w.Update(func(tx *store.Tx) { fleet(b, tx, agents) })
	w.Settle(w.r)
	for b.Loop() {
		b.StopTimer()
		w.change(func(tx *store.Tx, o *mesos.Offer) { tables.MesosOffers.Delete(tx, object.KeyOf(o)) })
		w.Settle(w.r)
		if n := tables.MesosOffers.Len(w.Store.Head()); n != 0 {
			b.Fatalf("%d offers", n)
		}
		w.Advance(time.Second)
		b.StartTimer()
		w.Settle(w.r)
		b.StopTimer()
		if n := tables.MesosOffers.Len(w.Store.Head()); n != agents {
			b.Fatalf("%d offers", n)
		}
		b.StartTimer()
	}
}

func fleet(t testing.TB, tx *store.Tx, agents int) {
	for i := range agents {
		n := &corev1.Node{}
		n.Name = fmt.Sprintf("n%05d", i)
		n.Status.Allocatable = corev1.ResourceList{"cpu": apiresource.MustParse("24"), "memory": apiresource.MustParse("4Gi"), "ephemeral-storage": apiresource.MustParse("4Gi"), "pods": apiresource.MustParse("110")}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		tables.Nodes.Put(tx, n)
		a := &mesos.Agent{Status: mesos.AgentStatus{ID: fmt.Sprintf("S%d", i)}}
		a.Name = n.Name
		if err := tables.PutMesosAgent(tx, a); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAcceptedPodsHoldTheirRoom: a pod of an accepted offer holds what it asks for before the
// scheduler has bound it, which comes after the offers in the same tick.
func TestAcceptedPodsHoldTheirRoom(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4", "0", "")
	w.framework("f", "roles: [x], capabilities: [{type: MULTI_ROLE}]")
	w.Put(`{apiVersion: v1, kind: Pod, metadata: {namespace: x, name: p, labels: {mesos.trireme.dev/framework: f}}, spec: {schedulerName: default-scheduler,
  containers: [{name: c, resources: {requests: {cpu: "1"}}}], affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]}}}}}`)
	if got := w.offers(); !strings.Contains(got, "cpus:3") {
		t.Errorf("offers beside a pod that waits for its node: %s", got)
	}
}
