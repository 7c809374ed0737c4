// Package defaults fills in what a user left out, as the comments of k8s.io/api
// say Kubernetes does. The functions are pure and idempotent, and the same for
// every door.
package defaults

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Pod defaults a pod: its spec, and requests from limits.
func Pod(p *corev1.Pod) {
	PodSpec(&p.Spec)
}

// PodSpec defaults the spec of a pod or of a pod template.
func PodSpec(s *corev1.PodSpec) {
	or(&s.RestartPolicy, corev1.RestartPolicyAlways)
	or(&s.DNSPolicy, corev1.DNSClusterFirst)
	or(&s.SchedulerName, corev1.DefaultSchedulerName)
	ptr(&s.TerminationGracePeriodSeconds, 30)
	ptr(&s.EnableServiceLinks, true)
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	// The two names of one field (API reference, PodSpec.serviceAccount).
	if s.ServiceAccountName == "" {
		s.ServiceAccountName = s.DeprecatedServiceAccount
	}
	s.DeprecatedServiceAccount = s.ServiceAccountName
	for i := range s.Volumes {
		volume(&s.Volumes[i])
	}
	for i := range s.InitContainers {
		container(&s.InitContainers[i], s.HostNetwork)
	}
	for i := range s.Containers {
		container(&s.Containers[i], s.HostNetwork)
	}
	for i := range s.EphemeralContainers {
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		container(&c, s.HostNetwork)
		s.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
}

func pullPolicy(p *corev1.PullPolicy, image string) {
	if latest(image) {
		or(p, corev1.PullAlways)
	} else {
		or(p, corev1.PullIfNotPresent)
	}
}

func container(c *corev1.Container, hostNetwork bool) {
	pullPolicy(&c.ImagePullPolicy, c.Image)
	or(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	or(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		or(&c.Ports[i].Protocol, corev1.ProtocolTCP)
		if hostNetwork && c.Ports[i].HostPort == 0 {
			c.Ports[i].HostPort = c.Ports[i].ContainerPort
		}
	}
	for name, limit := range c.Resources.Limits {
		if _, ok := c.Resources.Requests[name]; !ok {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = limit.DeepCopy()
		}
	}
	for i := range c.Env {
		if v := c.Env[i].ValueFrom; v != nil && v.FieldRef != nil {
			or(&v.FieldRef.APIVersion, "v1")
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		probe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil && h.HTTPGet != nil {
				httpGet(h.HTTPGet)
			}
		}
	}
}

// latest reports whether the image reference has the tag latest, or none and no
// digest.
func latest(image string) bool {
	if strings.Contains(image, "@") {
		return false
	}
	name := image[strings.LastIndexByte(image, '/')+1:]
	_, tag, ok := strings.Cut(name, ":")
	return !ok || tag == "latest"
}

func probe(p *corev1.Probe) {
	if p == nil {
		return
	}
	or(&p.TimeoutSeconds, 1)
	or(&p.PeriodSeconds, 10)
	or(&p.SuccessThreshold, 1)
	or(&p.FailureThreshold, 3)
	if p.HTTPGet != nil {
		httpGet(p.HTTPGet)
	}
	if p.GRPC != nil {
		ptr(&p.GRPC.Service, "")
	}
}

func httpGet(h *corev1.HTTPGetAction) {
	or(&h.Path, "/")
	or(&h.Scheme, corev1.URISchemeHTTP)
}

func volume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	const mode = int32(0o644)
	switch {
	case v.Secret != nil:
		ptr(&v.Secret.DefaultMode, mode)
	case v.ConfigMap != nil:
		ptr(&v.ConfigMap.DefaultMode, mode)
	case v.DownwardAPI != nil:
		ptr(&v.DownwardAPI.DefaultMode, mode)
		fieldRefs(v.DownwardAPI.Items)
	case v.Projected != nil:
		ptr(&v.Projected.DefaultMode, mode)
		for _, src := range v.Projected.Sources {
			if src.DownwardAPI != nil {
				fieldRefs(src.DownwardAPI.Items)
			}
			if src.ServiceAccountToken != nil {
				ptr(&src.ServiceAccountToken.ExpirationSeconds, 3600)
			}
		}
	case v.Image != nil:
		pullPolicy(&v.Image.PullPolicy, v.Image.Reference)
	case v.HostPath != nil:
		ptr(&v.HostPath.Type, corev1.HostPathUnset)
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		ptr(&v.Ephemeral.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
}

func fieldRefs(items []corev1.DownwardAPIVolumeFile) {
	for _, f := range items {
		if f.FieldRef != nil {
			or(&f.FieldRef.APIVersion, "v1")
		}
	}
}

// template defaults a pod template in place.
func template(t *corev1.PodTemplateSpec) { PodSpec(&t.Spec) }

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func ptr[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
