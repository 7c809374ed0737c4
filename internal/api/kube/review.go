package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/endpoints/request"

	"trireme/internal/admit"
	"trireme/internal/kind"
)

// Review passes a pod that a control loop made through admission, as if the account of
// kube-system had created it here, and returns what was made of it, complete and valid.
// It fails with kind.Unavailable while admission does not run.
func (s *Server) Review(ctx context.Context, pod *corev1.Pod, account string) (*corev1.Pod, error) {
	if !s.admit.Running() {
		return nil, kind.New(kind.Unavailable, "admission is not running yet")
	}
	who := serviceaccount.UserInfo(metav1.NamespaceSystem, account, "")
	ctx = request.WithUser(request.WithNamespace(ctx, pod.Namespace), who)
	gvk, gvr := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")
	pod.ResourceVersion = ""
	a := admission.NewAttributesRecord(pod, nil, gvk, pod.Namespace, pod.Name, gvr, "", admission.Create, &metav1.CreateOptions{}, false, who)
	o := objectInterfaces(s.scheme, gvr, gvk)
	name, namespace := pod.Name, pod.Namespace
	if err := s.admit.Admit(ctx, a, o); err != nil {
		return nil, err
	}
	if pod.Name != name || pod.Namespace != namespace {
		return nil, apierrors.NewBadRequest("a webhook changed the pod's name or namespace")
	}
	if faults := admit.Validate(pod); len(faults) > 0 {
		return nil, apierrors.NewInvalid(gvk.GroupKind(), name, faults)
	}
	if err := s.admit.Validate(ctx, a, o); err != nil {
		return nil, err
	}
	return pod, nil
}

// objectInterfaces is what plugins of admission ask about one resource's objects.
func objectInterfaces(s *runtime.Scheme, gvr schema.GroupVersionResource, gvk schema.GroupVersionKind) admission.ObjectInterfaces {
	same := runtime.NewEquivalentResourceRegistry()
	same.RegisterKindFor(gvr, "", gvk)
	return &admission.RuntimeObjectInterfaces{ObjectCreater: s, ObjectTyper: s, ObjectDefaulter: s, ObjectConvertor: s, EquivalentResourceMapper: same}
}
