package allocate

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/object/floating"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// services is the loop that gives addresses to services that came by another
// way than a door, and names the nodes that answer for load balancers.
type services struct{ a *Allocator }

func (l *services) Name() string { return "allocate/services" }

func (l *services) Reads() []store.TableID {
	return []store.TableID{tables.Services.ID(), tables.Nodes.ID(), tables.ServiceCIDRs.ID(), tables.IPAddresses.ID(), tables.CustomObjects.ID()}
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
	for at := range tables.CustomObjects.Changed(tx) {
		if key, ok := tables.FloatingIPKey(at); ok {
			if svc, ok := floating.ServiceOf(key); ok {
				look[svc] = true
			}
		}
	}
	if len(look) == 0 {
		return time.Time{}, nil
	}
	var nodes []corev1.LoadBalancerIngress
	known := false
	for _, key := range sortedKeys(look) {
		svc, ok := tables.Services.Get(tx, key)
		if !ok {
			continue
		}
		c := svc.Spec.LoadBalancerClass
		lb := svc.Spec.Type == corev1.ServiceTypeLoadBalancer && (c == nil || *c == floating.Class) // others answer for theirs
		if lb && !known {
			nodes, known = readyNodes(tx), true
		}
		answers := answering(svc, nodes)
		if _, pooled := floating.Wanted(svc); pooled {
			answers = ingress(tx, svc)
		}
		l.complete(tx, svc, lb, answers)
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

// answering returns the addresses of the service's families.
func answering(svc *corev1.Service, all []corev1.LoadBalancerIngress) (out []corev1.LoadBalancerIngress) {
	for _, in := range all {
		if family.Answers(svc, family.Text(in.IP)) {
			out = append(out, in)
		}
	}
	return out
}

// readyNodes returns who answers for a service on the mesh.
func readyNodes(tx *store.Tx) []corev1.LoadBalancerIngress {
	vip := corev1.LoadBalancerIPModeProxy
	var list []corev1.LoadBalancerIngress
	for _, a := range tables.MeshAddresses(tx) {
		list = append(list, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &vip})
	}
	return list
}
