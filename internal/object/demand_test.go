package object

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestDemandWhileResizing: what was asked, granted and enacted differ for a while,
// and the most of them counts.
func TestDemandWhileResizing(t *testing.T) {
	for name, tt := range map[string]struct {
		asked, granted, has list
		reason              string
		want                int64
	}{
		"as it is":              {list{"cpu": "1"}, list{"cpu": "1"}, list{"cpu": "1"}, "", 1000},
		"nothing reported":      {list{"cpu": "1"}, nil, nil, "", 1000},
		"more is asked":         {list{"cpu": "2"}, list{"cpu": "1"}, list{"cpu": "1"}, "", 2000},
		"more, deferred":        {list{"cpu": "2"}, list{"cpu": "1"}, list{"cpu": "1"}, corev1.PodReasonDeferred, 2000},
		"more than there is":    {list{"cpu": "9"}, list{"cpu": "1"}, list{"cpu": "1"}, corev1.PodReasonInfeasible, 1000},
		"less is asked":         {list{"cpu": "1"}, list{"cpu": "2"}, list{"cpu": "2"}, "", 2000},
		"less, not there yet":   {list{"cpu": "1"}, list{"cpu": "1"}, list{"cpu": "2"}, "", 2000},
		"less, and it is there": {list{"cpu": "1"}, list{"cpu": "1000m"}, list{"cpu": "1"}, "", 1000},
	} {
		p := &corev1.Pod{}
		p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: amounts(tt.asked)}}}
		st := corev1.ContainerStatus{Name: "c", AllocatedResources: amounts(tt.granted)}
		if tt.has != nil {
			st.Resources = &corev1.ResourceRequirements{Requests: amounts(tt.has)}
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{st}
		if tt.reason != "" {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Reason: tt.reason}}
		}
		if got := DemandOf(p).CPUMilli; got != tt.want {
			t.Errorf("%s: %dm, want %dm", name, got, tt.want)
		}
	}
}
