// Package resize checks what users write to pods/resize. It is not for pods as
// such: package validate checks those.
package resize

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object"
	"trireme/internal/object/validate"
)

// Update returns every reason why next may not replace old: it checks a write of pods/resize: cpu and memory of containers and
// sidecars change, the class of service stays (Kubernetes, "Resize CPU and Memory
// Resources assigned to Containers").
func Update(next, old *corev1.Pod) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if os := old.Spec.OS; os != nil && os.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	if r := old.Spec.Resources; r != nil && len(r.Requests)+len(r.Limits) > 0 {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "pods with pod-level resources cannot be resized")}
	}
	if was := object.QOS(old); was != object.QOS(next) {
		errs = append(errs, field.Invalid(at, was, "Pod QOS Class may not change as a result of resizing"))
	}
	for _, half := range []struct {
		name      string
		next, old []corev1.Container
	}{{"containers", next.Spec.Containers, old.Spec.Containers}, {"initContainers", next.Spec.InitContainers, old.Spec.InitContainers}} {
		at := at.Child(half.name)
		if !slices.EqualFunc(half.next, half.old, func(a, b corev1.Container) bool { return a.Name == b.Name }) {
			errs = append(errs, field.Forbidden(at, "containers may not be added, removed, renamed or reordered on resize"))
			continue
		}
		for i := range half.old {
			errs = append(errs, resized(&half.next[i], &half.old[i], half.name == "initContainers", at.Index(i).Child("resources"))...)
		}
	}
	return errs
}

// resized checks what one container is resized to.
func resized(next, old *corev1.Container, init bool, at *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(next.Resources, old.Resources) {
		return nil
	}
	if init && (old.RestartPolicy == nil || *old.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
		return field.ErrorList{field.Forbidden(at, "only the resources of restartable init containers may be resized")}
	}
	errs := validate.Resources(&next.Resources, at)
	for _, half := range []struct {
		name      string
		next, old corev1.ResourceList
	}{{"requests", next.Resources.Requests, old.Resources.Requests}, {"limits", next.Resources.Limits, old.Resources.Limits}} {
		at := at.Child(half.name)
		for name := range half.old {
			if _, ok := half.next[name]; !ok {
				errs = append(errs, field.Forbidden(at, fmt.Sprintf("resource %s cannot be removed", half.name)))
				break
			}
		}
		for name, q := range half.next {
			was, ok := half.old[name]
			if name != corev1.ResourceCPU && name != corev1.ResourceMemory && (!ok || was.Cmp(q) != 0) {
				errs = append(errs, field.Forbidden(at.Key(string(name)), "only cpu and memory resources are mutable"))
			}
		}
	}
	if !equality.Semantic.DeepEqual(next.Resources.Claims, old.Resources.Claims) {
		errs = append(errs, field.Forbidden(at.Child("claims"), "only cpu and memory resources are mutable"))
	}
	return errs
}
