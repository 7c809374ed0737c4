package defaults

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// flow defaults the kinds of priority and fairness (API reference,
// flowcontrol.apiserver.k8s.io/v1).
func flow(o runtime.Object) {
	switch o := o.(type) {
	case *flowcontrolv1.FlowSchema:
		or(&o.Spec.MatchingPrecedence, 1000)
	case *flowcontrolv1.PriorityLevelConfiguration:
		if e := o.Spec.Exempt; e != nil {
			ptr(&e.NominalConcurrencyShares, 0)
			ptr(&e.LendablePercent, 0)
		}
		if l := o.Spec.Limited; l != nil {
			ptr(&l.NominalConcurrencyShares, 30)
			ptr(&l.LendablePercent, 0)
			if q := l.LimitResponse.Queuing; q != nil {
				or(&q.Queues, 64)
				or(&q.HandSize, 8)
				or(&q.QueueLengthLimit, 50)
			}
		}
	}
}

func flowKinds() []runtime.Object {
	return []runtime.Object{&flowcontrolv1.FlowSchema{}, &flowcontrolv1.PriorityLevelConfiguration{}}
}
