package cri

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/runtime"
)

func testRuntime(t *testing.T, seccompDefault bool) *Runtime {
	t.Helper()
	r, err := New(Config{
		Endpoint: "/nowhere.sock", SeccompDefault: seccompDefault, SeccompRoot: "/profiles", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestSeccomp(t *testing.T) {
	local := func(name string) *corev1.SeccompProfile {
		return &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &name}
	}
	for _, c := range []struct {
		name      string
		byDefault bool
		profile   *corev1.SeccompProfile
		want      criv1.SecurityProfile_ProfileType
		ref       string
	}{
		{"none", false, nil, criv1.SecurityProfile_Unconfined, ""},
		{"none, confined by default", true, nil, criv1.SecurityProfile_RuntimeDefault, ""},
		{"unconfined on purpose", true, &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}, criv1.SecurityProfile_Unconfined, ""},
		{"runtime's", false, &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}, criv1.SecurityProfile_RuntimeDefault, ""},
		{"own", false, local("team/a.json"), criv1.SecurityProfile_Localhost, "/profiles/team/a.json"},
		{"own, climbing", false, local("../../etc/passwd"), criv1.SecurityProfile_Localhost, "/profiles/etc/passwd"},
	} {
		got := testRuntime(t, c.byDefault).seccomp(c.profile)
		if got.ProfileType != c.want || got.LocalhostRef != c.ref {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestPrivilegedIsNotConfined(t *testing.T) {
	cfg := &runtime.ContainerConfig{MaskedPaths: true, Security: &corev1.SecurityContext{Privileged: new(true)}}
	got := testRuntime(t, true).containerSecurity(&runtime.SandboxConfig{}, cfg)
	if !got.Privileged || got.Seccomp.ProfileType != criv1.SecurityProfile_Unconfined || got.MaskedPaths != nil || got.ReadonlyPaths != nil {
		t.Errorf("privileged: %v", got)
	}
	cfg.Security = nil
	got = testRuntime(t, true).containerSecurity(&runtime.SandboxConfig{}, cfg)
	if got.Privileged || len(got.MaskedPaths) == 0 || len(got.ReadonlyPaths) == 0 {
		t.Errorf("with no context: %v", got)
	}
}

func TestNamespaces(t *testing.T) {
	for _, c := range []struct {
		cfg               runtime.SandboxConfig
		network, pid, ipc criv1.NamespaceMode
	}{
		{runtime.SandboxConfig{}, criv1.NamespaceMode_POD, criv1.NamespaceMode_CONTAINER, criv1.NamespaceMode_POD},
		{runtime.SandboxConfig{ShareProcesses: true}, criv1.NamespaceMode_POD, criv1.NamespaceMode_POD, criv1.NamespaceMode_POD},
		{runtime.SandboxConfig{HostNetwork: true, HostIPC: true, HostPID: true}, criv1.NamespaceMode_NODE, criv1.NamespaceMode_NODE, criv1.NamespaceMode_NODE},
	} {
		got := namespaces(&c.cfg)
		if got.Network != c.network || got.Pid != c.pid || got.Ipc != c.ipc {
			t.Errorf("%+v: %v", c.cfg, got)
		}
	}
}

func TestGroups(t *testing.T) {
	pod := &runtime.SandboxConfig{Security: &corev1.PodSecurityContext{SupplementalGroups: []int64{7, 5}, FSGroup: new(int64(9))}}
	if diff := cmp.Diff([]int64{5, 7, 8, 9}, runtime.Groups(pod, []int64{8, 7})); diff != "" {
		t.Error(diff)
	}
	if got := runtime.Groups(&runtime.SandboxConfig{}, nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestLabelsComeBackAsGiven(t *testing.T) {
	r := testRuntime(t, false)
	given := map[string]string{"app": "web"}
	labels := r.label(given, pod(&runtime.SandboxConfig{Name: "web-0", Namespace: "shop"}), "uid", "main")
	if len(given) != 1 || labels[containerLabel] != "main" || labels[podNameLabel] != "web-0" || labels[ownerLabel] != "trireme" {
		t.Errorf("labelled: %v, given %v", labels, given)
	}
	if diff := cmp.Diff(given, unlabel(labels)); diff != "" {
		t.Error(diff)
	}
}
