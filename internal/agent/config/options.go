package config

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// apply adds to a container what Kubernetes has no field for. What would let it do what
// the pod's fields forbid is refused.
func apply(o *object.ContainerOptions, c *corev1.Container, cfg *runtime.ContainerConfig) error {
	key := object.ContainerAnnotation(c.Name)
	cfg.Init, cfg.Groups, cfg.Unset, cfg.Resources.PIDsMax = o.Init, o.Groups, o.Unset, o.PIDsMax
	for _, u := range o.Ulimits {
		cfg.Ulimits = append(cfg.Ulimits, runtime.Ulimit(u))
	}
	if a := o.OOMScoreAdj; a != nil {
		if *a < cfg.Resources.OOMScoreAdj {
			return failf("annotation %s: oomScoreAdj %d is less than the %d that follows from what the container reserves: have it reserve more memory", key, *a, cfg.Resources.OOMScoreAdj)
		}
		cfg.Resources.OOMScoreAdj = *a
	}
	if len(o.Seccomp) > 0 {
		if p := cfg.Security.SeccompProfile; p == nil || p.Type != corev1.SeccompProfileTypeUnconfined {
			return failf("annotation %s: seccomp: a profile of its own is for a container whose seccompProfile is Unconfined", key)
		}
		cfg.Seccomp = o.Seccomp
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		cfg.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	return nil
}
