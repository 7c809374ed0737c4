package defaults

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// StatefulSet defaults a stateful set.
func StatefulSet(s *appsv1.StatefulSet) {
	or(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	or(&s.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if s.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		ptr(&s.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
		ptr(&s.Spec.UpdateStrategy.RollingUpdate.Partition, 0)
	}
	ptr(&s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	or(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	or(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	ptr(&s.Spec.Replicas, 1)
	ptr(&s.Spec.RevisionHistoryLimit, 10)
	for i := range s.Spec.VolumeClaimTemplates {
		c := &s.Spec.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		ptr(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		or(&c.Status.Phase, corev1.ClaimPending)
	}
	template(&s.Spec.Template)
}

// DaemonSet defaults a daemon set.
func DaemonSet(d *appsv1.DaemonSet) {
	or(&d.Spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if d.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		ptr(&d.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		ptr(&d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		ptr(&d.Spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	ptr(&d.Spec.RevisionHistoryLimit, 10)
	template(&d.Spec.Template)
}

// ReplicationController defaults a replication controller: it selects what its
// template makes, and is labelled like it, where it says nothing else (API
// reference, ReplicationControllerSpec.selector).
func ReplicationController(rc *corev1.ReplicationController) {
	ptr(&rc.Spec.Replicas, 1)
	t := rc.Spec.Template
	if t == nil {
		return
	}
	if len(t.Labels) > 0 {
		if len(rc.Spec.Selector) == 0 {
			rc.Spec.Selector = maps.Clone(t.Labels)
		}
		if len(rc.Labels) == 0 {
			rc.Labels = maps.Clone(t.Labels)
		}
	}
	template(t)
}
