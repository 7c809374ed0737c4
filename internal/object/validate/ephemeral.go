package validate

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// EphemeralUpdate checks a write of pods/ephemeralcontainers: containers are added
// and never changed or removed (Kubernetes, "Ephemeral Containers").
func EphemeralUpdate(next, old *corev1.Pod) (errs field.ErrorList) {
	at := field.NewPath("spec", "ephemeralContainers")
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	have := map[string]*corev1.EphemeralContainer{}
	for i := range next.Spec.EphemeralContainers {
		have[next.Spec.EphemeralContainers[i].Name] = &next.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		switch now := have[was.Name]; {
		case now == nil:
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		case !equality.Semantic.DeepEqual(now, was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n", was.Name)))
		}
	}
	return append(errs, ephemeral(&next.Spec, at)...)
}

// ephemeral checks the ephemeral containers of a pod.
func ephemeral(s *corev1.PodSpec, at *field.Path) (errs field.ErrorList) {
	names, targets := map[string]bool{}, map[string]bool{}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			names[list[i].Name], targets[list[i].Name] = true, true
		}
	}
	volumes, _ := volumes(s.Volumes, field.NewPath("spec", "volumes")) // checked with the pod
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], at.Index(i)
		c := corev1.Container(e.EphemeralContainerCommon)
		errs = append(errs, container(&c, names, volumes, at)...)
		if e.TargetContainerName != "" && !targets[e.TargetContainerName] {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), e.TargetContainerName))
		}
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"ports", len(e.Ports) > 0}, {"livenessProbe", e.LivenessProbe != nil}, {"readinessProbe", e.ReadinessProbe != nil},
			{"startupProbe", e.StartupProbe != nil}, {"lifecycle", e.Lifecycle != nil}, {"resizePolicy", len(e.ResizePolicy) > 0},
			{"resources", len(e.Resources.Requests)+len(e.Resources.Limits)+len(e.Resources.Claims) > 0},
			{"restartPolicy", e.RestartPolicy != nil}, {"restartPolicyRules", len(e.RestartPolicyRules) > 0},
		} {
			if f.set {
				errs = append(errs, field.Forbidden(at.Child(f.name), "cannot be set for an Ephemeral Container"))
			}
		}
		for j, m := range e.VolumeMounts {
			at := at.Child("volumeMounts").Index(j)
			if m.SubPath != "" {
				errs = append(errs, field.Forbidden(at.Child("subPath"), "cannot be set for an Ephemeral Container"))
			}
			if m.SubPathExpr != "" {
				errs = append(errs, field.Forbidden(at.Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
			}
		}
	}
	return errs
}
