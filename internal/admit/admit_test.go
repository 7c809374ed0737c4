package admit

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/mesos"
	"trireme/internal/store"
)

// TestPodGeneration: a pod's generation counts the changes of its spec (API reference,
// metadata.generation of pods).
func TestPodGeneration(t *testing.T) {
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "a"}}}}
	same := old.DeepCopy()
	same.Labels, same.Generation = map[string]string{"a": "b"}, 100
	PrepareUpdate(same, old)
	if same.Generation != 3 {
		t.Errorf("with another label: generation %d, want 3", same.Generation)
	}
	next := old.DeepCopy()
	next.Spec.Containers[0].Image = "b"
	PrepareUpdate(next, old)
	if next.Generation != 4 {
		t.Errorf("with another image: generation %d, want 4", next.Generation)
	}
}

// TestTolerationsWrittenAnew: whoever replaces a pod's tolerations keeps those that the
// system gave it, and may take none of the others away.
func TestTolerationsWrittenAnew(t *testing.T) {
	old := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "a"}}}}
	PrepareCreate(old)
	next := old.DeepCopy()
	next.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists}}
	PrepareUpdate(next, old)
	if errs := ValidateUpdate(next, old); slices.ContainsFunc(errs, func(e *field.Error) bool { return e.Field == "spec" }) || len(next.Spec.Tolerations) != 3 {
		t.Errorf("%v, with %d tolerations", errs.ToAggregate(), len(next.Spec.Tolerations))
	}
	less := next.DeepCopy()
	less.Spec.Tolerations[0].Key = "b"
	PrepareUpdate(less, next)
	if errs := ValidateUpdate(less, next); !slices.ContainsFunc(errs, func(e *field.Error) bool { return e.Field == "spec" }) {
		t.Errorf("one was taken away: %v", errs.ToAggregate())
	}
}

// TestDeviceTaintTime: a rule's taint says when its effect began.
func TestDeviceTaintTime(t *testing.T) {
	r := &resourcev1.DeviceTaintRule{}
	r.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoSchedule
	PrepareCreate(r)
	made := r.Spec.Taint.TimeAdded
	if made == nil || r.Generation != 1 {
		t.Fatalf("a new rule: timeAdded %v, generation %d", made, r.Generation)
	}
	early := metav1.NewTime(made.Add(-time.Hour))
	r.Spec.Taint.TimeAdded = &early
	next := r.DeepCopy()
	next.Spec.Taint.Value, next.Spec.Taint.TimeAdded = "v", nil
	PrepareUpdate(next, r)
	if !next.Spec.Taint.TimeAdded.Equal(&early) {
		t.Errorf("with the same effect: %v, want %v", next.Spec.Taint.TimeAdded, early)
	}
	next.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute
	PrepareUpdate(next, r)
	if next.Spec.Taint.TimeAdded.Equal(&early) || next.Generation != 2 {
		t.Errorf("with another effect: %v, generation %d", next.Spec.Taint.TimeAdded, next.Generation)
	}
}

// TestMarks: nobody makes a pod a task of a framework, or ends that it is one.
func TestMarks(t *testing.T) {
	plain, task := &corev1.Pod{}, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{mesos.FrameworkLabel: "f"}}}
	labelled := task.DeepCopy()
	labelled.Labels["a"] = "b"
	for name, tt := range map[string]struct {
		next, old store.Object
		refused   bool
	}{
		"a plain pod":        {plain, nil, false},
		"a new task":         {task, nil, true},
		"a pod as a task":    {task, plain, true},
		"a task no more":     {plain, task, true},
		"another label":      {labelled, task, false},
		"some other's label": {&corev1.ConfigMap{ObjectMeta: task.ObjectMeta}, nil, false},
	} {
		if errs := ValidateMarks(tt.next, tt.old); (len(errs) > 0) != tt.refused {
			t.Errorf("%s: %v", name, errs)
		}
	}
}
