package validate

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/gang"
)

// groups are the checks of whole API groups, asked in turn.
var groups = []func(o runtime.Object) (errs field.ErrorList, known bool){workload, storageObject, networkObject, deviceObject, gang.Object, loneObject}

// groupUpdates are what the same groups say of an update.
var groupUpdates = []func(next, old runtime.Object) field.ErrorList{workloadUpdate, storageUpdate, networkUpdate, deviceUpdate, gang.Update}

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
	}
	return nil, false
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
