package cri

import (
	"strings"
	"testing"

	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/runtime"
)

// TestUnable: what the protocol has no field for is refused by its name, and nothing else.
func TestUnable(t *testing.T) {
	if err := unable(&runtime.ContainerConfig{Name: "c", RunAsUserName: "bob", StopSignal: "SIGINT"}); err != nil {
		t.Errorf("a user and a signal are refused: %v", err)
	}
	for name, cfg := range map[string]runtime.ContainerConfig{
		"ulimits": {Ulimits: []runtime.Ulimit{{Name: "nofile"}}}, "init": {Init: true}, "pidsMax": {Resources: runtime.Resources{PIDsMax: 1}},
		"groups": {Groups: []string{"g"}}, "unset": {Unset: []string{"A"}}, "seccomp": {Seccomp: []byte("{}")},
	} {
		if err := unable(&cfg); err == nil || !strings.Contains(err.Error(), "asks for "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStopSignal(t *testing.T) {
	for name, want := range map[string]criv1.Signal{
		"": criv1.Signal_SIGNAL_RUNTIME_DEFAULT, "SIGINT": criv1.Signal_SIGNAL_SIGINT, "SIGRTMIN+3": criv1.Signal_SIGNAL_SIGRTMINPLUS3, "SIGRTMAX-2": criv1.Signal_SIGNAL_SIGRTMAXMINUS2,
	} {
		if got, ok := stopSignal(name); !ok || got != want {
			t.Errorf("%q is %s, want %s", name, got, want)
		}
	}
	if err := unable(&runtime.ContainerConfig{StopSignal: "SIGNOPE"}); err == nil {
		t.Error("a signal that there is not was taken")
	}
}
