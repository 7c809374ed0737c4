package validate

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/gang"
	jobs "trireme/internal/object/validate/job"
)

// The API reference's limits of indexed jobs.
const (
	parallelismMax   = 100_000
	failedIndexesMax = 100_000
	completionsSoft  = 100_000 // beyond it an index's back-off needs tighter limits
	failedSoftMax    = 10_000
	managedByMax     = 63
	policyRulesMax   = 20
	exitCodesMax     = 255
)

// batch checks a job, or what governs the pods of others; false: another kind.
func batch(o runtime.Object) (errs field.ErrorList, ok bool) {
	switch o := o.(type) {
	case *batchv1.Job:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), job(o)...), true
	case *batchv1.CronJob:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), cronJob(o)...), true
	case *policyv1.PodDisruptionBudget:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), disruptionBudget(o)...), true
	case *autoscalingv2.HorizontalPodAutoscaler:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), autoscaler(o)...), true
	}
	return nil, false
}

func job(j *batchv1.Job) field.ErrorList {
	at := field.NewPath("spec")
	errs := jobSpec(&j.Spec, at)
	s := j.Spec.Selector
	switch {
	case s == nil:
		errs = append(errs, field.Required(at.Child("selector"), ""))
	default:
		errs = append(errs, metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
		if sel, err := metav1.LabelSelectorAsSelector(s); err == nil && !sel.Matches(labelSet(j.Spec.Template.Labels)) {
			errs = append(errs, field.Invalid(at.Child("template", "metadata", "labels"), j.Spec.Template.Labels, "`selector` does not match template `labels`"))
		}
		if (j.Spec.ManualSelector == nil || !*j.Spec.ManualSelector) && j.UID != "" && s.MatchLabels[batchv1.ControllerUidLabel] != string(j.UID) && s.MatchLabels["controller-uid"] != string(j.UID) {
			errs = append(errs, field.Invalid(at.Child("selector"), s, "`selector` not auto-generated"))
		}
	}
	if indexed(&j.Spec) && j.Spec.Completions != nil && *j.Spec.Completions > 0 {
		host := fmt.Sprintf("%s-%d", j.Name, *j.Spec.Completions-1)
		for _, msg := range validation.IsDNS1123Label(host) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), j.Name, fmt.Sprintf("will not able to create pod with invalid DNS label: %s, %s", host, msg)))
		}
	}
	return errs
}

func indexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}

// jobSpec checks what a job and the template of a cron job have in common.
func jobSpec(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	for _, f := range []struct {
		name string
		v    *int32
	}{
		{"parallelism", s.Parallelism}, {"completions", s.Completions}, {"backoffLimit", s.BackoffLimit},
		{"ttlSecondsAfterFinished", s.TTLSecondsAfterFinished}, {"backoffLimitPerIndex", s.BackoffLimitPerIndex}, {"maxFailedIndexes", s.MaxFailedIndexes},
	} {
		if f.v != nil {
			errs = append(errs, nonNegative(int64(*f.v), at.Child(f.name))...)
		}
	}
	if d := s.ActiveDeadlineSeconds; d != nil {
		errs = append(errs, nonNegative(*d, at.Child("activeDeadlineSeconds"))...)
	}
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if m := s.ManagedBy; m != nil {
		errs = append(errs, validation.IsDomainPrefixedPath(at.Child("managedBy"), *m)...)
		if len(*m) > managedByMax {
			errs = append(errs, field.TooLong(at.Child("managedBy"), "", managedByMax))
		}
	}
	errs = append(errs, gang.Job(s.Scheduling, at.Child("scheduling"))...)
	errs = append(errs, completionMode(s, at)...)
	errs = append(errs, failurePolicy(s, at.Child("podFailurePolicy"))...)
	errs = append(errs, successPolicy(s, at.Child("successPolicy"))...)
	if p := s.PodReplacementPolicy; p != nil {
		allowed := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
		if s.PodFailurePolicy != nil {
			allowed = allowed[:1]
		}
		if !slices.Contains(allowed, *p) {
			errs = append(errs, field.NotSupported(at.Child("podReplacementPolicy"), *p, allowed))
		}
	}
	return append(errs, jobTemplate(s, at.Child("template"))...)
}

func jobTemplate(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	t := &s.Template
	errs := metavalidation.ValidateLabels(t.Labels, at.Child("metadata", "labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, at.Child("metadata", "annotations"))...)
	errs = append(errs, PodSpec(&t.Spec, at.Child("spec"))...)
	restart := at.Child("spec", "restartPolicy")
	switch p := t.Spec.RestartPolicy; {
	case p == corev1.RestartPolicyAlways:
		errs = append(errs, field.Required(restart, `valid values: "OnFailure", "Never"`))
	case p != corev1.RestartPolicyNever && s.PodFailurePolicy != nil:
		errs = append(errs, field.Invalid(restart, p, `only "Never" is supported when podFailurePolicy is specified`))
	case p != corev1.RestartPolicyNever && s.BackoffLimitPerIndex != nil:
		errs = append(errs, field.Invalid(restart, p, `only "Never" is supported when backoffLimitPerIndex is specified`))
	}
	return errs
}

func completionMode(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	if m := s.CompletionMode; m != nil {
		errs = append(errs, oneOf(*m, at.Child("completionMode"), batchv1.IndexedCompletion, batchv1.NonIndexedCompletion)...)
	}
	if !indexed(s) {
		if s.BackoffLimitPerIndex != nil {
			errs = append(errs, field.Invalid(at.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode"))
		}
		if s.MaxFailedIndexes != nil {
			errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "requires indexed completion mode"))
		}
		return errs
	}
	if s.Completions == nil {
		return append(errs, field.Required(at.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion)))
	}
	most := func(name string, v *int32, limit int32, why string) {
		if v != nil && *v > limit {
			errs = append(errs, field.Invalid(at.Child(name), *v, fmt.Sprintf("must be less than or equal to %s", fmt.Sprintf(why, limit))))
		}
	}
	most("parallelism", s.Parallelism, parallelismMax, "%d when completion mode is Indexed")
	most("maxFailedIndexes", s.MaxFailedIndexes, failedIndexesMax, "%d")
	if f := s.MaxFailedIndexes; f != nil && *f > *s.Completions {
		errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *f, "must be less than or equal to completions"))
	}
	if s.BackoffLimitPerIndex != nil && *s.Completions > completionsSoft {
		if s.MaxFailedIndexes == nil {
			errs = append(errs, field.Required(at.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", completionsSoft)))
		}
		why := fmt.Sprintf("%%d when completions are above %d and used with backoff limit per index", completionsSoft)
		most("parallelism", s.Parallelism, failedSoftMax, why)
		most("maxFailedIndexes", s.MaxFailedIndexes, failedSoftMax, why)
	}
	return errs
}

func failurePolicy(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	p := s.PodFailurePolicy
	if p == nil {
		return nil
	}
	if len(p.Rules) > policyRulesMax {
		return field.ErrorList{field.TooMany(at.Child("rules"), len(p.Rules), policyRulesMax)}
	}
	containers := map[string]bool{}
	for _, list := range [][]corev1.Container{s.Template.Spec.InitContainers, s.Template.Spec.Containers} {
		for i := range list {
			containers[list[i].Name] = true
		}
	}
	for i, r := range p.Rules {
		at := at.Child("rules").Index(i)
		if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
			errs = append(errs, field.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
		} else {
			errs = append(errs, oneOf(r.Action, at.Child("action"), batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
				batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)...)
		}
		switch {
		case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
		case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
		case r.OnExitCodes != nil:
			errs = append(errs, exitCodes(r.OnExitCodes, containers, at.Child("onExitCodes"))...)
		default:
			errs = append(errs, podConditions(r.OnPodConditions, at.Child("onPodConditions"))...)
		}
	}
	return errs
}

func exitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, containers map[string]bool, at *field.Path) field.ErrorList {
	errs := oneOf(r.Operator, at.Child("operator"), batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := r.ContainerName; n != nil && !containers[*n] {
		errs = append(errs, field.Invalid(at.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template"))
	}
	values := at.Child("values")
	switch {
	case len(r.Values) == 0:
		return append(errs, field.Invalid(values, r.Values, "at least one value is required"))
	case len(r.Values) > exitCodesMax:
		return append(errs, field.TooMany(values, len(r.Values), exitCodesMax))
	}
	seen, ordered := map[int32]bool{}, true
	for i, v := range r.Values {
		if v == 0 && r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			errs = append(errs, field.Invalid(values.Index(i), v, "must not be 0 for the In operator"))
		}
		if seen[v] {
			errs = append(errs, field.Duplicate(values.Index(i), v))
		}
		seen[v] = true
		ordered = ordered && (i == 0 || r.Values[i-1] <= v)
	}
	if !ordered {
		errs = append(errs, field.Invalid(values, r.Values, "must be ordered"))
	}
	return errs
}

func podConditions(list []batchv1.PodFailurePolicyOnPodConditionsPattern, at *field.Path) (errs field.ErrorList) {
	if len(list) > policyRulesMax {
		return field.ErrorList{field.TooMany(at, len(list), policyRulesMax)}
	}
	for i, c := range list {
		for _, msg := range validation.IsQualifiedName(string(c.Type)) {
			errs = append(errs, field.Invalid(at.Index(i).Child("type"), c.Type, msg))
		}
		errs = append(errs, oneOf(c.Status, at.Index(i).Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
	}
	return errs
}

func successPolicy(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	p := s.SuccessPolicy
	switch {
	case p == nil:
		return nil
	case !indexed(s):
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "requires indexed completion mode")}
	case len(p.Rules) == 0:
		return field.ErrorList{field.Required(at.Child("rules"), "at least one rules must be specified when the successPolicy is specified")}
	case len(p.Rules) > policyRulesMax:
		return field.ErrorList{field.TooMany(at.Child("rules"), len(p.Rules), policyRulesMax)}
	}
	completions := deref(s.Completions)
	for i, r := range p.Rules {
		at := at.Child("rules").Index(i)
		most, what := completions, "the completions of the job"
		if r.SucceededIndexes != nil {
			runs, err := jobs.Indexes(*r.SucceededIndexes, completions)
			if err != "" {
				errs = append(errs, field.Invalid(at.Child("succeededIndexes"), *r.SucceededIndexes, "error parsing succeededIndexes: "+err))
			}
			most, what = jobs.Count(runs), "the number of indexes in the specified succeededIndexes field"
		}
		switch c := r.SucceededCount; {
		case c == nil && r.SucceededIndexes == nil:
			errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
		case c != nil && *c < 0:
			errs = append(errs, nonNegative(int64(*c), at.Child("succeededCount"))...)
		case c != nil && *c > most:
			errs = append(errs, field.Invalid(at.Child("succeededCount"), *c, fmt.Sprintf("must be less than or equal to %d (%s)", most, what)))
		}
	}
	return errs
}

// jobUpdate keeps what a running job's pods are made from (API reference, JobSpec).
func jobUpdate(next, old *batchv1.Job) (errs field.ErrorList) {
	at := field.NewPath("spec")
	same := func(name string, a, b any) {
		errs = append(errs, apivalidation.ValidateImmutableField(a, b, at.Child(name))...)
	}
	errs = append(errs, completionsUpdate(&next.Spec, &old.Spec, at)...)
	same("selector", next.Spec.Selector, old.Spec.Selector)
	same("completionMode", next.Spec.CompletionMode, old.Spec.CompletionMode)
	same("podFailurePolicy", next.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy)
	same("backoffLimitPerIndex", next.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex)
	same("managedBy", next.Spec.ManagedBy, old.Spec.ManagedBy)
	same("successPolicy", next.Spec.SuccessPolicy, old.Spec.SuccessPolicy)
	t := next.Spec.Template.DeepCopy()
	if old.Spec.Suspend != nil && *old.Spec.Suspend && old.Status.StartTime == nil {
		// Who queues jobs may say where they go before they start.
		o := &old.Spec.Template
		t.Labels, t.Annotations = o.Labels, o.Annotations
		t.Spec.NodeSelector, t.Spec.Tolerations, t.Spec.SchedulingGates = o.Spec.NodeSelector, o.Spec.Tolerations, o.Spec.SchedulingGates
		if a := t.Spec.Affinity; a != nil && o.Spec.Affinity != nil {
			a.NodeAffinity = o.Spec.Affinity.NodeAffinity
		} else if a != nil && a.NodeAffinity != nil && equality.Semantic.DeepEqual(*a, corev1.Affinity{NodeAffinity: a.NodeAffinity}) || a == nil && o.Spec.Affinity != nil {
			t.Spec.Affinity = o.Spec.Affinity
		}
	}
	same("template", *t, old.Spec.Template)
	return errs
}

func completionsUpdate(next, old *batchv1.JobSpec, at *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(next.Completions, old.Completions) {
		return nil
	}
	elastic := indexed(next) && old.Completions != nil && next.Completions != nil && equality.Semantic.DeepEqual(old.Completions, old.Parallelism)
	if !elastic {
		return apivalidation.ValidateImmutableField(next.Completions, old.Completions, at.Child("completions"))
	}
	if !equality.Semantic.DeepEqual(next.Completions, next.Parallelism) {
		return field.ErrorList{field.Invalid(at.Child("completions"), *next.Completions, fmt.Sprintf("can only be modified in tandem with %s", at.Child("parallelism")))}
	}
	return nil
}
