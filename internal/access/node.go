package access

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// nodeAllows reports whether the node may do what r says: read what its pods
// need, write its own status and theirs (Kubernetes, "Using Node Authorization"
// and the admission plugin NodeRestriction). Trireme's agents have a session of
// their own and need none of this; it is for what else runs with a node's
// certificate.
func nodeAllows(snap store.Reader, node string, r *Request) (allowed bool, refused string) {
	read := r.Verb == "get" || r.Verb == "list" || r.Verb == "watch"
	own := func(p *corev1.Pod) bool { return p.Spec.NodeName == node }
	switch r.APIGroup + "/" + r.Resource {
	case "/secrets", "/configmaps", "/persistentvolumeclaims", "/persistentvolumes", "resource.k8s.io/resourceclaims":
		if read && r.Name != "" && needed(snap, node, r) {
			return true, ""
		}
		return false, "node " + node + " may only read what its own pods name"
	case "/serviceaccounts":
		// The token's own storage checks that it is bound to a pod of the node.
		if (r.Verb == "get" && r.Subresource == "" || r.Verb == "create" && r.Subresource == "token") && needed(snap, node, r) {
			return true, ""
		}
		return false, "node " + node + " may only use the service accounts of its own pods"
	case "/pods":
		return nodeOnPods(snap, node, r, own)
	case "/nodes":
		if r.Subresource == "" && read {
			return r.Verb != "get" || r.Name == node, "node " + node + " may only get itself"
		}
		write := r.Verb == "update" || r.Verb == "patch"
		return write && r.Name == node && r.Subresource == "status", "node " + node + " may only write its own status"
	case "coordination.k8s.io/leases":
		return r.Namespace == corev1.NamespaceNodeLease && r.Name == node, "node " + node + " may only use its own lease"
	case "storage.k8s.io/csinodes":
		return r.Name == node, "node " + node + " may only use its own CSINode"
	case "/services", "discovery.k8s.io/endpointslices", "storage.k8s.io/csidrivers", "storage.k8s.io/storageclasses",
		"node.k8s.io/runtimeclasses", "/namespaces":
		return read && r.Subresource == "", ""
	case "/events", "events.k8s.io/events":
		return r.Verb == "create" || r.Verb == "update" || r.Verb == "patch", ""
	}
	return false, ""
}

func nodeOnPods(snap store.Reader, node string, r *Request, own func(*corev1.Pod) bool) (bool, string) {
	switch r.Verb {
	case "list", "watch":
		return r.OnNode == node, "node " + node + " may only list pods with the field selector spec.nodeName=" + node
	case "get", "delete":
		if r.Subresource != "" {
			return false, ""
		}
	case "update", "patch":
		if r.Subresource != "status" {
			return false, ""
		}
	case "create":
		if r.Subresource != "eviction" {
			return false, ""
		}
	default:
		return false, ""
	}
	p, ok := tables.Pods.Get(snap, object.Key{Namespace: r.Namespace, Name: r.Name})
	return ok && own(p), "node " + node + " may only use its own pods"
}

// needed reports whether a pod on the node names the object of the request.
func needed(snap store.Reader, node string, r *Request) bool {
	for row := range tables.Pods.By(snap, tables.PodsByNode, node) {
		if r.Resource != "persistentvolumes" && row.Key().Namespace != r.Namespace {
			continue
		}
		p := row.Object()
		found := false
		object.References(p, func(ref object.Reference) {
			if r.Resource == "persistentvolumes" && ref.Resource == "persistentvolumeclaims" {
				claim, ok := tables.PersistentVolumeClaims.Get(snap, object.Key{Namespace: p.Namespace, Name: ref.Name})
				found = found || ok && claim.Spec.VolumeName == r.Name
				return
			}
			found = found || ref.Resource == r.Resource && ref.Name == r.Name
		})
		if found {
			return true
		}
	}
	return false
}
