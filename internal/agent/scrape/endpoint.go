package scrape

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The annotations that name an endpoint.
const (
	EndpointAnnotation = "metrics.trireme.dev/endpoint"
	scrapeAnnotation   = "prometheus.io/scrape"
	portAnnotation     = "prometheus.io/port"
	pathAnnotation     = "prometheus.io/path"
	schemeAnnotation   = "prometheus.io/scheme"
)

// EndpointOf returns where the pod shows its metrics; nil: nowhere.
func EndpointOf(pod *corev1.Pod) (*url.URL, error) {
	if text := pod.Annotations[EndpointAnnotation]; text != "" {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", EndpointAnnotation, err)
		}
		return checked(u, EndpointAnnotation, pod)
	}
	if yes, err := strconv.ParseBool(pod.Annotations[scrapeAnnotation]); err != nil || !yes {
		return nil, nil
	}
	port := pod.Annotations[portAnnotation]
	for i := 0; i < len(pod.Spec.Containers) && port == ""; i++ {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	if port == "" {
		return nil, fmt.Errorf("annotation %s: no %s, and no container declares a port", scrapeAnnotation, portAnnotation)
	}
	u := &url.URL{Scheme: or(pod.Annotations[schemeAnnotation], "http"), Host: net.JoinHostPort(pod.Status.PodIP, port)}
	path, query, _ := strings.Cut(or(pod.Annotations[pathAnnotation], "/metrics"), "?")
	u.Path, u.RawQuery = path, query
	return checked(u, portAnnotation, pod)
}

// checked returns u if it is the pod's own.
func checked(u *url.URL, annotation string, pod *corev1.Pod) (*url.URL, error) {
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("annotation %s: scheme %q: want http or https", annotation, u.Scheme)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("annotation %s: port %q: want 1 to 65535", annotation, p)
		}
	}
	if !loopback(u) && (u.Hostname() == "" || u.Hostname() != pod.Status.PodIP) {
		return nil, fmt.Errorf("annotation %s: host %q: want localhost or the pod's own address", annotation, u.Hostname())
	}
	u.User, u.Fragment = nil, ""
	return u, nil
}

// loopback reports whether the endpoint is to be reached from within the pod.
func loopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && a.IsLoopback()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
