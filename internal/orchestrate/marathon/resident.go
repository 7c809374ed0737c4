package marathon

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/marathon"
	"trireme/internal/policy"
	"trireme/internal/tables"
)

// slot returns the first of the places that instances with volumes of their own have which
// no other has; false: each is taken, by one that is on its way out at the least.
func (s *step) slot() (string, bool) {
	taken := map[string]bool{}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.app.UID)) {
		if h := row.Head(); h.Owner == s.app.UID && (!h.Ended() || h.Deleting) {
			taken[h.Labels[ours.SlotLabel]] = true
		}
	}
	for i := range s.d.Count() {
		if name := strconv.Itoa(i); !taken[name] {
			return name, true
		}
	}
	return "", false
}

// settle gives a new pod the volumes of a slot. They are the app's, and stay with it
// whatever becomes of its instances: one that takes the slot again finds them, on the node
// where they are.
func (s *step) settle(pod *corev1.Pod, slot string) error {
	pod.Labels = cloneMap(pod.Labels)
	pod.Labels[ours.SlotLabel] = slot
	pod.Spec.Volumes = slices.Clone(pod.Spec.Volumes)
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.PersistentVolumeClaim == nil {
			continue
		}
		want := s.d.Persistent(v.Name)
		if want == nil {
			continue
		}
		key := object.Key{Namespace: s.key.Namespace, Name: ours.ClaimName(s.d.ID, slot, v.Name)}
		source := *v.PersistentVolumeClaim
		source.ClaimName = key.Name
		v.PersistentVolumeClaim = &source
		if err := s.claim(key, want); err != nil {
			return err
		}
	}
	return nil
}

func cloneMap(m map[string]string) map[string]string {
	out := make(map[string]string, len(m)+1)
	maps.Copy(out, m)
	return out
}

// claim makes the claim of a volume, unless there is one.
func (s *step) claim(key object.Key, want *ours.PersistentVolume) error {
	if have, ok := tables.PersistentVolumeClaims.Get(s.tx, key); ok {
		if have.DeletionTimestamp != nil {
			return fmt.Errorf("volume %s is on its way out", key.Name)
		}
		return nil
	}
	if tables.PersistentVolumeClaims.Removed(s.tx, key) {
		return fmt.Errorf("volume %s goes right now", key.Name)
	}
	mode := corev1.PersistentVolumeFilesystem
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{ours.AppLabel: s.key.Name},
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(s.app, ours.AppKind)},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: &mode, StorageClassName: want.ProfileName,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: ours.Mebibytes(float64(want.Size))}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	if c.Spec.StorageClassName == nil {
		class := defaultClass
		c.Spec.StorageClassName = &class
	}
	if err := policy.AllowClaim(s.tx, c); err != nil {
		return err
	}
	tables.PersistentVolumeClaims.Put(s.tx, c)
	return nil
}

// defaultClass is the storage class of volumes that name no profile: folders of nodes.
const defaultClass = "local"
