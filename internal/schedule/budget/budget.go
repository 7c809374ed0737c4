// Package budget says which pods may be evicted: those whose PodDisruptionBudgets can bear it. A Step is what one step of the
// scheduler has asked of the table PodDisruptionBudgets, less what its own victims took; orchestrate/disruption counts those when
// it steps. It is pure.
//
// How to debug: `kubectl get pdb`; the tests of preemption.
package budget

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Step is the budgets that were asked about in a step, by namespace. Make one for each.
type Step map[string][]*budget

// budget is a PodDisruptionBudget as victims see it.
type budget struct {
	selector  labels.Selector
	left      int32 // disruptions that it allows, less those of this step
	disrupted map[string]metav1.Time
}

// Guards reports whether there are budgets in the namespace.
func (s Step) Guards(r store.Reader, namespace string) bool { return len(s.in(r, namespace)) > 0 }

func (s Step) in(r store.Reader, namespace string) []*budget {
	list, ok := s[namespace]
	if ok {
		return list
	}
	for b := range tables.PodDisruptionBudgets.In(r, namespace) {
		if sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil {
			list = append(list, &budget{sel, b.Status.DisruptionsAllowed, b.Status.DisruptedPods})
		}
	}
	s[namespace] = list
	return list
}

// of returns the budgets that select the pod and have not counted its loss yet.
func (s Step) of(r store.Reader, pod object.Key) []*budget {
	all := s.in(r, pod.Namespace)
	if len(all) == 0 {
		return nil
	}
	row, ok := tables.Pods.Row(r, pod)
	if !ok {
		return nil
	}
	set := labels.Set(row.Head().Labels)
	return slices.DeleteFunc(slices.Clone(all), func(b *budget) bool {
		_, counted := b.disrupted[pod.Name]
		return counted || len(set) == 0 || !b.selector.Matches(set)
	})
}

// Spend takes n disruptions from the budgets of the pod, or gives them back where n is below 0.
func (s Step) Spend(r store.Reader, pod object.Key, n int32) {
	for _, b := range s.of(r, pod) {
		b.left -= n
	}
}

// Split parts the pods, in their order, into those whose budgets cannot bear their loss together and those that may go.
func Split[T any](r store.Reader, s Step, pods []T, key func(T) object.Key) (guarded, others []T) {
	spent := map[*budget]int32{}
	for _, p := range pods {
		violates := false
		for _, b := range s.of(r, key(p)) {
			spent[b]++
			violates = violates || spent[b] > b.left
		}
		if violates {
			guarded = append(guarded, p)
		} else {
			others = append(others, p)
		}
	}
	return guarded, others
}
