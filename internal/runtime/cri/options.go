package cri

import (
	"fmt"
	"strings"

	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/runtime"
)

// unable names what is asked for that the protocol has no field for.
func unable(cfg *runtime.ContainerConfig) error {
	if _, ok := stopSignal(cfg.StopSignal); !ok {
		return fmt.Errorf("container %s: CRI has no stop signal %q", cfg.Name, cfg.StopSignal)
	}
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

// stopSignal returns a signal in the protocol's words, the image's where none is said:
// SIGRTMIN+3 is SIGNAL_SIGRTMINPLUS3 there. false: it has no word for it.
func stopSignal(name string) (criv1.Signal, bool) {
	if name == "" {
		return criv1.Signal_SIGNAL_RUNTIME_DEFAULT, true
	}
	n, ok := criv1.Signal_value["SIGNAL_"+strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(name)]
	return criv1.Signal(n), ok
}
