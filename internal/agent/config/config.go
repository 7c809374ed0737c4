package config

import (
	"fmt"
	"net/netip"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// The waiting reasons of a container that cannot be made, in Kubernetes' words.
const (
	ReasonConfig = "CreateContainerConfigError"
	ReasonCreate = "CreateContainerError"
	ReasonRun    = "RunContainerError"
)

// Error says why a container cannot be configured.
type Error struct {
	Reason string
	Err    error
}

// Error returns the cause alone: the reason is reported beside it.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func failf(format string, args ...any) error {
	return &Error{Reason: ReasonConfig, Err: fmt.Errorf(format, args...)}
}

// Objects are what pods refer to.
type Objects interface {
	Secret(object.Key) (*corev1.Secret, bool)
	ConfigMap(object.Key) (*corev1.ConfigMap, bool)
	// TrustBundles returns the cluster's trust bundles, sorted by name.
	TrustBundles() []*certificatesv1.ClusterTrustBundle
	// Services returns the services of a namespace, sorted by name.
	Services(namespace string) []*corev1.Service
}

// Node is what a pod may learn about the node it is on.
type Node struct {
	Name        string
	IPs         []netip.Addr // at most one a family; not empty
	Allocatable corev1.ResourceList
	ClusterDNS  string
	Domain      string
	ResolvConf  string // the node's file; empty: /etc/resolv.conf
}
