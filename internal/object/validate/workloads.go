package validate

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// workload checks the kinds of workloads that have no file of their own; ok
// says whether o is one.
func workload(o runtime.Object) (errs field.ErrorList, ok bool) {
	path := field.NewPath("spec")
	switch o := o.(type) {
	case *appsv1.StatefulSet:
		return append(meta(o, true, apivalidation.NameIsDNSLabel), statefulSet(&o.Spec, path)...), true
	case *appsv1.DaemonSet:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), daemonSet(&o.Spec, path)...), true
	case *corev1.ReplicationController:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), replicationController(&o.Spec, path)...), true
	case *appsv1.ControllerRevision:
		errs = meta(o, true, apivalidation.NameIsDNSSubdomain)
		if len(o.Data.Raw) == 0 && o.Data.Object == nil {
			errs = append(errs, field.Required(field.NewPath("data"), "data is mandatory"))
		}
		return append(errs, nonNegative(o.Revision, field.NewPath("revision"))...), true
	case *corev1.PodTemplate:
		at := field.NewPath("template")
		errs = append(meta(o, true, apivalidation.NameIsDNSSubdomain), metavalidation.ValidateLabels(o.Template.Labels, at.Child("metadata", "labels"))...)
		errs = append(errs, apivalidation.ValidateAnnotations(o.Template.Annotations, at.Child("metadata", "annotations"))...)
		return append(errs, PodSpec(&o.Template.Spec, at.Child("spec"))...), true
	}
	return nil, false
}

// workloadUpdate checks what an update of such a kind may change.
func workloadUpdate(next, old runtime.Object) field.ErrorList {
	switch next := next.(type) {
	case *appsv1.StatefulSet:
		return statefulSetUpdate(&next.Spec, &old.(*appsv1.StatefulSet).Spec)
	case *appsv1.DaemonSet:
		return apivalidation.ValidateImmutableField(next.Spec.Selector, old.(*appsv1.DaemonSet).Spec.Selector, field.NewPath("spec", "selector"))
	case *appsv1.ControllerRevision:
		return apivalidation.ValidateImmutableField(next.Data, old.(*appsv1.ControllerRevision).Data, field.NewPath("data"))
	}
	return nil
}

// statefulSetUpdate lets an update change what the API reference lists.
func statefulSetUpdate(next, old *appsv1.StatefulSetSpec) field.ErrorList {
	same := *next
	same.Replicas, same.Ordinals, same.Template, same.UpdateStrategy = old.Replicas, old.Ordinals, old.Template, old.UpdateStrategy
	same.RevisionHistoryLimit, same.MinReadySeconds = old.RevisionHistoryLimit, old.MinReadySeconds
	same.PersistentVolumeClaimRetentionPolicy = old.PersistentVolumeClaimRetentionPolicy
	if equality.Semantic.DeepEqual(same, *old) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "+
		"'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")}
}

func statefulSet(s *appsv1.StatefulSetSpec, path *field.Path) field.ErrorList {
	errs := oneOf(s.PodManagementPolicy, path.Child("podManagementPolicy"), appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)
	at := path.Child("updateStrategy")
	switch r := s.UpdateStrategy.RollingUpdate; s.UpdateStrategy.Type {
	case appsv1.OnDeleteStatefulSetStrategyType:
		if r != nil {
			errs = append(errs, field.Invalid(at.Child("rollingUpdate"), r, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType)))
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r != nil {
			errs = append(errs, nonNegative(int64(deref(r.Partition)), at.Child("rollingUpdate", "partition"))...)
			errs = append(errs, atLeastOne(r.MaxUnavailable, at.Child("rollingUpdate", "maxUnavailable"))...)
		}
	default:
		errs = append(errs, oneOf(s.UpdateStrategy.Type, at.Child("type"), appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType)...)
	}
	if p := s.PersistentVolumeClaimRetentionPolicy; p != nil {
		at := path.Child("persistentVolumeClaimRetentionPolicy")
		retain, drop := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		errs = append(errs, oneOf(p.WhenDeleted, at.Child("whenDeleted"), retain, drop)...)
		errs = append(errs, oneOf(p.WhenScaled, at.Child("whenScaled"), retain, drop)...)
	}
	errs = append(errs, nonNegative(int64(deref(s.Replicas)), path.Child("replicas"))...)
	errs = append(errs, nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, nonNegative(int64(deref(s.RevisionHistoryLimit)), path.Child("revisionHistoryLimit"))...)
	if s.Ordinals != nil {
		errs = append(errs, nonNegative(int64(s.Ordinals.Start), path.Child("ordinals", "start"))...)
	}
	errs = append(errs, selects("statefulset", s.Selector, s.Template.Labels, path)...)
	return append(errs, replicated("StatefulSet", claimed(s), path.Child("template"))...)
}

// claimed returns the template with a volume for each claim template: what the
// pods will have, so that containers may mount it.
func claimed(s *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	if len(s.VolumeClaimTemplates) == 0 {
		return &s.Template
	}
	t := s.Template.DeepCopy()
	var vs []corev1.Volume
	names := map[string]bool{}
	for _, c := range s.VolumeClaimTemplates {
		names[c.Name] = true
		vs = append(vs, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}})
	}
	kept := t.Spec.Volumes[:0]
	for _, v := range t.Spec.Volumes {
		if !names[v.Name] { // a claim takes the place of a volume of its name
			kept = append(kept, v)
		}
	}
	t.Spec.Volumes = append(kept, vs...)
	return t
}

func daemonSet(s *appsv1.DaemonSetSpec, path *field.Path) field.ErrorList {
	errs := nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))
	errs = append(errs, nonNegative(int64(deref(s.RevisionHistoryLimit)), path.Child("revisionHistoryLimit"))...)
	errs = append(errs, selects("daemonset", s.Selector, s.Template.Labels, path)...)
	errs = append(errs, replicated("DaemonSet", &s.Template, path.Child("template"))...)
	at := path.Child("updateStrategy")
	if s.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return append(errs, oneOf(s.UpdateStrategy.Type, at.Child("type"), appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType)...)
	}
	r, at := s.UpdateStrategy.RollingUpdate, at.Child("rollingUpdate")
	if r == nil {
		return append(errs, field.Required(at, ""))
	}
	missing, more := intOrPercent(r.MaxUnavailable, at.Child("maxUnavailable"))
	errs = append(errs, more...)
	surge, more := intOrPercent(r.MaxSurge, at.Child("maxSurge"))
	errs = append(errs, more...)
	switch {
	case missing != 0 && surge != 0:
		errs = append(errs, field.Invalid(at.Child("maxSurge"), r.MaxSurge, "may not be set when maxUnavailable is non-zero"))
	case missing == 0 && surge == 0:
		errs = append(errs, field.Required(at.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	errs = append(errs, atMostAll(r.MaxUnavailable, missing, at.Child("maxUnavailable"))...)
	return append(errs, atMostAll(r.MaxSurge, surge, at.Child("maxSurge"))...)
}

func replicationController(s *corev1.ReplicationControllerSpec, path *field.Path) field.ErrorList {
	errs := nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	errs = append(errs, metavalidation.ValidateLabels(s.Selector, path.Child("selector"))...)
	if s.Replicas == nil {
		errs = append(errs, field.Required(path.Child("replicas"), ""))
	}
	errs = append(errs, nonNegative(int64(deref(s.Replicas)), path.Child("replicas"))...)
	if s.Template == nil {
		return append(errs, field.Required(path.Child("template"), ""))
	}
	if len(s.Selector) > 0 && !labels.SelectorFromSet(s.Selector).Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, replicated("ReplicationController", s.Template, path.Child("template"))...)
}

// selects checks a selector that must pick what the template makes.
func selects(kind string, s *metav1.LabelSelector, of map[string]string, path *field.Path) field.ErrorList {
	if s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return field.ErrorList{field.Invalid(path.Child("selector"), s, "empty selector is invalid for "+kind)}
	}
	return selector(s, of, path)
}

// replicated checks the template of pods that are kept alive for good.
func replicated(kind string, t *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	errs := template(t, at)
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(at.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

// atLeastOne checks a number or percentage that may be left out but not be zero.
func atLeastOne(v *intstr.IntOrString, at *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	n, errs := intOrPercent(v, at)
	if n == 0 && len(errs) == 0 {
		errs = append(errs, field.Invalid(at, v, "cannot be 0"))
	}
	return append(errs, atMostAll(v, n, at)...)
}

func atMostAll(v *intstr.IntOrString, n int, at *field.Path) field.ErrorList {
	if v != nil && v.Type == intstr.String && n > 100 {
		return field.ErrorList{field.Invalid(at, v, "must not be greater than 100%")}
	}
	return nil
}

// workloadStatus checks the counts of such a kind's status.
func workloadStatus(o runtime.Object) field.ErrorList {
	path := field.NewPath("status")
	switch o := o.(type) {
	case *appsv1.StatefulSet:
		s := &o.Status
		errs := append(nonNegative(s.ObservedGeneration, path.Child("observedGeneration")), nonNegative(int64(deref(s.CollisionCount)), path.Child("collisionCount"))...)
		return append(errs, parts(path, s.Replicas, count{"readyReplicas", s.ReadyReplicas}, count{"currentReplicas", s.CurrentReplicas},
			count{"updatedReplicas", s.UpdatedReplicas}, count{"availableReplicas", s.AvailableReplicas})...)
	case *appsv1.DaemonSet:
		s := &o.Status
		errs := append(nonNegative(s.ObservedGeneration, path.Child("observedGeneration")), nonNegative(int64(deref(s.CollisionCount)), path.Child("collisionCount"))...)
		return append(errs, counts(path, count{"currentNumberScheduled", s.CurrentNumberScheduled}, count{"numberMisscheduled", s.NumberMisscheduled},
			count{"desiredNumberScheduled", s.DesiredNumberScheduled}, count{"numberReady", s.NumberReady}, count{"updatedNumberScheduled", s.UpdatedNumberScheduled},
			count{"numberAvailable", s.NumberAvailable}, count{"numberUnavailable", s.NumberUnavailable})...)
	case *corev1.ReplicationController:
		s := &o.Status
		return append(nonNegative(s.ObservedGeneration, path.Child("observedGeneration")), parts(path, s.Replicas,
			count{"fullyLabeledReplicas", s.FullyLabeledReplicas}, count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas})...)
	}
	return nil
}

// parts checks counts of which none may be more than replicas.
func parts(path *field.Path, replicas int32, all ...count) field.ErrorList {
	errs := counts(path, append([]count{{"replicas", replicas}}, all...)...)
	for _, c := range all {
		if c.n > replicas {
			errs = append(errs, field.Invalid(path.Child(c.name), c.n, "cannot be greater than status.replicas"))
		}
	}
	return errs
}
