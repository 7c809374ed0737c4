package object

import (
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/resource"
)

// PodEnded reports whether the pod's containers will not run again.
func PodEnded(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// PodReady reports whether the pod's condition Ready is true.
func PodReady(p *corev1.Pod) bool {
	c := PodCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// PodCondition returns the pod's condition of the type, nil if it has none.
func PodCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// SetPodCondition sets c and reports whether that changed anything. The
// transition time moves only when the status does.
func SetPodCondition(p *corev1.Pod, c corev1.PodCondition) bool {
	old := PodCondition(p, c.Type)
	if old == nil {
		p.Status.Conditions = append(p.Status.Conditions, c)
		return true
	}
	if old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	c.LastProbeTime = old.LastProbeTime
	if *old == c {
		return false
	}
	*old = c
	return true
}

// QOS returns the pod's quality of service class (Kubernetes, "Pod Quality of
// Service Classes"): Guaranteed where every container's cpu and memory limits
// are set and equal its requests, BestEffort where none sets any.
func QOS(p *corev1.Pod) corev1.PodQOSClass {
	guaranteed, best := true, true
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			r := &list[i].Resources
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				req, hasReq := r.Requests[name]
				lim, hasLim := r.Limits[name]
				if (hasReq && !req.IsZero()) || (hasLim && !lim.IsZero()) {
					best = false
				}
				if !hasLim || lim.IsZero() || (hasReq && req.Cmp(lim) != 0) {
					guaranteed = false
				}
			}
		}
	}
	switch {
	case best:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// CriticalPriority is the least of pods that the cluster itself needs (Kubernetes,
// "Guaranteed Scheduling For Critical Add-On Pods").
const CriticalPriority = 2000000000

// CriticalPod reports whether the node itself needs the pod: it is never evicted, and
// does not swap.
func CriticalPod(p *corev1.Pod) bool { return StaticPod(p) || PodPriority(p) >= CriticalPriority }

// PodPriority returns the pod's priority, 0 where it has none.
func PodPriority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// Requests returns what the pod asks of a node: the larger of what its init
// containers need one by one and what its containers need together (Kubernetes,
// "Resource sharing within containers").
func Requests(p *corev1.Pod) corev1.ResourceList {
	return resource.PodRequests(p, resource.PodResourcesOptions{})
}

// TemplateHash returns a short name for the template's content, stable across
// processes and releases: FNV-1a over its encoding.
func TemplateHash(t *corev1.PodTemplateSpec) string {
	c := *t
	if _, ok := t.Labels["pod-template-hash"]; ok {
		c.Labels = make(map[string]string, len(t.Labels))
		for k, v := range t.Labels {
			if k != "pod-template-hash" {
				c.Labels[k] = v
			}
		}
	}
	b, err := c.Marshal()
	if err != nil {
		panic(fmt.Sprintf("object: encoding a pod template: %v", err))
	}
	h := fnv.New32a()
	h.Write(b)
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

// ControllerRef returns a reference that makes owner the controller.
func ControllerRef(owner metav1.Object, gvk schema.GroupVersionKind) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{
		APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: owner.GetName(), UID: owner.GetUID(),
		Controller: &yes, BlockOwnerDeletion: &yes,
	}
}
