package validate

import (
	"net/netip"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/gang"
	jobs "trireme/internal/object/validate/job"
	"trireme/internal/object/validate/trust"
)

// Status checks the status of an object, as a writer of the status subresource
// hands it in.
func Status(o runtime.Object) field.ErrorList {
	path := field.NewPath("status")
	switch o := o.(type) {
	case *appsv1.Deployment:
		s := &o.Status
		return counts(path, count{"replicas", s.Replicas}, count{"updatedReplicas", s.UpdatedReplicas},
			count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas}, count{"unavailableReplicas", s.UnavailableReplicas})
	case *appsv1.ReplicaSet:
		s := &o.Status
		return counts(path, count{"replicas", s.Replicas}, count{"fullyLabeledReplicas", s.FullyLabeledReplicas},
			count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas})
	case *batchv1.Job:
		return jobs.Status(o)
	case *policyv1.PodDisruptionBudget:
		s := &o.Status
		return counts(path, count{"disruptionsAllowed", s.DisruptionsAllowed}, count{"currentHealthy", s.CurrentHealthy}, count{"desiredHealthy", s.DesiredHealthy}, count{"expectedPods", s.ExpectedPods})
	case *autoscalingv2.HorizontalPodAutoscaler:
		return counts(path, count{"currentReplicas", o.Status.CurrentReplicas}, count{"desiredReplicas", o.Status.DesiredReplicas})
	case *certificatesv1.CertificateSigningRequest:
		return trust.SigningStatus(o)
	case *corev1.Pod:
		var errs field.ErrorList
		for i, ip := range o.Status.PodIPs {
			errs = append(errs, address(ip.IP, path.Child("podIPs").Index(i).Child("ip"))...)
		}
		if o.Status.PodIP != "" {
			errs = append(errs, address(o.Status.PodIP, path.Child("podIP"))...)
		}
		return errs
	case *corev1.Service:
		var errs field.ErrorList
		for i, in := range o.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				errs = append(errs, address(in.IP, path.Child("loadBalancer", "ingress").Index(i).Child("ip"))...)
			}
		}
		return errs
	case *corev1.Node:
		var errs field.ErrorList
		for name, q := range o.Status.Allocatable {
			if q.Sign() < 0 {
				errs = append(errs, field.Invalid(path.Child("allocatable").Key(string(name)), q.String(), "must be greater than or equal to 0"))
			}
		}
		return errs
	case *networkingv1.Ingress:
		return ingressStatus(&o.Status, path)
	}
	return append(append(append(workloadStatus(o), storageStatus(o, path)...), trust.Status(o)...), gang.Status(o)...)
}

// StatusUpdate returns every fault of next's status, and why it may not follow old's.
func StatusUpdate(next, old runtime.Object) field.ErrorList {
	errs := Status(next)
	if j, ok := next.(*batchv1.Job); ok {
		errs = append(errs, jobs.StatusUpdate(j, old.(*batchv1.Job))...)
	}
	return errs
}

type count struct {
	name string
	n    int32
}

func counts(path *field.Path, all ...count) (errs field.ErrorList) {
	for _, c := range all {
		errs = append(errs, nonNegative(int64(c.n), path.Child(c.name))...)
	}
	return errs
}

func address(ip string, at *field.Path) field.ErrorList {
	if _, err := netip.ParseAddr(ip); err != nil {
		return field.ErrorList{field.Invalid(at, ip, "must be a valid IP address")}
	}
	return nil
}

// node checks what the allocator and the dataplane take from a node's spec.
func node(n *corev1.Node) field.ErrorList {
	path := field.NewPath("spec")
	errs := taints(n.Spec.Taints, path.Child("taints"))
	for i, c := range n.Spec.PodCIDRs {
		if _, err := netip.ParsePrefix(c); err != nil {
			errs = append(errs, field.Invalid(path.Child("podCIDRs").Index(i), c, "must be a valid CIDR value"))
		}
	}
	if c := n.Spec.PodCIDR; c != "" {
		if _, err := netip.ParsePrefix(c); err != nil {
			errs = append(errs, field.Invalid(path.Child("podCIDR"), c, "must be a valid CIDR value"))
		}
	}
	return errs
}

// nodeUpdate keeps a node's pod subnet once it has one: its pods have addresses
// of it.
func nodeUpdate(next, old *corev1.Node) (errs field.ErrorList) {
	if old.Spec.ProviderID != "" && next.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	if old.Spec.PodCIDR != "" && next.Spec.PodCIDR != old.Spec.PodCIDR {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "podCIDR"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	return errs
}

// event checks that an event lies in the namespace of what it is about.
func event(e *corev1.Event) field.ErrorList {
	ns := e.InvolvedObject.Namespace
	if ns == e.Namespace || (ns == "" && (e.Namespace == "default" || e.Namespace == "kube-system")) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), ns, "does not match event.namespace")}
}
