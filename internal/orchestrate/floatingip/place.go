package floatingip

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/object/floating"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// place is the node that answers for an address, or why none does.
type place struct{ node, reason, message string }

const answered = "Announced"

// place chooses the node.
func (l *Loop) place(tx *store.Tx, ip *floating.IP) place {
	t := ip.Spec.Target
	switch {
	case ip.DeletionTimestamp != nil:
		return place{reason: "Released", message: "the floating IP is being deleted"}
	case !ip.Held().IsValid():
		p := place{reason: "NotAllocated", message: "there is no address yet"}
		if c := meta.FindStatusCondition(ip.Status.Conditions, floating.Allocated); c != nil {
			p.message = c.Message
		}
		return p
	case t == nil:
		return place{reason: "NotAttached", message: fmt.Sprintf("the address leads nowhere: `trireme fip attach %s pod/NAME` or service/NAME", ip.Name)}
	case t.Kind == floating.Pod:
		return atPod(tx, ip, object.Key{Namespace: ip.Namespace, Name: t.Name})
	}
	return l.atService(tx, ip, object.Key{Namespace: ip.Namespace, Name: t.Name})
}

func atPod(tx *store.Tx, ip *floating.IP, key object.Key) place {
	pod, ok := tables.Pods.Get(tx, key)
	switch {
	case !ok:
		return place{reason: "TargetNotFound", message: fmt.Sprintf("there is no pod %s: the address is kept for it", key)}
	case pod.Spec.HostNetwork:
		return place{reason: "TargetUnsuitable", message: fmt.Sprintf("pod %s is on its node's own network: attach the address to a service", key)}
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return place{reason: "TargetEnded", message: fmt.Sprintf("pod %s has ended", key)}
	case pod.Spec.NodeName == "" || pod.Status.PodIP == "":
		return place{reason: "TargetPending", message: fmt.Sprintf("pod %s has no node yet", key)}
	case !slices.Contains(podFamilies(pod), family.Of(ip.Held())):
		return place{reason: "TargetUnsuitable", message: fmt.Sprintf("pod %s has no %s address", key, family.Of(ip.Held()))}
	}
	return place{pod.Spec.NodeName, answered, fmt.Sprintf("node %s answers for the address, with pod %s", pod.Spec.NodeName, key)}
}

// podFamilies returns those that a pod has addresses of.
func podFamilies(pod *corev1.Pod) []corev1.IPFamily {
	out := []corev1.IPFamily{family.Text(pod.Status.PodIP)}
	for _, ip := range pod.Status.PodIPs {
		out = append(out, family.Text(ip.IP))
	}
	return out
}

func (l *Loop) atService(tx *store.Tx, ip *floating.IP, key object.Key) place {
	svc, ok := tables.Services.Get(tx, key)
	switch {
	case !ok:
		return place{reason: "TargetNotFound", message: fmt.Sprintf("there is no service %s: the address is kept for it", key)}
	case svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return place{reason: "TargetUnsuitable", message: fmt.Sprintf("service %s leads nowhere itself: it is headless or a name", key)}
	case !family.Answers(svc, family.Of(ip.Held())):
		return place{reason: "TargetUnsuitable", message: fmt.Sprintf("service %s does not answer in %s: set its spec.ipFamilyPolicy or spec.ipFamilies", key, family.Of(ip.Held()))}
	}
	may := l.nodes
	none := place{ip.Status.Node, "NoReadyNode", "no node is ready to answer for the address"}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		may = withEndpoints(tx, key, l.nodes)
		none.reason, none.message = "NoReadyEndpoint", fmt.Sprintf("no ready node has a ready endpoint of service %s, whose external traffic policy is Local", key)
	}
	node := ip.Status.Node
	if !may[node] {
		node = elect(ip, may)
	}
	if node == "" {
		return none
	}
	return place{node, answered, fmt.Sprintf("node %s answers for the address, with service %s", node, key)}
}

// withEndpoints returns the nodes among may that have a ready endpoint.
func withEndpoints(tx *store.Tx, svc object.Key, may map[string]bool) map[string]bool {
	has := map[string]bool{}
	for s := range tables.EndpointSlices.In(tx, svc.Namespace) {
		if s.Labels[discoveryv1.LabelServiceName] != svc.Name {
			continue
		}
		for _, e := range s.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ready && e.NodeName != nil && may[*e.NodeName] {
				has[*e.NodeName] = true
			}
		}
	}
	return has
}

// elect chooses among the nodes: another one for each address, and the same one
// whoever chooses; a node more moves few addresses (rendezvous hashing).
func elect(ip *floating.IP, may map[string]bool) (best string) {
	most := uint64(0)
	for _, node := range slices.Sorted(maps.Keys(may)) {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s|%s", ip.Status.Address, node)
		if sum := mix(h.Sum64()); best == "" || sum > most {
			best, most = node, sum
		}
	}
	return best
}

// mix spreads what differs in the last letters over all bits (the finalizer of
// MurmurHash3, public domain).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
