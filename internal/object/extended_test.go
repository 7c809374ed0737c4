package object

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func amounts(of map[string]string) corev1.ResourceList {
	var out corev1.ResourceList
	for name, q := range of {
		if out == nil {
			out = corev1.ResourceList{}
		}
		out[corev1.ResourceName(name)] = resource.MustParse(q)
	}
	return out
}

type list = map[string]string

// TestExtendedResources: what users write into a node's capacity is allocatable, and
// an agent's report, which knows nothing of it, leaves it there.
func TestExtendedResources(t *testing.T) {
	for name, tc := range map[string]struct{ capacity, allocatable, oldCapacity, oldAllocatable, want list }{
		"advertised":          {list{"cpu": "2", "a.com/x": "5"}, list{"cpu": "1"}, list{"cpu": "2"}, list{"cpu": "1"}, list{"cpu": "1", "a.com/x": "5"}},
		"the first":           {list{"a.com/x": "5"}, nil, nil, nil, list{"a.com/x": "5"}},
		"raised":              {list{"a.com/x": "5"}, list{"a.com/x": "3"}, list{"a.com/x": "3"}, list{"a.com/x": "3"}, list{"a.com/x": "5"}},
		"some of it reserved": {list{"a.com/x": "5"}, list{"a.com/x": "4"}, nil, nil, list{"a.com/x": "4"}},
		"taken away":          {list{"cpu": "2"}, list{"cpu": "2", "a.com/x": "5"}, list{"a.com/x": "5"}, list{"a.com/x": "5"}, list{"cpu": "2"}},
		"not extended":        {list{"memory": "1Gi", "kubernetes.io/batch-cpu": "1"}, nil, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			next := &corev1.NodeStatus{Capacity: amounts(tc.capacity), Allocatable: amounts(tc.allocatable)}
			old := &corev1.NodeStatus{Capacity: amounts(tc.oldCapacity), Allocatable: amounts(tc.oldAllocatable)}
			AllotExtended(next, old)
			if d := cmp.Diff(amounts(tc.want), next.Allocatable); d != "" {
				t.Errorf("allocatable (-want +got):\n%s", d)
			}
			said := &corev1.NodeStatus{Capacity: amounts(list{"cpu": "2"})}
			KeepExtended(said, next)
			for name := range next.Allocatable {
				if a, c := said.Allocatable[name], next.Allocatable[name]; Extended(name) != (a.Cmp(c) == 0) {
					t.Errorf("after a report %s is %v", name, said.Allocatable)
				}
			}
		})
	}
}
