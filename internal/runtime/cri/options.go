package cri

import (
	"fmt"
	"strings"

	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/runtime"
)

// unable names what is asked for that the protocol has no field for.
func unable(cfg *runtime.ContainerConfig) error {
	for _, o := range []struct {
		name  string
		asked bool
	}{
		{"ulimits", len(cfg.Ulimits) > 0}, {"init", cfg.Init}, {"pidsMax", cfg.Resources.PIDsMax > 0}, {"groups", len(cfg.Groups) > 0},
		{"unset", len(cfg.Unset) > 0}, {"seccomp", cfg.Seccomp != nil},
	} {
		if o.asked {
			return fmt.Errorf("container %s asks for %s, which a runtime behind CRI cannot be asked for: run this node with the native driver, or leave it away", cfg.Name, o.name)
		}
	}
	return nil
}

// stopSignal returns a signal in the protocol's words, RUNTIME_DEFAULT where none is
// said: SIGRTMIN+3 is SIGRTMINPLUS3 there.
func stopSignal(name string) criv1.Signal {
	return criv1.Signal(criv1.Signal_value[strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(name)])
}
