package offer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
	orchestratemesos "trireme/internal/orchestrate/mesos"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// fair is a cluster that three doors share: a namespace of Kubernetes and a stack of swarm with more
// pods than fit, and a framework with no end of short tasks.
type fair struct {
	*world
	rng   *rand.Rand
	tasks int
	pods  int
	sum   map[string]float64
	looks int
}

func newFair(t testing.TB, seed uint64) *fair {
	w := newWorld(t, orchestratemesos.NewAccepts(sow.Rules{}), schedule.New(schedule.Config{}))
	f := &fair{world: w, rng: rand.New(rand.NewPCG(seed, 7)), sum: map[string]float64{}}
	for _, ns := range []string{"apps", "shop", "jobs"} {
		w.Put("{apiVersion: v1, kind: Namespace, metadata: {name: " + ns + "}, status: {phase: Active}}")
	}
	for i := range 10 {
		w.node(fmt.Sprint("n", i), "12", "12Gi", "")
	}
	w.framework("f", "role: jobs")
	return f
}

// backlog keeps 150 pods waiting in a namespace.
func (f *fair) backlog(ns string) {
	waits := 0
	for row := range tables.Pods.Rows(f.Store.Head(), ns) {
		if row.Head().Waits {
			waits++
		}
	}
	f.Update(func(tx *store.Tx) {
		for ; waits < 150; waits++ {
			f.pods++
			p := &corev1.Pod{}
			p.Namespace, p.Name = ns, fmt.Sprintf("p%06d", f.pods)
			p.Spec.SchedulerName = corev1.DefaultSchedulerName
			list, _ := resource.Parse("cpus:1;mem:1024")
			req, _ := list.Requests()
			p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: req}}}
			tables.Pods.Put(tx, p)
		}
	})
}

// answer has the framework take what it is offered, as tasks of one CPU.
func (f *fair) answer() {
	f.Update(func(tx *store.Tx) {
		for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, "f") {
			o := row.Object()
			if o.Refused {
				continue
			}
			list, _ := resource.From("resources", o.Resources)
			op := &mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{}}
			one, _ := resource.Parse("cpus:1;mem:1024")
			for left := list.AllocatedTo(""); left.Contains(one); left = left.Minus(one) {
				f.tasks++
				id := fmt.Sprintf("t%06d", f.tasks)
				op.Launch.TaskInfos = append(op.Launch.TaskInfos, &mesosv1.TaskInfo{
					Name: &id, TaskId: &mesosv1.TaskID{Value: &id}, AgentId: &mesosv1.AgentID{Value: &o.Agent}, Resources: one.Messages(false),
					Command:   &mesosv1.CommandInfo{Value: proto.String("true")},
					Container: &mesosv1.ContainerInfo{Type: mesosv1.ContainerInfo_DOCKER.Enum(), Docker: &mesosv1.ContainerInfo_DockerInfo{Image: proto.String("busybox")}},
				})
			}
			a := &mesos.Accept{Offers: []string{o.Name}, Operations: []*mesosv1.Offer_Operation{op}, RefuseFor: time.Second}
			a.Namespace, a.Name = "f", "a-"+o.Name
			tables.MesosAccepts.Put(tx, a)
		}
	})
}

// end has some of the pods that run end.
func (f *fair) end() {
	f.Update(func(tx *store.Tx) {
		for row := range tables.Pods.Rows(tx, "") {
			if row.Head().Node != "" && f.rng.IntN(4) == 0 {
				tables.Pods.Delete(tx, row.Key())
			}
		}
	})
}

// second is one: pods end, everybody has more, the framework answers what it is offered at once.
func (f *fair) second(measure, answers bool) {
	f.end()
	f.backlog("apps")
	f.backlog("shop")
	f.Settle(f.r)
	for range 3 {
		if answers {
			f.answer()
		}
		f.Settle(f.r)
		f.Advance(50 * time.Millisecond)
	}
	if measure {
		f.looks++
		for row := range tables.Pods.Rows(f.Store.Head(), "") {
			if h := row.Head(); h.Node != "" {
				f.sum[row.Key().Namespace]++
			}
		}
	}
	f.Advance(850 * time.Millisecond)
}

func (f *fair) shares() map[string]float64 {
	all := 0.0
	for _, n := range f.sum {
		all += n
	}
	out := map[string]float64{}
	for ns, n := range f.sum {
		out[ns] = n / all
	}
	return out
}

// TestThreeDoorsShareEvenly: within 2 % of a third each, and the cluster is full.
func TestThreeDoorsShareEvenly(t *testing.T) {
	f := newFair(t, 1)
	for i := range 60 {
		f.second(i >= 10, true)
	}
	worst := 0.0
	for _, ns := range []string{"apps", "shop", "jobs"} {
		worst = max(worst, math.Abs(f.shares()[ns]*3-1))
	}
	used := (f.sum["apps"] + f.sum["shop"] + f.sum["jobs"]) / float64(f.looks) / 120
	t.Logf("shares %v, off by %.2f %%, %.1f %% of the cluster used", f.shares(), 100*worst, 100*used)
	if worst > 0.02 {
		t.Errorf("shares %v are off by %.1f %%", f.shares(), 100*worst)
	}
	if used < 0.97 {
		t.Errorf("%.1f %% of the cluster is used", 100*used)
	}
}

// TestWhoHoardsHarmsNobody: a framework that never answers keeps no room for longer than an interval
// of allocation from pods that wait.
func TestWhoHoardsHarmsNobody(t *testing.T) {
	f := newFair(t, 2)
	for i := range 30 {
		f.second(i >= 5, false)
	}
	used := (f.sum["apps"] + f.sum["shop"]) / float64(f.looks) / 120
	if s := f.shares(); used < 0.9 || math.Abs(s["apps"]-0.5) > 0.02 {
		t.Errorf("%.1f %% of the cluster is used, shares %v", 100*used, s)
	}
}
