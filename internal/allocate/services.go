package allocate

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// services is the loop that gives addresses to services that came by another
// way than a door, and names the nodes that answer for load balancers.
type services struct{ a *Allocator }

func (l *services) Name() string { return "allocate/services" }

func (l *services) Reads() []store.TableID {
	return []store.TableID{tables.Services.ID(), tables.Nodes.ID()}
}

func (l *services) Writes() []store.TableID { return []store.TableID{tables.Services.ID()} }

// Reconcile looks at the services that changed, and at every load balancer
// where a node changed.
func (l *services) Reconcile(tx *store.Tx) (time.Time, error) {
	look := map[object.Key]bool{}
	for key := range tables.Services.Changed(tx) {
		look[key] = true
	}
	for range tables.Nodes.Changed(tx) {
		for row := range tables.Services.By(tx, tables.ServicesByMesh, "") {
			look[row.Key()] = true
		}
		break
	}
	if len(look) == 0 {
		return time.Time{}, nil
	}
	var ingress []corev1.LoadBalancerIngress
	known := false
	for _, key := range sortedKeys(look) {
		svc, ok := tables.Services.Get(tx, key)
		if !ok {
			continue
		}
		lb := svc.Spec.Type == corev1.ServiceTypeLoadBalancer
		if lb && !known {
			ingress, known = readyNodes(tx), true
		}
		l.complete(tx, svc, lb, ingress)
	}
	return time.Time{}, nil
}

// complete gives the service what it lacks. One that a door would have refused
// stays as it is: the others go on.
func (l *services) complete(tx *store.Tx, svc *corev1.Service, lb bool, ingress []corev1.LoadBalancerIngress) {
	lacks := svc.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.ClusterIP == ""
	moved := lb && !slices.EqualFunc(svc.Status.LoadBalancer.Ingress, ingress, func(a, b corev1.LoadBalancerIngress) bool { return a.IP == b.IP })
	if !lacks && !moved {
		return
	}
	next := svc.DeepCopy()
	if lacks && l.a.Service(tx, next, svc) != nil {
		return
	}
	if moved {
		next.Status.LoadBalancer.Ingress = ingress
	}
	tables.Services.Put(tx, next)
}

func sortedKeys(set map[object.Key]bool) []object.Key {
	keys := make([]object.Key, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

// ingressMax bounds the nodes named in a service's status: every node answers,
// but a thousand of them in every row would help nobody.
const ingressMax = 16

// readyNodes returns the addresses of the first ready nodes, by name.
func readyNodes(tx *store.Tx) []corev1.LoadBalancerIngress {
	vip := corev1.LoadBalancerIPModeProxy
	var list []corev1.LoadBalancerIngress
	for n := range tables.Nodes.All(tx) {
		addr := nodeAddress(n)
		if !addr.IsValid() || !ready(n) {
			continue
		}
		if list = append(list, corev1.LoadBalancerIngress{IP: addr.String(), IPMode: &vip}); len(list) == ingressMax {
			break
		}
	}
	return list
}

func ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
