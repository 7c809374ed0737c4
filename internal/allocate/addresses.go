package allocate

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// cidrFinalizer keeps a ServiceCIDR while services have addresses of it.
const cidrFinalizer = "networking.k8s.io/service-cidr-finalizer"

// addresses is the loop that shows who has which cluster IP as IPAddresses, and that
// keeps the status of ServiceCIDRs (Kubernetes, "Virtual IPs and Service Proxies", "IP
// address objects"). The services' rows say what is taken; IPAddresses follow them.
type addresses struct {
	a  *Allocator
	of map[object.Key][]string // the addresses of each service, as last seen
}

func (l *addresses) Name() string { return "allocate/addresses" }

func (l *addresses) Reads() []store.TableID {
	return []store.TableID{tables.Services.ID(), tables.IPAddresses.ID(), tables.ServiceCIDRs.ID()}
}

func (l *addresses) Writes() []store.TableID {
	return []store.TableID{tables.IPAddresses.ID(), tables.ServiceCIDRs.ID()}
}

// Reconcile looks at the addresses that services had or have, and then at the ranges.
func (l *addresses) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.of = map[object.Key][]string{}
	}
	look := map[string]bool{}
	for key := range tables.Services.Changed(tx) {
		for _, ip := range l.of[key] {
			look[ip] = true
		}
		delete(l.of, key)
		svc, ok := tables.Services.Get(tx, key)
		if !ok {
			continue
		}
		for _, ip := range family.ClusterIPs(svc) {
			if _, err := netip.ParseAddr(ip); err == nil {
				l.of[key], look[ip] = append(l.of[key], ip), true
			}
		}
	}
	changed := len(look) > 0
	for key := range tables.IPAddresses.Changed(tx) {
		look[key.Name], changed = true, true
	}
	for _, ip := range slices.Sorted(maps.Keys(look)) {
		follow(tx, ip)
	}
	for range tables.ServiceCIDRs.Changed(tx) {
		changed = true
	}
	if changed {
		l.judge(tx)
	}
	return time.Time{}, nil
}

// follow makes the IPAddress of an address say which service has it.
func follow(tx *store.Tx, ip string) {
	var ref *networkingv1.ParentReference
	for row := range tables.Services.By(tx, tables.ServicesByIP, ip) {
		key := row.Key()
		ref = &networkingv1.ParentReference{Resource: string(tables.Services.ID()), Namespace: key.Namespace, Name: key.Name}
		break
	}
	key := object.Key{Name: ip}
	have, ok := tables.IPAddresses.Get(tx, key)
	switch {
	case ok && !ours(have):
	case ref == nil && ok && have.DeletionTimestamp == nil:
		tables.IPAddresses.Delete(tx, key)
	case ref == nil || ok && equality.Semantic.DeepEqual(have.Spec.ParentRef, ref):
	case ok:
		next := have.DeepCopy()
		next.Spec.ParentRef = ref
		tables.IPAddresses.Put(tx, next)
	case !tables.IPAddresses.Removed(tx, key): // else in the next transaction
		tables.IPAddresses.Put(tx, &networkingv1.IPAddress{
			ObjectMeta: metav1.ObjectMeta{Name: ip, Generation: 1, Labels: map[string]string{
				networkingv1.LabelIPAddressFamily: string(family.Text(ip)), networkingv1.LabelManagedBy: managedBy,
			}},
			Spec: networkingv1.IPAddressSpec{ParentRef: ref},
		})
	}
}

// judge keeps the finalizer and the condition Ready of every ServiceCIDR. One that is to
// go stays while it has addresses that no other range has.
func (l *addresses) judge(tx *store.Tx) {
	ranges := slices.Concat(l.a.ranges(tx, corev1.IPv4Protocol), l.a.ranges(tx, corev1.IPv6Protocol))
	for c := range tables.ServiceCIDRs.All(tx) {
		next := c.DeepCopy()
		nets, why := l.a.networks(c)
		ready := metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"}
		held := slices.Contains(next.Finalizers, cidrFinalizer)
		switch {
		case c.DeletionTimestamp == nil && !held:
			next.Finalizers = append(next.Finalizers, cidrFinalizer)
		case c.DeletionTimestamp != nil && held && (why != "" || !inUse(tx, nets, ranges)):
			next.Finalizers = object.Without(next.Finalizers, cidrFinalizer)
		}
		switch {
		case c.DeletionTimestamp != nil:
			ready.Status, ready.Reason = metav1.ConditionFalse, networkingv1.ServiceCIDRReasonTerminating
			ready.Message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
		case why != "":
			ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, "Unusable", why
		}
		ready.LastTransitionTime = metav1.NewTime(tx.Now().Truncate(time.Second))
		meta.SetStatusCondition(&next.Status.Conditions, ready)
		switch {
		case equality.Semantic.DeepEqual(next, c):
		case next.DeletionTimestamp != nil && len(next.Finalizers) == 0:
			tables.ServiceCIDRs.Delete(tx, object.KeyOf(c))
		default:
			tables.ServiceCIDRs.Put(tx, next)
		}
	}
}

// inUse reports whether an address of nets has an IPAddress and is in none of the ranges.
func inUse(tx *store.Tx, nets, ranges []netip.Prefix) bool {
	for row := range tables.IPAddresses.Rows(tx, "") {
		ip, err := netip.ParseAddr(row.Key().Name)
		holds := func(p netip.Prefix) bool { return p.Contains(ip) }
		if err == nil && slices.ContainsFunc(nets, holds) && !slices.ContainsFunc(ranges, holds) {
			return true
		}
	}
	return false
}
