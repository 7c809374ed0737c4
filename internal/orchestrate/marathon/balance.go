package marathon

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/marathon"
	"trireme/internal/tables"
)

func (s *step) beside(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: s.key.Namespace, Name: name, Labels: map[string]string{ours.AppLabel: s.key.Name},
		OwnerReferences: []metav1.OwnerReference{object.ControllerRef(s.app, ours.AppKind)}, Generation: 1,
	}
}

// ingress brings the ingress beside the app to what the labels of its virtual hosts ask for.
func (s *step) ingress() {
	want, annotations := s.d.VirtualHosts(s.key.Name + publishedSuffix)
	have, ok := tables.Ingresses.Get(s.tx, s.key)
	mine := ok && metav1.IsControlledBy(have, s.app)
	switch {
	case want == nil:
		if mine {
			tables.Ingresses.Delete(s.tx, s.key)
		}
	case !ok:
		meta := s.beside(s.key.Name)
		meta.Annotations = annotations
		tables.Ingresses.Put(s.tx, &networkingv1.Ingress{ObjectMeta: meta, Spec: *want})
	case !mine:
		s.warn("NameTaken", "ingress "+s.key.String()+" is there already and is not this app's: remove it, or name this one otherwise")
	case !equality.Semantic.DeepEqual(have.Spec, *want) || !equality.Semantic.DeepEqual(have.Annotations, annotations):
		next := have.DeepCopy()
		next.Spec, next.Annotations = *want, annotations
		next.Generation++
		tables.Ingresses.Put(s.tx, next)
	}
}

// autoscale brings the autoscaler beside the app to what its labels ask for.
func (s *step) autoscale() {
	want, err := s.d.Autoscaler()
	if err != nil { // doors refuse it
		s.warn("FailedAutoscale", err.Error())
		return
	}
	have, ok := tables.HorizontalPodAutoscalers.Get(s.tx, s.key)
	mine := ok && metav1.IsControlledBy(have, s.app)
	switch {
	case want == nil:
		if mine {
			tables.HorizontalPodAutoscalers.Delete(s.tx, s.key)
		}
	case !ok:
		tables.HorizontalPodAutoscalers.Put(s.tx, &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: s.beside(s.key.Name), Spec: *want})
	case !mine:
		s.warn("NameTaken", "autoscaler "+s.key.String()+" is there already and is not this app's: remove it, or name this one otherwise")
	case !equality.Semantic.DeepEqual(have.Spec, *want):
		next := have.DeepCopy()
		next.Spec = *want
		next.Generation++
		tables.HorizontalPodAutoscalers.Put(s.tx, next)
	}
}
