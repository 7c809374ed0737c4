package cli

import "testing"

// FuzzFlags: what users write after --publish and --mount is taken or refused.
func FuzzFlags(f *testing.F) {
	for _, s := range []string{"8088:80", "8088:80/udp", "0:1", ":", "/a:/b:ro", ":/b", "a:b:c:d", "70000:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePublish(s); err == nil && (p.Port < 1 || p.Port > 65535 || p.TargetPort.IntVal < 1) {
			t.Errorf("--publish %q: %+v", s, p)
		}
		if v, m, err := parseMount(s, "v"); err == nil && (m.MountPath == "" || v.HostPath == nil && v.EmptyDir == nil) {
			t.Errorf("--mount %q: %+v %+v", s, v, m)
		}
	})
}
