package swarm

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// autoscale brings the autoscaler beside the service to what its user asks for.
func (s *step) autoscale() {
	want, err := s.svc.Autoscaler()
	if err != nil { // doors refuse it
		s.warn("FailedAutoscale", err.Error())
		return
	}
	have, ok := tables.HorizontalPodAutoscalers.Get(s.tx, s.key)
	mine := ok && metav1.IsControlledBy(have, s.svc)
	switch {
	case want == nil:
		if mine {
			tables.HorizontalPodAutoscalers.Delete(s.tx, s.key)
		}
	case !ok:
		tables.HorizontalPodAutoscalers.Put(s.tx, &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.key.Namespace, Name: s.key.Name, Labels: map[string]string{ours.ServiceLabel: s.key.Name},
				OwnerReferences: []metav1.OwnerReference{object.ControllerRef(s.svc, ours.Kind)},
			},
			Spec: *want,
		})
	case !mine:
		s.tell(corev1.EventTypeWarning, "NameTaken", "autoscaler "+s.key.String()+" is there already and is not this service's: remove it, or name this one otherwise")
	case !equality.Semantic.DeepEqual(have.Spec, *want):
		next := have.DeepCopy()
		next.Spec = *want
		next.Generation++
		tables.HorizontalPodAutoscalers.Put(s.tx, next)
	}
}
