package extend

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/api/kube/reach"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// resolver finds where a Service's port is served: at one of its ready
// endpoints, which needs no node's dataplane between, or at its external name.
// It implements the libraries' ServiceResolver.
type resolver struct{ store *store.Store }

// ResolveEndpoint returns the URL of one endpoint.
func (r resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	snap := r.store.Snapshot()
	svc, ok := tables.Services.Get(snap, object.Key{Namespace: namespace, Name: name})
	if ok && svc.Spec.Type == corev1.ServiceTypeExternalName {
		return &url.URL{Scheme: "https", Host: net.JoinHostPort(svc.Spec.ExternalName, strconv.Itoa(int(port)))}, nil
	}
	return reach.Service(snap, namespace, fmt.Sprintf("https:%s:%d", name, port))
}
