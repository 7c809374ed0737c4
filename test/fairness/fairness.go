// Package fairness is a cluster that three doors share, in memory and in time of its own: a namespace
// of Kubernetes and a stack of swarm with more pods than fit, and a framework of Mesos with no end of
// short tasks. The loops are those of a manager: offers, accepts, scheduler. Pods end at random.
package fairness

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
	"trireme/internal/object/tenant"
	"trireme/internal/offer"
	orchestratemesos "trireme/internal/orchestrate/mesos"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Config says what is tried.
type Config struct {
	Seed    uint64
	Seconds int  // of time of its own, after ten to settle
	Hoards  bool // the framework answers no offer
	Nodes   int  // 0: ten; what is offered at a time is what is free on one
	// Weights of tenants, by their namespaces; who is not named counts 1.
	Weights map[string]float64
}

// Result is what came of it.
type Result struct {
	Shares map[string]float64 // of what is used, by namespace
	Used   float64            // part of the cluster, on average

	weights map[string]float64
}

// Off returns how far a tenant is from its share among these, at most, as a part of that.
func (r Result) Off(tenants ...string) (worst float64) {
	weight := func(ns string) float64 { return cmp.Or(r.weights[ns], 1) }
	sum := 0.0
	for _, ns := range tenants {
		sum += weight(ns)
	}
	for _, ns := range tenants {
		worst = max(worst, math.Abs(r.Shares[ns]*sum/weight(ns)-1))
	}
	return worst
}

// The tenants, by their namespaces. Jobs is the framework's role.
const (
	Apps = "apps"
	Shop = "shop"
	Jobs = "jobs"
)

const (
	cores         = 12
	framework     = "f"
	backlog       = 150
	endEvery      = 4  // one pod in so many ends each second
	secondsBefore = 10 // until all have come to their shares
)

// life is one run.
type life struct {
	s     *store.Store
	r     *loop.Runner
	rng   *rand.Rand
	now   time.Time
	made  int
	one   resource.List
	asks  corev1.ResourceList
	sum   map[string]float64
	looks int
}

// Run lets the cluster live, and returns who had how much.
func Run(ctx context.Context, cfg Config) (Result, error) {
	l := &life{rng: rand.New(rand.NewPCG(cfg.Seed, 7)), now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), sum: map[string]float64{}}
	clock := func() time.Time { return l.now }
	s, err := store.Open(ctx, store.Config{Now: clock, NewID: l.id}, tables.Defs()...)
	if err != nil {
		return Result{}, err
	}
	l.s = s
	l.r = loop.New(s, loop.Config{Now: clock}, offer.NewLoop(offer.LoopConfig{}), orchestratemesos.NewAccepts(sow.Rules{}), schedule.New(schedule.Config{}))
	cfg.Nodes = cmp.Or(cfg.Nodes, 10)
	if err := l.build(ctx, cfg); err != nil {
		return Result{}, err
	}
	for i := range secondsBefore + cfg.Seconds {
		if err := l.second(ctx, i >= secondsBefore, !cfg.Hoards); err != nil {
			return Result{}, err
		}
	}
	out, all := Result{Shares: map[string]float64{}, weights: cfg.Weights}, 0.0
	for _, n := range l.sum {
		all += n
	}
	for ns, n := range l.sum {
		out.Shares[ns] = n / all
	}
	out.Used = all / float64(l.looks) / float64(cfg.Nodes*cores)
	return out, nil
}

func (l *life) update(ctx context.Context, f func(*store.Tx) error) error {
	_, err := l.s.Update(ctx, f)
	return err
}

func (l *life) build(ctx context.Context, cfg Config) (err error) {
	if l.one, err = resource.Parse("cpus:1;mem:1024"); err != nil {
		return err
	}
	if l.asks, err = l.one.Requests(); err != nil {
		return err
	}
	return l.update(ctx, func(tx *store.Tx) error {
		for _, name := range []string{"kube-system", Apps, Shop, Jobs} {
			ns := &corev1.Namespace{Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}}
			ns.Name = name
			tables.Namespaces.Put(tx, ns)
			if w := cfg.Weights[name]; w != 0 {
				t := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"weight": w}}}
				t.SetGroupVersionKind(tenant.Kind)
				t.SetName(name)
				tables.CustomObjects.PutAt(tx, tables.TenantKey(name), t)
			}
		}
		for i := range cfg.Nodes {
			n := &corev1.Node{}
			n.Name = fmt.Sprint("n", i)
			n.Status.Allocatable = corev1.ResourceList{
				corev1.ResourceCPU: *apiresource.NewQuantity(cores, apiresource.DecimalSI), corev1.ResourceMemory: *apiresource.NewQuantity(cores<<30, apiresource.BinarySI),
				corev1.ResourcePods: *apiresource.NewQuantity(110, apiresource.DecimalSI),
			}
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
			tables.Nodes.Put(tx, n)
			a := &mesos.Agent{Status: mesos.AgentStatus{ID: "S" + fmt.Sprint(i)}}
			a.Name = n.Name
			if err := tables.PutMesosAgent(tx, a); err != nil {
				return err
			}
		}
		f := &mesos.Framework{Status: mesos.FrameworkStatus{Connected: true}}
		f.Name = mesos.FrameworkName(framework)
		f.Spec = mesos.FrameworkSpec{ID: framework, User: "ann"}
		f.Spec.Info.M = &mesosv1.FrameworkInfo{User: proto.String("root"), Name: proto.String(framework), Role: proto.String(Jobs)}
		return tables.PutMesosFramework(tx, f)
	})
}

// second is one: pods end, everybody has more to run, the framework answers what it is offered.
func (l *life) second(ctx context.Context, measure, answers bool) error {
	if err := l.update(ctx, func(tx *store.Tx) error {
		for row := range tables.Pods.Rows(tx, "") {
			if row.Head().Node != "" && l.rng.IntN(endEvery) == 0 {
				tables.Pods.Delete(tx, row.Key())
			}
		}
		l.more(tx, Apps)
		l.more(tx, Shop)
		return nil
	}); err != nil {
		return err
	}
	for range 3 {
		if err := l.settle(ctx); err != nil {
			return err
		}
		if answers {
			if err := l.update(ctx, l.answer); err != nil {
				return err
			}
		}
		if err := l.settle(ctx); err != nil {
			return err
		}
		l.now = l.now.Add(50 * time.Millisecond)
	}
	if measure {
		l.looks++
		for row := range tables.Pods.Rows(l.s.Head(), "") {
			if row.Head().Node != "" {
				l.sum[row.Key().Namespace]++
			}
		}
	}
	l.now = l.now.Add(850 * time.Millisecond)
	return nil
}

func (l *life) settle(ctx context.Context) error {
	for {
		again, next, err := l.r.Tick(ctx)
		if err != nil {
			return err
		}
		for _, st := range l.r.Stats() {
			if st.Err != "" {
				return fmt.Errorf("loop %s: %s", st.Name, st.Err)
			}
		}
		if !again && next.After(l.now) {
			return nil
		}
	}
}

// id returns the next of a row of UUIDs, the same for the same seed.
func (l *life) id() types.UID {
	return types.UID(fmt.Sprintf("%08x-%04x-4000-8000-%012x", l.rng.Uint32(), l.rng.IntN(1<<16), l.rng.Int64N(1<<48)))
}

// more keeps a backlog of pods in a namespace.
func (l *life) more(tx *store.Tx, ns string) {
	waits := 0
	for row := range tables.Pods.Rows(tx, ns) {
		if row.Head().Waits {
			waits++
		}
	}
	for ; waits < backlog; waits++ {
		l.made++
		p := &corev1.Pod{}
		p.Namespace, p.Name = ns, fmt.Sprintf("p%06d", l.made)
		p.Spec.SchedulerName = corev1.DefaultSchedulerName
		p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: l.asks}}}
		tables.Pods.Put(tx, p)
	}
}

// answer has the framework take what it is offered, as tasks of one CPU.
func (l *life) answer(tx *store.Tx) error {
	for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, framework) {
		o := row.Object()
		if o.Refused {
			continue
		}
		list, err := resource.From("resources", o.Resources)
		if err != nil {
			return err
		}
		op := &mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{}}
		for left := list.AllocatedTo(""); left.Contains(l.one); left = left.Minus(l.one) {
			l.made++
			op.Launch.TaskInfos = append(op.Launch.TaskInfos, l.task(fmt.Sprintf("t%06d", l.made), o.Agent))
		}
		a := &mesos.Accept{Offers: []string{o.Name}, Operations: []*mesosv1.Offer_Operation{op}, RefuseFor: time.Second}
		a.Namespace, a.Name = framework, "a-"+o.Name
		tables.MesosAccepts.Put(tx, a)
	}
	return nil
}

func (l *life) task(id, agent string) *mesosv1.TaskInfo {
	return &mesosv1.TaskInfo{
		Name: &id, TaskId: &mesosv1.TaskID{Value: &id}, AgentId: &mesosv1.AgentID{Value: &agent}, Resources: l.one.Messages(false),
		Command:   &mesosv1.CommandInfo{Value: proto.String("true")},
		Container: &mesosv1.ContainerInfo{Type: mesosv1.ContainerInfo_DOCKER.Enum(), Docker: &mesosv1.ContainerInfo_DockerInfo{Image: proto.String("busybox")}},
	}
}
