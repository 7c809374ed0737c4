package floatingip

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/floating"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop places FloatingIPs.
type Loop struct {
	ips   map[object.Key]*floating.IP
	nodes map[string]bool // that may answer
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/floatingip" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{
		tables.CustomObjects.ID(), tables.Services.ID(), tables.EndpointSlices.ID(), tables.Pods.ID(), tables.Nodes.ID(), tables.Namespaces.ID(),
	}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Events.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.ips, l.nodes = map[object.Key]*floating.IP{}, map[string]bool{}
	}
	services := map[object.Key]bool{}
	dirty := l.take(tx, services)
	for _, key := range object.SortedKeys(services) {
		misfit(tx, key)
		for _, f := range families {
			if err := l.own(tx, key, f); err != nil {
				return time.Time{}, err
			}
			dirty[floating.ForService(key, f)] = true
		}
	}
	for _, key := range object.SortedKeys(dirty) {
		if ip := l.ips[key]; ip != nil {
			if err := l.write(tx, key, l.place(tx, ip)); err != nil {
				return time.Time{}, err
			}
		}
	}
	return time.Time{}, nil
}

// take takes in what changed. It returns the FloatingIPs to look at, and adds to
// services those whose own ones are to be looked at.
func (l *Loop) take(tx *store.Tx, services map[object.Key]bool) map[object.Key]bool {
	dirty := map[object.Key]bool{}
	for at := range tables.CustomObjects.Changed(tx) {
		key, ours := tables.FloatingIPKey(at)
		if !ours {
			continue
		}
		ip, ok := tables.FloatingIP(tx, key)
		if l.ips[key] = ip; !ok {
			delete(l.ips, key)
		}
		dirty[key] = true
		if svc, ok := floating.ServiceOf(key); ok {
			services[svc] = true
		}
	}
	targets := map[floating.Target]map[string]bool{} // what changed: name "" is all of the kind; to its namespaces
	for key := range tables.Services.Changed(tx) {
		services[key] = true
		touch(targets, floating.Service, key.Name, key.Namespace)
	}
	for key := range tables.EndpointSlices.Changed(tx) {
		touch(targets, floating.Service, "", key.Namespace)
	}
	for key := range tables.Pods.Changed(tx) {
		if len(l.ips) > 0 {
			touch(targets, floating.Pod, key.Name, key.Namespace)
		}
	}
	all := l.takeNodes(tx)
	for key, ip := range l.ips {
		if t := ip.Spec.Target; all || t != nil && (targets[*t][key.Namespace] || targets[floating.Target{Kind: t.Kind}][key.Namespace]) {
			dirty[key] = true
		}
	}
	return dirty
}

func touch(targets map[floating.Target]map[string]bool, kind, name, namespace string) {
	t := floating.Target{Kind: kind, Name: name}
	if targets[t] == nil {
		targets[t] = map[string]bool{}
	}
	targets[t][namespace] = true
}

// takeNodes reports whether other nodes than before may answer.
func (l *Loop) takeNodes(tx *store.Tx) (changed bool) {
	for key := range tables.Nodes.Changed(tx) {
		n, ok := tables.Nodes.Get(tx, key)
		may := ok && mayAnswer(n)
		if may != l.nodes[key.Name] {
			changed = true
		}
		if l.nodes[key.Name] = may; !may {
			delete(l.nodes, key.Name)
		}
	}
	return changed
}

// mayAnswer reports whether the node may answer for addresses of services.
func mayAnswer(n *corev1.Node) bool {
	_, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]
	return !excluded && n.DeletionTimestamp == nil && object.NodeReady(n)
}

// write writes where the address is, if that is news.
func (l *Loop) write(tx *store.Tx, key object.Key, p place) error {
	old := l.ips[key]
	c := metav1.Condition{
		Type: floating.Announced, Status: metav1.ConditionFalse, Reason: p.reason, Message: p.message,
		ObservedGeneration: old.Generation, LastTransitionTime: metav1.NewTime(tx.Now().Truncate(time.Second)),
	}
	if p.reason == answered {
		c.Status = metav1.ConditionTrue
	}
	next := old.DeepCopyObject().(*floating.IP)
	if !meta.SetStatusCondition(&next.Status.Conditions, c) && old.Status.Node == p.node {
		return nil
	}
	next.Status.Node = p.node
	l.ips[key] = next
	return tables.PutFloatingIP(tx, next)
}
