package floatingip

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/object/floating"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

const component = "floatingip-controller"

// families are those that a service may have an address of.
var families = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}

// misfit tells the owner of a load balancer that asks for an address of a family that it
// does not have.
func misfit(tx *store.Tx, key object.Key) {
	svc, ok := tables.Services.Get(tx, key)
	if !ok {
		return
	}
	pool, wanted := floating.Wanted(svc)
	ip := svc.Spec.LoadBalancerIP
	if !wanted || ip == "" || family.Answers(svc, family.Text(ip)) {
		return
	}
	instead := "no address is given"
	if pool != "" {
		instead = "the pool gives another"
	}
	tell.Once(tx, tables.Services, svc, tell.Event{
		From: component, Type: corev1.EventTypeWarning, Reason: "LoadBalancerIPFamily",
		Message: fmt.Sprintf("spec.loadBalancerIP: %s is of %s, which spec.ipFamilies of the service lacks: %s; ask for an address of one of its families", ip, family.Text(ip), instead),
	})
}

// own makes the FloatingIP of a load balancer, of one family, what the service asks
// for, and deletes it where it asks for none.
func (l *Loop) own(tx *store.Tx, key object.Key, f corev1.IPFamily) error {
	at := floating.ForService(key, f)
	have := l.ips[at]
	svc, ok := tables.Services.Get(tx, key)
	want, wanted := floating.IPSpec{}, false
	if ok {
		want, wanted = asked(svc, f)
	}
	switch {
	case !wanted:
		if have != nil && ok && have.OwnedBy(svc) && have.DeletionTimestamp == nil {
			l.drop(tx, at) // a service that is gone takes its own with it (orchestrate/gc)
		}
		return nil
	case have != nil && !have.OwnedBy(svc):
		tell.Once(tx, tables.Services, svc, tell.Event{
			From: component, Type: corev1.EventTypeWarning, Reason: "FloatingIPNotOwned",
			Message: fmt.Sprintf("floating IP %s is there and is not the service's: delete it, or give the service another name", at),
		})
		return nil
	}
	if have == nil {
		if reap.Terminating(tx, key.Namespace) || tables.CustomObjects.Removed(tx, tables.FloatingKey(floating.IPs, at)) {
			return nil // its going wakes this loop again
		}
		return l.make(tx, svc, want)
	}
	l.complain(tx, svc, have)
	same := have.Spec.Pool == want.Pool && have.Spec.Address == want.Address && have.Spec.IPFamily == want.IPFamily
	if have.DeletionTimestamp != nil || same && have.Leads(floating.Service, key.Name) {
		return nil
	}
	next := have.DeepCopyObject().(*floating.IP)
	next.Spec = want
	next.Generation++
	l.ips[at] = next
	return tables.PutFloatingIP(tx, next)
}

// asked returns what a service asks for in one family. An address that it names is of
// one of its families, and without a pool it has no other.
func asked(svc *corev1.Service, f corev1.IPFamily) (floating.IPSpec, bool) {
	pool, wanted := floating.Wanted(svc)
	if !wanted || !family.Answers(svc, f) {
		return floating.IPSpec{}, false
	}
	spec := floating.IPSpec{Pool: pool, IPFamily: f, Target: &floating.Target{Kind: floating.Service, Name: svc.Name}}
	if ip := svc.Spec.LoadBalancerIP; ip != "" && family.Text(ip) == f {
		spec.Address = ip
	} else if ip != "" && pool == "" {
		return floating.IPSpec{}, false
	}
	return spec, true
}

func (l *Loop) make(tx *store.Tx, svc *corev1.Service, want floating.IPSpec) error {
	at := floating.ForService(object.KeyOf(svc), want.IPFamily)
	ip := &floating.IP{Spec: want}
	ip.Namespace, ip.Name, ip.Generation = at.Namespace, at.Name, 1
	ip.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind(floating.Service))}
	if err := tables.PutFloatingIP(tx, ip); err != nil {
		return err
	}
	if ip, ok := tables.FloatingIP(tx, at); ok { // with what the store filled in
		l.ips[at] = ip
	}
	return nil
}

func (l *Loop) drop(tx *store.Tx, at object.Key) {
	reap.Delete(tx, tables.CustomObjects, tables.FloatingKey(floating.IPs, at), metav1.DeletePropagationBackground)
	delete(l.ips, at)
	if ip, still := tables.FloatingIP(tx, at); still {
		l.ips[at] = ip
	}
}

// complain tells the service's owner why it has no address, unless it would rather have
// one of each family and has one.
func (l *Loop) complain(tx *store.Tx, svc *corev1.Service, ip *floating.IP) {
	c := meta.FindStatusCondition(ip.Status.Conditions, floating.Allocated)
	if c == nil || c.Status == metav1.ConditionTrue || c.ObservedGeneration != ip.Generation {
		return
	}
	p := svc.Spec.IPFamilyPolicy
	if p != nil && *p == corev1.IPFamilyPolicyPreferDualStack && ip.Spec.IPFamily != family.OfService(svc)[0] {
		return
	}
	tell.Once(tx, tables.Services, svc, tell.Event{From: component, Type: corev1.EventTypeWarning, Reason: c.Reason, Message: "no address for the load balancer (annotation " + floating.PoolAnnotation + " names its pool): " + c.Message})
}
