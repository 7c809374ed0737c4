package orchestrate_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/allocate"
	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/offer"
	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// pipeline is every control loop of a manager, in the server's order.
func pipeline() []loop.Reconciler {
	alloc := allocate.New(allocate.Config{
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/10")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
		NodePortMin: 30000, NodePortMax: 32767,
	})
	return slices.Concat(loops(), []loop.Reconciler{offer.NewLoop(offer.LoopConfig{}), schedule.New(schedule.Config{})}, alloc.Loops())
}

// TestDocument keeps docs/loops.md as the loops declare it.
func TestDocument(t *testing.T) {
	looptest.Golden(t, "../../docs/loops.md", loop.Document(pipeline()))
}

// TestRandomPipeline lets things happen to all stages together and then stops: with
// nodes that are ready and agents that do what they are told, every deployment
// must come to what it asks for, and services must lead there.
func TestRandomPipeline(t *testing.T) {
	seeds := 15
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := &life{World: looptest.New(t, append(tables.All(), tables.Samples()...)), Rand: rand.New(rand.NewPCG(uint64(seed), 2)), bound: true}
			l.Put("{apiVersion: v1, kind: Namespace, metadata: {name: default}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}")
			r := l.Runner(pipeline()...)
			for i := range 40 {
				what := l.deed()
				l.Settle(r)
				l.AtRest(fmt.Sprintf("deed %d, %s", i, what), loops())
			}
			for range 40 {
				l.heal()
				l.Settle(r)
			}
			l.check(t)
		})
	}
}

// makeVolume is what a provisioner does for a claim.
func makeVolume(tx *store.Tx, c *corev1.PersistentVolumeClaim) {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + string(c.UID)}}
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: c.Namespace, Name: c.Name, UID: c.UID}
	if _, ok := tables.PersistentVolumes.Row(tx, object.KeyOf(v)); !ok {
		tables.PersistentVolumes.Put(tx, v)
	}
}

// heal makes nodes ready and does what agents do.
func (l *life) heal() {
	for n := range 3 {
		l.node(n, "True", false)
	}
	l.Advance(31 * time.Second)
	l.Update(func(tx *store.Tx) {
		for row := range tables.PersistentVolumeClaims.By(tx, tables.ClaimsWaiting, "") {
			makeVolume(tx, row.Object())
		}
		for _, p := range slices.Collect(tables.Pods.All(tx)) {
			switch {
			case p.Spec.NodeName == "":
			case p.DeletionTimestamp != nil:
				tables.Pods.Delete(tx, object.KeyOf(p))
			case p.Status.Phase == corev1.PodPending || !object.PodReady(p) && !object.PodEnded(p):
				next := p.DeepCopy()
				next.Status.Phase = corev1.PodRunning
				ready(next, l.Now(), corev1.ConditionTrue)
				tables.Pods.Put(tx, next)
			}
		}
	})
}

// check wants every deployment complete and every service to lead to just the
// ready pods it selects.
func (l *life) check(t *testing.T) {
	t.Helper()
	snap := l.Store.Head()
	for d := range tables.Deployments.All(snap) {
		n := *d.Spec.Replicas
		if st := d.Status; d.DeletionTimestamp != nil || st.Replicas != n || st.UpdatedReplicas != n || st.AvailableReplicas != n {
			t.Errorf("deployment %s asks for %d and has %+v", d.Name, n, st)
		}
	}
	for set := range tables.StatefulSets.All(snap) {
		n, st := *set.Spec.Replicas, set.Status
		if set.DeletionTimestamp == nil && !l.inTheWay(set) && (st.Replicas != n || st.AvailableReplicas != n || set.Spec.UpdateStrategy.Type == "RollingUpdate" && (st.UpdatedReplicas != n || st.CurrentRevision != st.UpdateRevision)) {
			t.Errorf("stateful set %s asks for %d and has %+v", set.Name, n, st)
		}
	}
	for d := range tables.DaemonSets.All(snap) {
		n, st := int32(tables.Nodes.Len(snap)), d.Status
		if d.DeletionTimestamp == nil && (st.DesiredNumberScheduled > n || st.NumberAvailable != st.DesiredNumberScheduled || st.DesiredNumberScheduled < 3 ||
			d.Spec.UpdateStrategy.Type == "RollingUpdate" && st.UpdatedNumberScheduled != st.DesiredNumberScheduled) {
			t.Errorf("daemon set %s on %d nodes has %+v", d.Name, n, st)
		}
	}
	uids := map[string]bool{}
	for _, table := range append(tables.All(), tables.Samples()...) {
		for o := range table.All(snap) {
			uids[string(o.GetUID())] = true
		}
	}
	for p := range tables.Pods.All(snap) {
		if ref := metav1.GetControllerOf(p); ref != nil && !uids[string(ref.UID)] {
			t.Errorf("pod %s has an owner that is gone", p.Name)
		}
	}
	for svc := range tables.Services.All(snap) {
		l.checkService(t, svc)
	}
}

// inTheWay reports whether somebody else's pod bears a name that the set needs:
// one that was relabelled.
func (l *life) inTheWay(set *appsv1.StatefulSet) bool {
	for p := range tables.Pods.In(l.Store.Head(), set.Namespace) {
		if strings.HasPrefix(p.Name, set.Name+"-") && !metav1.IsControlledBy(p, set) {
			return true
		}
	}
	return false
}

func (l *life) checkService(t *testing.T, svc *corev1.Service) {
	t.Helper()
	snap := l.Store.Head()
	want, got := map[string]bool{}, map[string]bool{}
	for p := range tables.Pods.In(snap, svc.Namespace) {
		if labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(p.Labels)) && object.PodReady(p) && !object.PodEnded(p) && p.Status.PodIP != "" {
			want[p.Name] = true
		}
	}
	for sl := range tables.EndpointSlices.In(snap, svc.Namespace) {
		for _, e := range sl.Endpoints {
			if metav1.IsControlledBy(sl, svc) && *e.Conditions.Ready {
				got[e.TargetRef.Name] = true
			}
		}
	}
	if !equal(want, got) {
		t.Errorf("service %s leads to %v, want %v", svc.Name, got, want)
	}
}

func equal(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return len(a) == len(b)
}
