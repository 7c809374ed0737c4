package mesos

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
	"trireme/internal/tables"
)

// idle returns the Pod of an executor that runs on the offers' node though none of its tasks is
// left; nil: there is none.
func (a *accept) idle(e *mesosv1.ExecutorInfo) (*corev1.Pod, error) {
	label := mesos.FrameworkName(a.f.Spec.ID)
	for row := range tables.Pods.By(a.tx, tables.PodsByNode, a.node) {
		h := row.Head()
		if h.Labels[mesos.FrameworkLabel] != label || h.Deleting || h.Ended() {
			continue
		}
		pod := row.Object()
		have := mesos.ExecutorOf(pod)
		if have == nil || pod.Annotations[mesos.FrameworkAnnotation] != a.f.Spec.ID || have.GetExecutorId().GetValue() != e.GetExecutorId().GetValue() {
			continue
		}
		if !proto.Equal(have, e) {
			return nil, fmt.Errorf("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID %q", e.GetExecutorId().GetValue())
		}
		return pod, nil
	}
	return nil, nil
}
