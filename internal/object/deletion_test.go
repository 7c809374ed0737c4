package object

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDeletionMark(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	pod := func(node string, finalizers ...string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Finalizers: finalizers}, Spec: corev1.PodSpec{NodeName: node}}
	}
	marked := pod("n")
	Deletion{Now: now.Add(-10 * time.Second)}.Mark(marked)
	ended := pod("n")
	ended.Status.Phase = corev1.PodFailed
	minus, zero, five, fifteen, hour := int64(-1), int64(0), int64(5), int64(15), int64(3600)
	tests := []struct {
		name            string
		d               Deletion
		o               metav1.Object
		remove, changed bool
		at              int64 // seconds from now; -1000: no mark
		finalizers      []string
	}{
		{"a pod without a node goes", Deletion{}, pod(""), true, false, -1000, nil},
		{"a pod on a node is given its grace", Deletion{}, pod("n"), false, true, 30, nil},
		{"by force it goes", Deletion{GraceSeconds: &zero}, pod("n"), true, false, -1000, nil},
		{"an ended pod goes", Deletion{}, ended, true, false, -1000, nil},
		{"a marked pod stays as it is", Deletion{}, marked, false, false, 20, nil},
		{"a longer grace changes nothing", Deletion{GraceSeconds: &hour}, marked, false, false, 20, nil},
		{"a shorter grace counts from the first mark", Deletion{GraceSeconds: &fifteen}, marked.DeepCopy(), false, true, 5, nil},
		{"but never ends in the past", Deletion{GraceSeconds: &five}, marked.DeepCopy(), false, true, 0, nil},
		{"a negative grace is a second", Deletion{GraceSeconds: &minus}, pod("n"), false, true, 1, nil},
		{"a finalizer holds", Deletion{}, pod("", "x/y"), false, true, 0, []string{"x/y"}},
		{"orphan is a finalizer", Deletion{Policy: metav1.DeletePropagationOrphan}, pod(""), false, true, 0, []string{"orphan"}},
		{"foreground takes its place", Deletion{Policy: metav1.DeletePropagationForeground}, pod("", "orphan"), false, true, 0, []string{"foregroundDeletion"}},
		{"background drops both", Deletion{Policy: metav1.DeletePropagationBackground}, pod("", "orphan", "foregroundDeletion"), true, false, -1000, nil},
		{"no policy keeps what is there", Deletion{}, pod("", "orphan"), false, true, 0, []string{"orphan"}},
		{"a namespace is emptied first", Deletion{}, &corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}}, false, true, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.d.Now = now
			remove, changed := tt.d.Mark(tt.o)
			if remove != tt.remove || changed != tt.changed {
				t.Errorf("remove %v, changed %v; want %v, %v", remove, changed, tt.remove, tt.changed)
			}
			at := int64(-1000)
			if ts := tt.o.GetDeletionTimestamp(); ts != nil {
				at = int64(ts.Sub(now).Seconds())
			}
			if at != tt.at {
				t.Errorf("marked at %d, want %d", at, tt.at)
			}
			if d := cmp.Diff(tt.finalizers, tt.o.GetFinalizers()); d != "" {
				t.Errorf("finalizers (-want +got):\n%s", d)
			}
		})
	}
}
