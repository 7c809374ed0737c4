package validate

import (
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// groups are the checks of whole API groups, asked in turn.
var groups = []func(o runtime.Object) (errs field.ErrorList, known bool){workload, storageObject, networkObject, deviceObject, loneObject}

// groupUpdates are what the same groups say of an update.
var groupUpdates = []func(next, old runtime.Object) field.ErrorList{workloadUpdate, storageUpdate, networkUpdate, deviceUpdate, loneUpdate}

// grouped checks a kind by the rules of its group; false: none knows it.
func grouped(o runtime.Object) (field.ErrorList, bool) {
	for _, g := range groups {
		if errs, known := g(o); known {
			return errs, true
		}
	}
	return nil, false
}

func groupedUpdate(next, old runtime.Object) (errs field.ErrorList) {
	for _, g := range groupUpdates {
		errs = append(errs, g(next, old)...)
	}
	return errs
}

// loneObject checks kinds that stand alone in their group.
func loneObject(o runtime.Object) (field.ErrorList, bool) {
	switch o := o.(type) {
	case *coordinationv1.Lease:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), lease(&o.Spec, field.NewPath("spec"))...), true
	case *nodev1.RuntimeClass:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), runtimeClass(o)...), true
	}
	return nil, false
}

func loneUpdate(next, old runtime.Object) field.ErrorList {
	if next, ok := next.(*nodev1.RuntimeClass); ok {
		return apivalidation.ValidateImmutableField(next.Handler, old.(*nodev1.RuntimeClass).Handler, field.NewPath("handler"))
	}
	return nil
}

func lease(s *coordinationv1.LeaseSpec, at *field.Path) (errs field.ErrorList) {
	if n := s.LeaseDurationSeconds; n != nil && *n <= 0 {
		errs = append(errs, field.Invalid(at.Child("leaseDurationSeconds"), *n, "must be greater than 0"))
	}
	if n := s.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(at.Child("leaseTransitions"), *n, apivalidation.IsNegativeErrorMsg))
	}
	if s.Strategy != nil {
		errs = append(errs, oneOf(*s.Strategy, at.Child("strategy"), coordinationv1.OldestEmulationVersion)...)
	} else if s.PreferredHolder != nil && *s.PreferredHolder != "" {
		errs = append(errs, field.Forbidden(at.Child("preferredHolder"), "may not be specified unless `strategy` is"))
	}
	return errs
}

func runtimeClass(r *nodev1.RuntimeClass) (errs field.ErrorList) {
	if r.Handler == "" {
		errs = append(errs, field.Required(field.NewPath("handler"), ""))
	} else {
		for _, msg := range validation.IsDNS1123Label(r.Handler) {
			errs = append(errs, field.Invalid(field.NewPath("handler"), r.Handler, msg))
		}
	}
	if r.Overhead != nil {
		at := field.NewPath("overhead", "podFixed")
		for name, q := range r.Overhead.PodFixed {
			if q.Sign() < 0 {
				errs = append(errs, field.Invalid(at.Key(string(name)), quantity(q), apivalidation.IsNegativeErrorMsg))
			}
		}
	}
	if s := r.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		for k, v := range s.NodeSelector {
			for _, msg := range slices.Concat(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)) {
				errs = append(errs, field.Invalid(at.Child("nodeSelector").Key(k), v, msg))
			}
		}
		for i := range s.Tolerations {
			errs = append(errs, toleration(&s.Tolerations[i], at.Child("tolerations").Index(i))...)
		}
	}
	return errs
}
