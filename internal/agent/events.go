package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// event records something that happened to the pod; container may be empty. The
// manager counts equal ones.
func (w *worker) event(eventType, reason, message, container string) {
	now := time.Now()
	w.a.session.ReportEvent(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.key.Namespace, Name: fmt.Sprintf("%s.%x", w.key.Name, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: w.key.Namespace, Name: w.key.Name, UID: w.uid,
			ResourceVersion: w.pod.ResourceVersion, FieldPath: w.fieldPath(container),
		},
		Type: eventType, Reason: reason, Message: message, Count: 1,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now),
		Source:              corev1.EventSource{Component: component, Host: w.a.cfg.Node},
		ReportingController: component, ReportingInstance: w.a.cfg.Node,
	})
}

// component is who the agent's events come from: the field's tools know it.
const component = "kubelet"

func (w *worker) fieldPath(container string) string {
	c := w.o.Containers[container]
	switch {
	case c == nil:
		return ""
	case c.Init:
		return "spec.initContainers{" + container + "}"
	}
	return "spec.containers{" + container + "}"
}

// teller returns a function that records events of a container from beside the
// worker.
func (w *worker) teller(ctx context.Context, container string) func(eventType, reason, message string) {
	return func(eventType, reason, message string) {
		w.tell(ctx, func() { w.event(eventType, reason, message, container) })
	}
}

// Warn records something about the node itself that people should know.
func (a *Agent) Warn(reason, message string) { a.nodeEvent(corev1.EventTypeWarning, reason, message) }

// nodeEvent is an event of the node itself.
func (a *Agent) nodeEvent(eventType, reason, message string) {
	now := metav1.Now()
	a.session.ReportEvent(&corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%s.%x", a.cfg.Node, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: a.cfg.Node, UID: types.UID(a.cfg.Node)},
		Type:           eventType, Reason: reason, Message: message, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source:              corev1.EventSource{Component: component, Host: a.cfg.Node},
		ReportingController: component, ReportingInstance: a.cfg.Node,
	})
}
