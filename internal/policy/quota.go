package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// Charge books what o takes more than old, which is nil at creation, on every
// quota of its namespace, in the transaction that puts it. It returns a Denied
// error, and books nothing, where one would be exceeded.
func Charge(tx *store.Tx, gr schema.GroupResource, o, old store.Object) error {
	booked, err := Fits(tx, gr, o, old)
	if err != nil {
		return err
	}
	for _, q := range booked {
		tables.ResourceQuotas.Put(tx, q)
	}
	return nil
}

// Fits returns the quotas as they stand once o is charged, those only that
// change, or why it may not be.
func Fits(r store.Reader, gr schema.GroupResource, o, old store.Object) (booked []*corev1.ResourceQuota, err error) {
	if o.GetNamespace() == "" {
		return nil, nil
	}
	for q := range tables.ResourceQuotas.In(r, o.GetNamespace()) {
		if !Concerns(&q.Spec, gr) {
			continue
		}
		next, err := book(r, q, gr, o, old)
		if err != nil {
			return nil, err
		}
		if next != nil {
			booked = append(booked, next)
		}
	}
	return booked, nil
}

// book returns q with what o takes more than old; nil where that is nothing.
func book(r store.Reader, q *corev1.ResourceQuota, gr schema.GroupResource, o, old store.Object) (*corev1.ResourceQuota, error) {
	asks := Measure(&q.Spec, gr, o)
	if old != nil {
		asks = maps.Clone(asks)
		if asks == nil {
			asks = corev1.ResourceList{}
		}
		Add(asks, Measure(&q.Spec, gr, old), -1)
	}
	maps.DeleteFunc(asks, func(name corev1.ResourceName, _ resource.Quantity) bool { n := asks[name]; return n.Sign() <= 0 })
	if p, ok := o.(*corev1.Pod); ok && old == nil && inScope(&q.Spec, o) {
		if err := mustSay(q, p); err != nil {
			return nil, err
		}
	}
	if len(asks) == 0 {
		return nil, nil
	}
	next := q.DeepCopy()
	if !equality.Semantic.DeepEqual(q.Status.Hard, q.Spec.Hard) { // nobody has counted for these limits yet
		next.Status.Hard, next.Status.Used = q.Spec.DeepCopy().Hard, Used(r, q.Namespace, &q.Spec)
	}
	var over []corev1.ResourceName
	for name, n := range asks {
		sum := next.Status.Used[name]
		sum.Add(n)
		if sum.Cmp(next.Status.Hard[name]) > 0 {
			over = append(over, name)
		}
	}
	if len(over) > 0 {
		slices.Sort(over)
		return nil, denied("exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name,
			list(asks, over), list(next.Status.Used, over), list(next.Status.Hard, over))
	}
	Add(next.Status.Used, asks, 1)
	return next, nil
}

func list(l corev1.ResourceList, names []corev1.ResourceName) string {
	var all []string
	for _, name := range names {
		q := l[name]
		all = append(all, fmt.Sprintf("%s=%s", name, &q))
	}
	return strings.Join(all, ",")
}

// mustSay refuses a pod whose containers leave out what the quota limits of CPU
// and memory: such a pod could not be counted (Kubernetes, "Resource Quotas",
// "Compute resource quota").
func mustSay(q *corev1.ResourceQuota, p *corev1.Pod) error {
	if r := p.Spec.Resources; r != nil && len(r.Requests)+len(r.Limits) > 0 {
		return nil
	}
	var missing []string
	for _, name := range sorted(q.Spec.Hard) {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
			corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory:
		default:
			continue
		}
		var who []string
		for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range containers {
				has := corev1.ResourceList{}
				compute(has, containers[i].Resources.Requests, containers[i].Resources.Limits)
				if _, ok := has[name]; !ok {
					who = append(who, containers[i].Name)
				}
			}
		}
		if len(who) > 0 {
			slices.Sort(who)
			missing = append(missing, fmt.Sprintf("%s for: %s", name, strings.Join(who, ",")))
		}
	}
	if len(missing) > 0 {
		return denied("failed quota: %s: must specify %s", q.Name, strings.Join(missing, "; "))
	}
	return nil
}
