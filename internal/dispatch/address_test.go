package dispatch

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestWhoseAddresses: a node's word about its pods' addresses counts where CNI plugins
// choose them.
func TestWhoseAddresses(t *testing.T) {
	ips := func(all ...string) (out []corev1.PodIP) {
		for _, ip := range all {
			out = append(out, corev1.PodIP{IP: ip})
		}
		return out
	}
	for name, c := range map[string]struct {
		plugins, host bool
		said          []corev1.PodIP
		want          string
	}{
		"managers'":             {said: ips("10.22.0.1"), want: "10.128.0.5"},
		"plugins'":              {plugins: true, said: ips("10.22.0.1", "fd00::1"), want: "10.22.0.1"},
		"none yet":              {plugins: true, want: "10.128.0.5"},
		"on the node's network": {plugins: true, host: true, said: ips("10.22.0.1"), want: "10.128.0.5"},
		"no address":            {plugins: true, said: ips("here"), want: "10.128.0.5"},
		"two of a family":       {plugins: true, said: ips("10.22.0.1", "10.22.0.2"), want: "10.128.0.5"},
	} {
		old := &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: c.host}, Status: corev1.PodStatus{PodIP: "10.128.0.5", PodIPs: ips("10.128.0.5")}}
		r := podReport{addressed: c.plugins, status: &corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: c.said}}
		got := r.merge(old)
		if got.PodIP != c.want || got.PodIPs[0].IP != c.want || got.Phase != corev1.PodRunning {
			t.Errorf("%s: %q %v, want %s", name, got.PodIP, got.PodIPs, c.want)
		}
	}
}
