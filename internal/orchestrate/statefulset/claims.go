package statefulset

import (
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	clusterpolicy "trireme/internal/policy"
	"trireme/internal/tables"
)

func (s *step) claimKey(template, ordinal int) object.Key {
	name := s.set.Spec.VolumeClaimTemplates[template].Name + "-" + s.key.Name + "-" + strconv.Itoa(ordinal)
	return object.Key{Namespace: s.key.Namespace, Name: name}
}

// stale reports whether a claim of the ordinal is on its way out, by itself or
// with a pod that is gone: a new pod would lose it.
func (s *step) stale(sl *slot) bool {
	for i := range s.set.Spec.VolumeClaimTemplates {
		key := s.claimKey(i, sl.ordinal)
		if tables.PersistentVolumeClaims.Removed(s.tx, key) {
			s.wake(s.tx.Now())
			return true
		}
		c, ok := tables.PersistentVolumeClaims.Get(s.tx, key)
		if !ok {
			continue
		}
		ofPod := slices.ContainsFunc(c.OwnerReferences, func(r metav1.OwnerReference) bool { return r.Kind == "Pod" && r.Name == sl.key.Name })
		if c.DeletionTimestamp != nil || ofPod {
			return true
		}
	}
	return false
}

// makeClaims makes the claims of an ordinal that lack. The error says why the
// cluster's rules refused one.
func (s *step) makeClaims(sl *slot) error {
	for i := range s.set.Spec.VolumeClaimTemplates {
		key := s.claimKey(i, sl.ordinal)
		if _, ok := tables.PersistentVolumeClaims.Row(s.tx, key); ok {
			continue
		}
		if tables.PersistentVolumeClaims.Removed(s.tx, key) {
			s.wake(s.tx.Now()) // the next transaction
			continue
		}
		c := s.set.Spec.VolumeClaimTemplates[i].DeepCopy()
		c.ObjectMeta = metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, Labels: c.Labels, Annotations: c.Annotations, Finalizers: c.Finalizers,
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, s.set.Spec.Selector.MatchLabels)
		c.TypeMeta = metav1.TypeMeta{}
		c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		if err := clusterpolicy.AllowClaim(s.tx, c); err != nil {
			return err
		}
		tables.PersistentVolumeClaims.Put(s.tx, c)
		s.tell(corev1.EventTypeNormal, "SuccessfulCreate", "create Claim "+key.Name+" Pod "+sl.key.Name+" in StatefulSet "+s.key.Name+" success")
	}
	return nil
}

// keepClaims gives the claims of an ordinal that has a pod the owner that the
// retention policy asks for, and makes those that lack while the pod waits for
// them:
//
//	whenDeleted  whenScaled   owner
//	Retain       Retain       none
//	Delete       Retain       the set
//	Retain       Delete       the pod, once it is condemned
//	Delete       Delete       the set; the pod, once it is condemned
func (s *step) keepClaims(sl *slot) {
	if sl.head.Phase == corev1.PodPending && !sl.head.Deleting && !sl.condemned {
		s.makeClaims(sl)
	}
	for i := range s.set.Spec.VolumeClaimTemplates {
		c, ok := tables.PersistentVolumeClaims.Get(s.tx, s.claimKey(i, sl.ordinal))
		if !ok {
			continue
		}
		if ref := metav1.GetControllerOfNoCopy(c); ref != nil && !s.ours(ref, sl) {
			continue // somebody else keeps it
		}
		var want []metav1.OwnerReference
		switch {
		case sl.condemned && s.drops(func(p *policy) drop { return p.WhenScaled }):
			pod := &metav1.ObjectMeta{Name: sl.key.Name, UID: sl.head.UID}
			want = append(want, object.ControllerRef(pod, tables.Pods.GVK()))
		case s.drops(func(p *policy) drop { return p.WhenDeleted }):
			want = append(want, object.ControllerRef(s.set, tables.StatefulSets.GVK()))
		}
		for _, ref := range c.OwnerReferences {
			if !s.ours(&ref, sl) {
				want = append(want, ref)
			}
		}
		if slices.EqualFunc(want, c.OwnerReferences, func(a, b metav1.OwnerReference) bool { return a.UID == b.UID }) {
			continue
		}
		next := c.DeepCopy()
		next.OwnerReferences = want
		tables.PersistentVolumeClaims.Put(s.tx, next)
	}
}

type (
	policy = appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy
	drop   = appsv1.PersistentVolumeClaimRetentionPolicyType
)

func (s *step) drops(when func(*policy) drop) bool {
	p := s.set.Spec.PersistentVolumeClaimRetentionPolicy
	return p != nil && when(p) == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// ours reports whether an owner of a claim is one that the set gives it.
func (s *step) ours(ref *metav1.OwnerReference, sl *slot) bool {
	return ref.UID == s.set.UID || ref.Kind == "Pod" && ref.Name == sl.key.Name
}
