package config

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// TestOptions: what a pod's annotation asks for reaches the container, but for what the
// pod's fields forbid.
func TestOptions(t *testing.T) {
	nonRoot := &corev1.SecurityContext{RunAsNonRoot: new(true)}
	for text, tc := range map[string]struct {
		security *corev1.SecurityContext
		want     string
	}{
		`{"user":"bob:staff","pidsMax":5,"init":true,"ulimits":[{"name":"nofile","soft":1,"hard":2}]}`: {},
		`{"user":"bob"}`:       {nonRoot, "non-numeric user (bob)"},
		`{"user":"0:staff"}`:   {nonRoot, "will run as root"},
		`{"user":"7:staff"}`:   {nonRoot, ""},
		`{"user":"bob" }`:      {&corev1.SecurityContext{RunAsUser: new(int64(7))}, "give one of the two"},
		`{"oomScoreAdj":999}`:  {nil, "less than the 1000"},
		`{"oomScoreAdj":1000}`: {},
		`{"seccomp":{}}`:       {nil, "seccompProfile is Unconfined"},
		`{"seccomp": {}}`:      {&corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}, ""},
		`{"nothing":1}`:        {nil, "unknown field"},
		`{"unset":["A=b"]}`:    {nil, "unset[0]"},
		`{"ulimits":[{"name":"nice","soft":1,"hard":1}]}`: {nil, `"nice" cannot be set`},
	} {
		p := testPod()
		p.Annotations = map[string]string{object.ContainerAnnotation("c"): text}
		p.Spec.Containers[0].SecurityContext = tc.security
		cfg, err := node().Container(ContainerInput{
			Pod: p, Container: &p.Spec.Containers[0], Image: &runtime.Image{ID: "i"}, Objects: fakeObjects{}, Resources: runtime.Resources{OOMScoreAdj: 1000},
		})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", text, err, tc.want)
		}
		if strings.Contains(text, "bob:staff") && (cfg.RunAsUserName != "bob:staff" || cfg.RunAsUser != nil || !cfg.Init || cfg.Resources.PIDsMax != 5 || len(cfg.Ulimits) != 1) {
			t.Errorf("%s: %+v", text, cfg)
		}
	}
}
