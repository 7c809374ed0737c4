package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Loop is the control loop of nodes' taints.
type Loop struct {
	ready   map[string]bool                     // nodes, and whether they are ready
	evict   map[string][]corev1.Taint           // nodes with NoExecute taints
	readied int                                 // how many are ready
	back    map[string]time.Time                // those of them that became ready lately, and when
	due     map[string]map[object.Key]time.Time // when pods on such nodes are to go
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/node" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.Nodes.ID(), tables.Pods.ID()}
}

func (l *Loop) Writes() []store.TableID { return append(l.Reads(), tables.Events.ID()) }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		*l = Loop{map[string]bool{}, map[string][]corev1.Taint{}, 0, map[string]time.Time{}, map[string]map[object.Key]time.Time{}}
	}
	for key := range tables.Nodes.Changed(tx) {
		l.observeNode(tx, key.Name)
	}
	if len(l.evict) == 0 {
		return next, nil
	}
	if !tx.FullPass() { // else every tainted node's pods were just looked at
		for key := range tables.Pods.Changed(tx) {
			l.observePod(tx, key)
		}
	}
	return l.evictDue(tx), nil
}

// observeNode writes the node's taints and takes in what evicts.
func (l *Loop) observeNode(tx *store.Tx, name string) {
	if l.ready[name] {
		l.readied--
	}
	delete(l.ready, name)
	delete(l.back, name)
	n, ok := tables.Nodes.Get(tx, object.Key{Name: name})
	if !ok {
		delete(l.evict, name)
		delete(l.due, name)
		return
	}
	l.ready[name] = readiness(n) == corev1.ConditionTrue
	if l.ready[name] {
		l.readied++
		l.back[name] = object.NodeReadySince(&n.Status)
	}
	if want := taints(n, tx.Now()); !equality.Semantic.DeepEqual(want, n.Spec.Taints) {
		next := n.DeepCopy()
		next.Spec.Taints = want
		tables.Nodes.Put(tx, next)
		n = next
	}
	var evict []corev1.Taint
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			evict = append(evict, t)
		}
	}
	if equality.Semantic.DeepEqual(evict, l.evict[name]) {
		return
	}
	delete(l.evict, name)
	delete(l.due, name)
	if len(evict) == 0 {
		return
	}
	l.evict[name] = evict
	for row := range tables.Pods.By(tx, tables.PodsByNode, name) {
		l.observePod(tx, row.Key())
	}
}

// readiness returns the status of the node's condition Ready; a node that has
// none has not said that it is.
func readiness(n *corev1.Node) corev1.ConditionStatus {
	if s := object.NodeReadiness(&n.Status); s != "" {
		return s
	}
	return corev1.ConditionFalse
}

// taints returns the taints the node is to have: others' as they are, then ours.
func taints(n *corev1.Node, now time.Time) []corev1.Taint {
	want := map[corev1.Taint]bool{}
	mark := func(key string, effects ...corev1.TaintEffect) {
		for _, e := range effects {
			want[corev1.Taint{Key: key, Effect: e}] = true
		}
	}
	switch readiness(n) {
	case corev1.ConditionFalse:
		mark(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute)
	case corev1.ConditionUnknown:
		mark(corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute)
	}
	for _, c := range n.Status.Conditions {
		if key := byCondition[c.Type]; key != "" && c.Status == corev1.ConditionTrue {
			mark(key, corev1.TaintEffectNoSchedule)
		}
	}
	if n.Spec.Unschedulable {
		mark(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	var out []corev1.Taint
	for _, t := range n.Spec.Taints {
		id := corev1.Taint{Key: t.Key, Effect: t.Effect}
		if ours(t.Key) && !want[id] {
			continue
		}
		delete(want, id)
		if t.Effect == corev1.TaintEffectNoExecute && t.TimeAdded == nil {
			t.TimeAdded = second(now)
		}
		out = append(out, t)
	}
	missing := slices.SortedFunc(maps.Keys(want), func(a, b corev1.Taint) int {
		return strings.Compare(a.Key+string(a.Effect), b.Key+string(b.Effect))
	})
	for _, t := range missing {
		t.TimeAdded = second(now)
		out = append(out, t)
	}
	return out
}

// byCondition are the taints of conditions that no new pod should meet.
var byCondition = map[corev1.NodeConditionType]string{
	corev1.NodeMemoryPressure: corev1.TaintNodeMemoryPressure, corev1.NodeDiskPressure: corev1.TaintNodeDiskPressure,
	corev1.NodePIDPressure: corev1.TaintNodePIDPressure, corev1.NodeNetworkUnavailable: corev1.TaintNodeNetworkUnavailable,
}

func ours(key string) bool {
	switch key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable, corev1.TaintNodeMemoryPressure,
		corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable:
		return true
	}
	return false
}

func second(t time.Time) *metav1.Time {
	s := metav1.NewTime(t.Truncate(time.Second))
	return &s
}

// observePod works out when a pod on a tainted node is to go.
func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	for _, due := range l.due { // it may have been on another node
		delete(due, key)
	}
	row, ok := tables.Pods.Row(tx, key)
	if !ok {
		return
	}
	h := row.Head()
	taints := l.evict[h.Node]
	if len(taints) == 0 || h.Deleting || h.Ended() {
		return
	}
	at, evicted := until(row.Object(), taints)
	if !evicted {
		return
	}
	if l.due[h.Node] == nil {
		l.due[h.Node] = map[object.Key]time.Time{}
	}
	l.due[h.Node][key] = at
}

// until returns when the taints evict the pod; false: never.
func until(p *corev1.Pod, taints []corev1.Taint) (at time.Time, evicted bool) {
	for i := range taints {
		t := &taints[i]
		start := p.CreationTimestamp.Time
		if t.TimeAdded != nil && t.TimeAdded.After(start) {
			start = t.TimeAdded.Time
		}
		bears, forever := tolerated(p, t)
		if forever {
			continue
		}
		if end := start.Add(bears); !evicted || end.Before(at) {
			at, evicted = end, true
		}
	}
	return at, evicted
}

// tolerated returns how long the pod bears the taint: the shortest time that any
// of its matching tolerations names.
func tolerated(p *corev1.Pod, t *corev1.Taint) (bears time.Duration, forever bool) {
	found := false
	for i := range p.Spec.Tolerations {
		tol := &p.Spec.Tolerations[i]
		if !tolerates(tol, t) {
			continue
		}
		if tol.TolerationSeconds == nil {
			if !found {
				forever = true
			}
			found = true
			continue
		}
		d := time.Duration(max(*tol.TolerationSeconds, 0)) * time.Second
		if !found || forever || d < bears {
			bears = d
		}
		found, forever = true, false
	}
	return bears, found && forever
}

// tolerates reports whether the toleration matches the taint (API reference,
// Toleration).
func tolerates(tol *corev1.Toleration, t *corev1.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect || tol.Key != "" && tol.Key != t.Key {
		return false
	}
	switch tol.Operator {
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpEqual, "":
		return tol.Key != "" && tol.Value == t.Value
	}
	return false
}

// evictDue deletes the pods whose time has come and returns when the next one
// is due.
func (l *Loop) evictDue(tx *store.Tx) (next time.Time) {
	budget := loop.StepWritesMax
	disrupted, again := l.disrupted(tx.Now())
	for _, node := range slices.Sorted(maps.Keys(l.due)) {
		if disrupted && onlyOurs(l.evict[node]) {
			if !again.IsZero() && (next.IsZero() || again.Before(next)) {
				next = again
			}
			continue
		}
		for _, key := range byKey(l.due[node]) {
			at := l.due[node][key]
			if tx.Now().Before(at) || budget == 0 {
				if next.IsZero() || at.Before(next) {
					next = at
				}
				continue
			}
			evict(tx, key)
			delete(l.due[node], key)
			budget--
		}
	}
	return next
}

// returnTime is how long nodes may take to come back when most were away: an
// agent finds its manager again within 8 s.
const returnTime = 10 * time.Second

// disrupted reports whether so many nodes are not ready, or only just came back,
// that moving their pods would make things worse, and when to ask again, should no
// node change meanwhile; zero: never.
func (l *Loop) disrupted(now time.Time) (yes bool, again time.Time) {
	for name, since := range l.back {
		end := since.Add(returnTime)
		if !now.Before(end) {
			delete(l.back, name)
		} else if again.IsZero() || end.Before(again) {
			again = end
		}
	}
	return object.MostAway(len(l.ready)-l.readied+len(l.back), len(l.ready)), again
}

func evict(tx *store.Tx, key object.Key) {
	pod, ok := tables.Pods.Get(tx, key)
	if !ok || !reap.Disrupt(tx, key, object.Disruption{Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint"}) {
		return
	}
	tell.About(tx, tables.Pods, pod, tell.Event{
		From: "taint-eviction-controller", Type: corev1.EventTypeNormal, Reason: "TaintManagerEviction",
		Message: fmt.Sprintf("Evicted from node %s: the pod does not bear its taints any longer", pod.Spec.NodeName),
	})
}

func onlyOurs(taints []corev1.Taint) bool {
	return !slices.ContainsFunc(taints, func(t corev1.Taint) bool { return !ours(t.Key) })
}

func byKey(m map[object.Key]time.Time) []object.Key {
	return slices.SortedFunc(maps.Keys(m), object.Key.Compare)
}
