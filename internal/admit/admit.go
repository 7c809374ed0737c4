// Package admit is the one path that every write from outside takes, whichever
// door it came through: what is filled in, what is refused, what a writer may
// not touch.
//
// It decides and stores nothing. A door asks For the rules of a kind before the
// transaction and calls InTx within it.
package admit

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/defaults"
	"trireme/internal/object/validate"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Default fills in what the user left out.
func Default(o store.Object) { defaults.Object(o) }

// Validate returns every fault of a new object.
func Validate(o store.Object) field.ErrorList { return validate.Object(o) }

// ValidateUpdate returns every reason why next may not replace old.
func ValidateUpdate(next, old store.Object) field.ErrorList { return validate.Update(next, old) }

// ValidateStatus returns every fault of an object's status.
func ValidateStatus(o store.Object) field.ErrorList { return validate.Status(o) }

// PrepareCreate clears what only the system writes, and sets what it gives a
// new object.
func PrepareCreate(o store.Object) {
	switch o := o.(type) {
	case *corev1.Pod:
		defaults.CreatedPod(o)
	case *corev1.Namespace:
		o.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
		if !hasFinalizer(o, corev1.FinalizerKubernetes) {
			o.Spec.Finalizers = append(o.Spec.Finalizers, corev1.FinalizerKubernetes)
		}
		defaults.Namespace(o)
	case *corev1.Secret:
		foldStringData(o)
	case *corev1.Service:
		o.Status = corev1.ServiceStatus{}
	case *appsv1.Deployment:
		o.Status = appsv1.DeploymentStatus{}
		o.Generation = 1
	case *appsv1.ReplicaSet:
		o.Status = appsv1.ReplicaSetStatus{}
		o.Generation = 1
	}
}

// PrepareUpdate keeps in next what only the system writes, and counts a new
// generation where what the user asked for changed.
func PrepareUpdate(next, old store.Object) {
	switch next := next.(type) {
	case *corev1.Pod:
		next.Status = old.(*corev1.Pod).Status
	case *corev1.Namespace:
		o := old.(*corev1.Namespace)
		next.Spec.Finalizers, next.Status = o.Spec.Finalizers, o.Status
		defaults.Namespace(next)
	case *corev1.Node:
		next.Status = old.(*corev1.Node).Status
	case *corev1.Secret:
		foldStringData(next)
	case *corev1.Service:
		o := old.(*corev1.Service)
		next.Status = o.Status
		keepAddresses(next, o)
	case *appsv1.Deployment:
		o := old.(*appsv1.Deployment)
		next.Status, next.Generation = o.Status, generation(o.Generation, equality.Semantic.DeepEqual(next.Spec, o.Spec))
	case *appsv1.ReplicaSet:
		o := old.(*appsv1.ReplicaSet)
		next.Status, next.Generation = o.Status, generation(o.Generation, equality.Semantic.DeepEqual(next.Spec, o.Spec))
	}
}

// PrepareStatus keeps in next everything but its status and what the status's
// writer may change of the metadata.
func PrepareStatus(next, old store.Object) {
	switch next := next.(type) {
	case *corev1.Pod:
		next.Spec = old.(*corev1.Pod).Spec
	case *corev1.Namespace:
		next.Spec = old.(*corev1.Namespace).Spec
	case *corev1.Node:
		next.Spec = old.(*corev1.Node).Spec
	case *corev1.Service:
		next.Spec = old.(*corev1.Service).Spec
	case *appsv1.Deployment:
		next.Spec = old.(*appsv1.Deployment).Spec
	case *appsv1.ReplicaSet:
		next.Spec = old.(*appsv1.ReplicaSet).Spec
	}
	next.SetLabels(old.GetLabels())
}

// InTx refuses a creation in a namespace that does not exist or is going away.
func InTx(tx *store.Tx, o, old store.Object) error {
	ns := o.GetNamespace()
	if ns == "" || old != nil {
		return nil
	}
	n, ok := tables.Namespaces.Get(tx, object.Key{Name: ns})
	switch {
	case !ok:
		return kind.New(kind.NotFound, "namespaces %q not found", ns)
	case n.DeletionTimestamp != nil || n.Status.Phase == corev1.NamespaceTerminating:
		return kind.New(kind.Denied, "unable to create new content in namespace %s because it is being terminated", ns)
	}
	return nil
}

func generation(was int64, same bool) int64 {
	if same {
		return was
	}
	return was + 1
}

func hasFinalizer(n *corev1.Namespace, f corev1.FinalizerName) bool {
	for _, have := range n.Spec.Finalizers {
		if have == f {
			return true
		}
	}
	return false
}

// foldStringData moves the write-only stringData into data (API reference,
// Secret.stringData).
func foldStringData(s *corev1.Secret) {
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

// keepAddresses carries over what was allocated where the user left it out.
func keepAddresses(next, old *corev1.Service) {
	if next.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	if next.Spec.ClusterIP == "" {
		next.Spec.ClusterIP, next.Spec.ClusterIPs = old.Spec.ClusterIP, old.Spec.ClusterIPs
	}
	if next.Spec.Type == corev1.ServiceTypeClusterIP {
		return
	}
	for i := range next.Spec.Ports {
		p := &next.Spec.Ports[i]
		for _, o := range old.Spec.Ports {
			if p.NodePort == 0 && o.Port == p.Port && o.Protocol == p.Protocol {
				p.NodePort = o.NodePort
			}
		}
	}
}
