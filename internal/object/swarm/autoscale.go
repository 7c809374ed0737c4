package swarm

import (
	"fmt"
	"strconv"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// Labels of a service, as its user writes them, that docker has no words for.
const (
	// AutoscaleLabel has the tasks of a replicated service counted by what they use:
	// "min=1,max=10,cpu=70", cpu and memory in percent of what a task reserves.
	AutoscaleLabel = "trireme.dev/autoscale"
	// DrainLabel says how tasks leave a node that is drained: UpdateOrder, else at once.
	DrainLabel = "trireme.dev/drain"
)

// UpdateOrder is the DrainLabel of a service whose tasks leave a node as an update would
// replace them.
const UpdateOrder = "update-order"

// Orderly reports whether the service's tasks leave a drained node by the rules of an
// update. Where a task belongs to its node, no other can take its place.
func (s *Service) Orderly() bool {
	return s.Mode() == Replicated && s.Spec.Labels[DrainLabel] == UpdateOrder
}

// Replaces reports whether tasks of the service are being replaced, or may be.
func (s *Service) Replaces() bool {
	return s.Orderly() || s.Status.Update != nil && s.Status.Update.Completed == nil
}

// checkLabels returns what is wrong with the labels.
func (s *Service) checkLabels() error {
	if v, ok := s.Spec.Labels[DrainLabel]; ok {
		switch {
		case v != UpdateOrder:
			return fmt.Errorf("Labels[%q]: %q: it is %s, or left away", DrainLabel, v, UpdateOrder)
		case s.Mode() != Replicated:
			return fmt.Errorf("Labels[%q]: only replicated services replace tasks of one node on others: leave it away", DrainLabel)
		}
	}
	if v, ok := s.Spec.Labels[object.RebalanceKey]; ok {
		switch _, err := object.ReadRebalance(v); {
		case err != nil:
			return fmt.Errorf("Labels[%q]: %w", object.RebalanceKey, err)
		case s.Mode() != Replicated:
			return fmt.Errorf("Labels[%q]: only tasks of replicated services are moved: leave it away", object.RebalanceKey)
		}
	}
	_, err := s.Autoscaler()
	return err
}

// Autoscaler returns what counts the service's tasks; nil: its user does.
func (s *Service) Autoscaler() (*autoscalingv2.HorizontalPodAutoscalerSpec, error) {
	text, ok := s.Spec.Labels[AutoscaleLabel]
	if !ok {
		return nil, nil
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("Labels[%q]: %q: "+format, append([]any{AutoscaleLabel, text}, args...)...)
	}
	if s.Mode() != Replicated || s.Spec.Mode.Replicated == nil || s.Spec.Mode.Replicated.Replicas == nil {
		return nil, wrong("only a service with Mode.Replicated.Replicas is counted")
	}
	least := int32(1)
	out := &autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: Group.String(), Kind: Kind.Kind, Name: s.Name}, MinReplicas: &least,
	}
	for _, part := range strings.Split(text, ",") {
		word, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 {
			return nil, wrong("%q is not of the form WORD=NUMBER; write min=1,max=10,cpu=70", part)
		}
		switch value := int32(n); word {
		case "min":
			least = value
		case "max":
			out.MaxReplicas = value
		case "cpu", "memory":
			if !s.reserves(word) {
				return nil, wrong("%s is in percent of what a task reserves: give Resources.Reservations too", word)
			}
			out.Metrics = append(out.Metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceName(word), Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &value},
			}})
		default:
			return nil, wrong("%q: the words are min, max, cpu and memory", word)
		}
	}
	if out.MaxReplicas < least || len(out.Metrics) == 0 {
		return nil, wrong("max, at least min, and cpu or memory have to be given")
	}
	return out, nil
}

// reserves reports whether tasks reserve of a resource.
func (s *Service) reserves(resource string) bool {
	r := s.Spec.TaskTemplate.Resources
	if r == nil || r.Reservations == nil {
		return false
	}
	if resource == "cpu" {
		return r.Reservations.NanoCPUs > 0
	}
	return r.Reservations.MemoryBytes > 0
}
