// Package sysctl says which settings of the kernel pods of a node may ask for
// (Kubernetes, "Using sysctls in a Kubernetes Cluster"): the safe ones, and what the
// node's operator allows beside them. It sets none: runtimes do.
package sysctl

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safe change nothing outside their pod and cannot harm the node.
var safe = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}

// The namespaces that hold settings.
const (
	spaceNet = "net"
	spaceIPC = "ipc"
)

// spaces are the beginnings of settings that belong to a namespace of a pod.
var spaces = []struct{ prefix, space string }{
	{"net.", spaceNet}, {"kernel.shm", spaceIPC}, {"kernel.msg", spaceIPC}, {"kernel.sem", spaceIPC}, {"fs.mqueue.", spaceIPC},
}

func spaceOf(name string) string {
	for _, s := range spaces {
		if strings.HasPrefix(name, s.prefix) {
			return s.space
		}
	}
	return ""
}

// Allowed is what pods may ask for; the zero value: the safe settings alone.
type Allowed struct{ unsafe []string }

// Parse reads the unsafe settings that are allowed: names, or beginnings followed by *.
// What belongs to the whole machine cannot be allowed.
func Parse(list []string) (Allowed, error) {
	var out Allowed
	for _, s := range list {
		name := dotted(s)
		if strings.Contains(strings.TrimSuffix(name, "*"), "*") {
			return Allowed{}, fmt.Errorf("%q: only the last character may be *", s)
		}
		if spaceOf(name) == "" {
			return Allowed{}, fmt.Errorf("%q belongs to the whole machine: net.*, kernel.shm*, kernel.msg*, kernel.sem* and fs.mqueue.* are a pod's own", s)
		}
		out.unsafe = append(out.unsafe, name)
	}
	return out, nil
}

// Refuses returns why the pod may not run here, empty if it may.
func (a Allowed) Refuses(pod *corev1.Pod) string {
	if pod.Spec.SecurityContext == nil {
		return ""
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := dotted(s.Name)
		switch space := spaceOf(name); {
		case !slices.Contains(safe, name) && !a.allows(name):
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted", s.Name)
		case space == spaceNet && pod.Spec.HostNetwork:
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host net enabled", s.Name)
		case space == spaceIPC && pod.Spec.HostIPC:
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host ipc enabled", s.Name)
		}
	}
	return ""
}

func (a Allowed) allows(name string) bool {
	return slices.ContainsFunc(a.unsafe, func(pattern string) bool {
		prefix, many := strings.CutSuffix(pattern, "*")
		return pattern == name || many && strings.HasPrefix(name, prefix)
	})
}

// dotted returns the name with dots between its parts. Where a slash comes first,
// slashes stand between the parts and dots belong to them (sysctl.d(5)).
func dotted(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}
