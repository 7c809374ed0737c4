package cli

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestBecause: who waits for a node that is not ready hears why.
func TestBecause(t *testing.T) {
	for message, c := range map[string]corev1.NodeCondition{
		"":               {Type: corev1.NodeReady, Status: corev1.ConditionTrue, Message: "all is well"},
		": no plugins":   {Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "no plugins"},
		": nobody knows": {Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "nobody knows"},
	} {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Message: "plenty"}, c,
		}}}
		if got := because(n); got != message {
			t.Errorf("%s: %q, want %q", c.Status, got, message)
		}
	}
}
