package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Field returns the value of a downward API field path (Kubernetes, "Downward
// API: available fields").
func (n *Node) Field(pod *corev1.Pod, path string) (string, error) {
	if key, ok := subscript(path, "metadata.labels"); ok {
		return pod.Labels[key], nil
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return pod.Annotations[key], nil
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return pairs(pod.Labels), nil
	case "metadata.annotations":
		return pairs(pod.Annotations), nil
	case "spec.nodeName":
		return n.Name, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return n.IPs[0].String(), nil
	case "status.hostIPs":
		return n.addresses(), nil
	case "status.podIP":
		return n.podIP(pod), nil
	case "status.podIPs":
		return n.podIPs(pod), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %s", path)
}

// addresses returns the node's addresses with commas between them.
func (n *Node) addresses() string {
	ips := make([]string, len(n.IPs))
	for i, ip := range n.IPs {
		ips[i] = ip.String()
	}
	return strings.Join(ips, ",")
}

func (n *Node) podIP(pod *corev1.Pod) string {
	if pod.Status.PodIP == "" && pod.Spec.HostNetwork {
		return n.IPs[0].String()
	}
	return pod.Status.PodIP
}

func (n *Node) podIPs(pod *corev1.Pod) string {
	ips := make([]string, 0, len(pod.Status.PodIPs))
	for _, ip := range pod.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	switch {
	case len(ips) > 0:
	case pod.Status.PodIP == "" && pod.Spec.HostNetwork:
		return n.addresses()
	default:
		return pod.Status.PodIP
	}
	return strings.Join(ips, ",")
}

// subscript splits "base['key']".
func subscript(path, base string) (string, bool) {
	rest, ok := strings.CutPrefix(path, base+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

func pairs(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(lines, "\n")
}

// Resource returns a container's request or limit in units of the divisor,
// rounded up. A limit that is not set is what the node can give.
func (n *Node) Resource(pod *corev1.Pod, container string, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" {
		container = ref.ContainerName
	}
	c := findContainer(pod, container)
	if c == nil {
		return "", fmt.Errorf("container %s not found", container)
	}
	kind, name, ok := strings.Cut(ref.Resource, ".")
	if !ok || kind != "limits" && kind != "requests" {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	list := c.Resources.Limits
	if kind == "requests" {
		list = c.Resources.Requests
	}
	q, set := list[corev1.ResourceName(name)]
	if !set && kind == "limits" {
		q = n.Allocatable[corev1.ResourceName(name)]
	}
	return divide(q, ref.Divisor, name == string(corev1.ResourceCPU)), nil
}

func divide(q, divisor resource.Quantity, milli bool) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	a, b := q.Value(), divisor.Value()
	if milli {
		a, b = q.MilliValue(), divisor.MilliValue()
	}
	if b <= 0 {
		b = 1
	}
	return strconv.FormatInt((a+b-1)/b, 10)
}

func findContainer(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
