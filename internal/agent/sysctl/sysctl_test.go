package sysctl

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestParse(t *testing.T) {
	for entry, want := range map[string]string{
		"net.core.somaxconn": "", "kernel.msg*": "", "net/ipv4/conf/eth0.100/forwarding": "",
		"vm.swappiness": "whole machine", "*": "whole machine", "kernel.*": "whole machine", "net.*.x": "last character", "": "whole machine",
	} {
		_, err := Parse([]string{entry})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", entry, err, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	allowed, err := Parse([]string{"kernel.msg*", "net.core.somaxconn"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		host bool
		want string
	}{
		{"kernel.shm_rmid_forced", false, ""},
		{"kernel/shm_rmid_forced", false, ""},
		{"net.ipv4.tcp_rmem", false, ""},
		{"kernel.msgmax", false, ""},
		{"net/core/somaxconn", false, ""},
		{"net.core.somaxconn2", false, "not allowlisted"},
		{"kernel.sem", false, "not allowlisted"},
		{"vm.swappiness", false, "not allowlisted"},
		{"net.core.somaxconn", true, "host net"},
		{"kernel.msgmax", true, "host ipc"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: c.host, HostIPC: c.host, SecurityContext: &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: c.name, Value: "1"}}}}}
		if got := allowed.Refuses(pod); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s, host %v: %q, want %q", c.name, c.host, got, c.want)
		}
	}
	if got := (Allowed{}).Refuses(&corev1.Pod{}); got != "" {
		t.Errorf("a pod without any: %s", got)
	}
}
