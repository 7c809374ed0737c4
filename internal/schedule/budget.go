package schedule

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// budget is a PodDisruptionBudget as victims see it.
type budget struct {
	selector  labels.Selector
	left      int32 // disruptions that it allows, less those of this step
	disrupted map[string]metav1.Time
}

// budgetsOf returns the budgets of the namespace. What victims of this step took of
// them is known here only: orchestrate/disruption counts it when it steps.
func (s *Scheduler) budgetsOf(tx *store.Tx, namespace string) []*budget {
	list, ok := s.budgets[namespace]
	if ok {
		return list
	}
	for b := range tables.PodDisruptionBudgets.In(tx, namespace) {
		if sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil {
			list = append(list, &budget{sel, b.Status.DisruptionsAllowed, b.Status.DisruptedPods})
		}
	}
	s.budgets[namespace] = list
	return list
}

// budgetsFor returns the budgets that select the pod and have not counted its loss
// yet.
func (s *Scheduler) budgetsFor(tx *store.Tx, u *use) []*budget {
	all := s.budgetsOf(tx, u.key.Namespace)
	if len(all) == 0 {
		return nil
	}
	row, ok := tables.Pods.Row(tx, u.key)
	if !ok {
		return nil
	}
	set := labels.Set(row.Head().Labels)
	return slices.DeleteFunc(slices.Clone(all), func(b *budget) bool {
		_, counted := b.disrupted[u.key.Name]
		return counted || len(set) == 0 || !b.selector.Matches(set)
	})
}

// split parts the pods, in their order, into those whose budgets cannot bear their
// loss together and those that may go.
func (s *Scheduler) split(tx *store.Tx, pods []*use) (guarded, others []*use) {
	spent := map[*budget]int32{}
	for _, u := range pods {
		violates := false
		for _, b := range s.budgetsFor(tx, u) {
			spent[b]++
			violates = violates || spent[b] > b.left
		}
		if violates {
			guarded = append(guarded, u)
		} else {
			others = append(others, u)
		}
	}
	return guarded, others
}

func (s *Scheduler) spend(tx *store.Tx, u *use) {
	for _, b := range s.budgetsFor(tx, u) {
		b.left--
	}
}
