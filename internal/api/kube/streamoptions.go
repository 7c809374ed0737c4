package kube

import (
	"fmt"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addStreamOptions teaches the scheme to read what exec, attach and port-forward
// are asked for from a request, so that webhooks and policies can judge it.
func addStreamOptions(s *runtime.Scheme) error {
	if err := s.AddConversionFunc((*url.Values)(nil), (*corev1.PodExecOptions)(nil), func(a, b any, _ conversion.Scope) error {
		q, o := *a.(*url.Values), b.(*corev1.PodExecOptions)
		o.Stdin, o.Stdout, o.Stderr, o.TTY = flag(q, "stdin"), flag(q, "stdout"), flag(q, "stderr"), flag(q, "tty")
		o.Container, o.Command = q.Get("container"), q["command"]
		return nil
	}); err != nil {
		return err
	}
	if err := s.AddConversionFunc((*url.Values)(nil), (*corev1.PodAttachOptions)(nil), func(a, b any, _ conversion.Scope) error {
		q, o := *a.(*url.Values), b.(*corev1.PodAttachOptions)
		o.Stdin, o.Stdout, o.Stderr, o.TTY = flag(q, "stdin"), flag(q, "stdout"), flag(q, "stderr"), flag(q, "tty")
		o.Container = q.Get("container")
		return nil
	}); err != nil {
		return err
	}
	return s.AddConversionFunc((*url.Values)(nil), (*corev1.PodPortForwardOptions)(nil), func(a, b any, _ conversion.Scope) error {
		o := b.(*corev1.PodPortForwardOptions)
		for _, text := range (*a.(*url.Values))["ports"] {
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return fmt.Errorf("ports: %q is not a port", text)
			}
			o.Ports = append(o.Ports, int32(port))
		}
		return nil
	})
}

// flag reads a query's boolean as the agent does.
func flag(q url.Values, name string) bool { v := q.Get(name); return v == "true" || v == "1" }
