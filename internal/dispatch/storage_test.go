package dispatch_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// TestSizes: a claim is as large as the node of its pod says, no larger than its volume,
// and then waits for nothing; what other nodes say of it does not count.
func TestSizes(t *testing.T) {
	m := newManager(t, time.Minute)
	size := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}
	}
	key := object.Key{Namespace: "default", Name: "c"}
	m.update(func(tx *store.Tx) {
		tables.PersistentVolumes.Put(tx, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "v"},
			Spec: corev1.PersistentVolumeSpec{
				Capacity: size("2Gi"), ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: "c", UID: "u"},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}},
			},
		})
		tables.PersistentVolumeClaims.Put(tx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", UID: "u"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"},
			Status: corev1.PersistentVolumeClaimStatus{
				Phase: corev1.ClaimBound, Capacity: size("1Gi"),
				AllocatedResourceStatuses: map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: corev1.PersistentVolumeClaimNodeResizePending},
				Conditions: []corev1.PersistentVolumeClaimCondition{
					{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue}, {Type: "Mine", Status: corev1.ConditionTrue},
				},
			},
		})
		tables.Pods.Put(tx, pod("p", "n1", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
		}))
	})
	says := func(a *agent, bytes int64, label string) {
		a.ReportStorage(wire.NodeStorage{CSINode: &storagev1.CSINode{}, Topology: map[string]string{"said": label}, Sizes: map[string]int64{"v": bytes}})
		m.await(label, func(s *store.Snapshot) bool {
			for n := range tables.Nodes.All(s) {
				if n.Labels["said"] == label {
					return true
				}
			}
			return false
		})
	}
	claim := func() *corev1.PersistentVolumeClaim {
		c, _ := tables.PersistentVolumeClaims.Get(m.store.Snapshot(), key)
		return c
	}
	says(m.agent("n2"), 2<<30, "elsewhere")
	if got := claim().Status.Capacity.Storage().String(); got != "1Gi" {
		t.Errorf("a node without a pod of the claim has it at %s", got)
	}
	n1 := m.agent("n1")
	n1.ReportStorage(wire.NodeStorage{CSINode: &storagev1.CSINode{}, Infeasible: map[string]*wire.Infeasible{"v": {Bytes: 3 << 30, Why: "of before"}}})
	says(n1, 1<<30, "as before")
	if c := claim(); len(c.Status.Conditions) != 2 {
		t.Errorf("a volume that has not grown: %v", c.Status)
	}
	n1.ReportStorage(wire.NodeStorage{CSINode: &storagev1.CSINode{}, Infeasible: map[string]*wire.Infeasible{"v": {Bytes: 2 << 30, Why: "the array is full"}}})
	m.await("the size cannot be", func(*store.Snapshot) bool {
		s := claim().Status
		return s.AllocatedResourceStatuses[corev1.ResourceStorage] == corev1.PersistentVolumeClaimNodeResizeInfeasible && len(s.Conditions) == 3 && s.Conditions[2].Message == "the array is full"
	})
	says(n1, 5<<30, "more")
	if c := claim(); c.Status.Capacity.Storage().String() != "2Gi" || len(c.Status.AllocatedResourceStatuses) > 0 || len(c.Status.Conditions) != 1 || c.Status.Conditions[0].Type != "Mine" {
		t.Errorf("a volume that has grown: %v", c.Status)
	}
}
