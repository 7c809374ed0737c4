package object

import corev1 "k8s.io/api/core/v1"

// Reference is an object in a pod's own namespace that the pod names.
type Reference struct{ Resource, Name string }

// References calls f for what a pod's node must read to run it: its service
// account, and the secrets, config maps, claims and resource claims that its spec
// names. The same reference may come more than once.
func References(p *corev1.Pod, f func(Reference)) {
	add := func(resource, name string) {
		if name != "" {
			f(Reference{resource, name})
		}
	}
	add("serviceaccounts", p.Spec.ServiceAccountName)
	for _, r := range p.Spec.ImagePullSecrets {
		add("secrets", r.Name)
	}
	for i := range p.Spec.InitContainers {
		environment(p.Spec.InitContainers[i].EnvFrom, p.Spec.InitContainers[i].Env, add)
	}
	for i := range p.Spec.Containers {
		environment(p.Spec.Containers[i].EnvFrom, p.Spec.Containers[i].Env, add)
	}
	for i := range p.Spec.EphemeralContainers {
		environment(p.Spec.EphemeralContainers[i].EnvFrom, p.Spec.EphemeralContainers[i].Env, add)
	}
	for i := range p.Spec.Volumes {
		fromVolume(p, &p.Spec.Volumes[i], add)
	}
	for _, c := range p.Status.ResourceClaimStatuses {
		if c.ResourceClaimName != nil {
			add("resourceclaims", *c.ResourceClaimName)
		}
	}
	for _, c := range p.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			add("resourceclaims", *c.ResourceClaimName)
		}
	}
}

func environment(from []corev1.EnvFromSource, env []corev1.EnvVar, add func(resource, name string)) {
	for _, e := range from {
		if e.SecretRef != nil {
			add("secrets", e.SecretRef.Name)
		}
		if e.ConfigMapRef != nil {
			add("configmaps", e.ConfigMapRef.Name)
		}
	}
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			add("secrets", r.Name)
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			add("configmaps", r.Name)
		}
	}
}

func fromVolume(p *corev1.Pod, v *corev1.Volume, add func(resource, name string)) {
	switch {
	case v.Secret != nil:
		add("secrets", v.Secret.SecretName)
	case v.ConfigMap != nil:
		add("configmaps", v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		add("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		add("persistentvolumeclaims", p.Name+"-"+v.Name)
	case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
		add("secrets", v.CSI.NodePublishSecretRef.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				add("secrets", s.Secret.Name)
			}
			if s.ConfigMap != nil {
				add("configmaps", s.ConfigMap.Name)
			}
		}
	}
}
