// Package gang checks PodGroups by the comments of k8s.io/api, scheduling.k8s.io/v1alpha3. What the scheduler cannot keep is
// an error that names it: a group in a group, a priority of its own, claims of devices that its pods share, and pods that
// may be disrupted together alone. It is pure.
//
// How to debug: gang_test.go.
package gang

import (
	batchv1 "k8s.io/api/batch/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object"
)

// Object checks a new PodGroup; known says whether it is one.
func Object(o runtime.Object) (errs field.ErrorList, known bool) {
	g, ok := o.(*schedulingv1alpha3.PodGroup)
	if !ok {
		return nil, false
	}
	errs = apivalidation.ValidateObjectMetaAccessor(g, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if _, err := object.GangTimeout(g); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "annotations").Key(object.GangTimeoutAnnotation), g.Annotations[object.GangTimeoutAnnotation], err.Error()))
	}
	at := field.NewPath("spec")
	errs = append(errs, policy(&g.Spec, at)...)
	errs = append(errs, unkept(&g.Spec, at)...)
	if r := g.Spec.WorkloadRef; r != nil {
		for _, msg := range validation.IsDNS1123Subdomain(r.WorkloadName) {
			errs = append(errs, field.Invalid(at.Child("workloadRef", "workloadName"), r.WorkloadName, msg))
		}
		for _, msg := range validation.IsDNS1123Label(r.TemplateName) {
			errs = append(errs, field.Invalid(at.Child("workloadRef", "templateName"), r.TemplateName, msg))
		}
	}
	return errs, true
}

// policy checks how the group's pods are placed, and where.
func policy(s *schedulingv1alpha3.PodGroupSpec, at *field.Path) (errs field.ErrorList) {
	policy := at.Child("schedulingPolicy")
	switch p := s.SchedulingPolicy; {
	case p.Basic == nil && p.Gang == nil:
		errs = append(errs, field.Required(policy, "one of basic and gang must be set"))
	case p.Basic != nil && p.Gang != nil:
		errs = append(errs, field.Invalid(policy, field.OmitValueType{}, "only one of basic and gang may be set"))
	case p.Gang != nil && p.Gang.MinCount < 1:
		errs = append(errs, field.Invalid(policy.Child("gang", "minCount"), p.Gang.MinCount, "must be greater than 0"))
	}
	c := s.SchedulingConstraints
	if c == nil {
		return errs
	}
	topology := at.Child("schedulingConstraints", "topology")
	if len(c.Topology) > 1 {
		errs = append(errs, field.TooMany(topology, len(c.Topology), 1))
	}
	if len(c.Topology) > 0 && s.SchedulingPolicy.Gang == nil {
		errs = append(errs, field.Forbidden(topology, "pods of one domain are placed together: set schedulingPolicy.gang, with a minCount of 1 where one pod is enough"))
	}
	for i, t := range c.Topology {
		for _, msg := range validation.IsQualifiedName(t.Key) {
			errs = append(errs, field.Invalid(topology.Index(i).Child("key"), t.Key, msg))
		}
	}
	return errs
}

// unkept names what the scheduler would not keep.
func unkept(s *schedulingv1alpha3.PodGroupSpec, at *field.Path) (errs field.ErrorList) {
	if s.ParentCompositePodGroupName != nil {
		errs = append(errs, field.Forbidden(at.Child("parentCompositePodGroupName"), "groups of groups are not supported: leave it out"))
	}
	if len(s.ResourceClaims) > 0 {
		errs = append(errs, field.Forbidden(at.Child("resourceClaims"), "claims that a group shares are not supported: name them in its pods"))
	}
	if d := s.DisruptionMode; d != nil && d.All != nil {
		errs = append(errs, field.Forbidden(at.Child("disruptionMode", "all"), "is not supported: use single"))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"priorityClassName", s.PriorityClassName != ""}, {"priority", s.Priority != nil}, {"preemptionPolicy", s.PreemptionPolicy != nil}} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), "a group has the priority of its pods: set priorityClassName there"))
		}
	}
	return errs
}

// Job checks how a Job asks for a gang of its own.
func Job(c *batchv1.JobSchedulingConfiguration, at *field.Path) field.ErrorList {
	if c == nil {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, "is not supported: make a PodGroup and name it in template.spec.schedulingGroup")}
}

// Update checks what may not change of a PodGroup: all but how many are the least.
func Update(next, old runtime.Object) field.ErrorList {
	g, ok := next.(*schedulingv1alpha3.PodGroup)
	if !ok {
		return nil
	}
	spec, was := g.Spec.DeepCopy(), &old.(*schedulingv1alpha3.PodGroup).Spec
	if spec.SchedulingPolicy.Gang != nil && was.SchedulingPolicy.Gang != nil {
		spec.SchedulingPolicy.Gang = was.SchedulingPolicy.Gang
	}
	at := field.NewPath("spec")
	errs := apivalidation.ValidateImmutableField(spec.SchedulingPolicy, was.SchedulingPolicy, at.Child("schedulingPolicy"))
	errs = append(errs, apivalidation.ValidateImmutableField(spec.SchedulingConstraints, was.SchedulingConstraints, at.Child("schedulingConstraints"))...)
	errs = append(errs, apivalidation.ValidateImmutableField(spec.DisruptionMode, was.DisruptionMode, at.Child("disruptionMode"))...)
	return append(errs, apivalidation.ValidateImmutableField(spec.WorkloadRef, was.WorkloadRef, at.Child("workloadRef"))...)
}

// Status checks the status of a PodGroup, nothing of other kinds.
func Status(o runtime.Object) field.ErrorList {
	g, ok := o.(*schedulingv1alpha3.PodGroup)
	if !ok {
		return nil
	}
	return metav1validation.ValidateConditions(g.Status.Conditions, field.NewPath("status", "conditions"))
}
