package validate

import (
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of the group resource.k8s.io (API reference).
const (
	requestsMax   = 32
	selectorsMax  = 32
	configsMax    = 32
	devicesMax    = 128
	expressionMax = 10 << 10
)

// deviceObject checks the kinds of the group resource.k8s.io; false: o is none.
func deviceObject(o runtime.Object) (field.ErrorList, bool) {
	spec := field.NewPath("spec")
	switch o := o.(type) {
	case *resourcev1.DeviceClass:
		errs := append(meta(o, false, apivalidation.NameIsDNSSubdomain), deviceSelectors(o.Spec.Selectors, spec.Child("selectors"))...)
		if n := len(o.Spec.Config); n > configsMax {
			return append(errs, field.TooMany(spec.Child("config"), n, configsMax)), true
		}
		for i := range o.Spec.Config {
			errs = append(errs, deviceConfig(&o.Spec.Config[i].DeviceConfiguration, spec.Child("config").Index(i))...)
		}
		return errs, true
	case *resourcev1.ResourceClaim:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), deviceClaim(&o.Spec.Devices, spec.Child("devices"))...), true
	case *resourcev1.ResourceClaimTemplate:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), deviceClaim(&o.Spec.Spec.Devices, spec.Child("spec", "devices"))...), true
	case *resourcev1.DeviceTaintRule:
		errs := append(meta(o, false, apivalidation.NameIsDNSSubdomain), deviceTaint(&o.Spec.Taint, spec.Child("taint"))...)
		return append(errs, taintSelector(o.Spec.DeviceSelector, spec.Child("deviceSelector"))...), true
	case *resourcev1.ResourceSlice:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), resourceSlice(&o.Spec, spec)...), true
	}
	return nil, false
}

func deviceUpdate(next, old runtime.Object) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	switch next := next.(type) {
	case *resourcev1.ResourceClaim:
		return apivalidation.ValidateImmutableField(next.Spec, old.(*resourcev1.ResourceClaim).Spec, spec)
	case *resourcev1.ResourceClaimTemplate:
		return apivalidation.ValidateImmutableField(next.Spec, old.(*resourcev1.ResourceClaimTemplate).Spec, spec)
	case *resourcev1.ResourceSlice:
		o := old.(*resourcev1.ResourceSlice)
		errs = append(errs, apivalidation.ValidateImmutableField(next.Spec.Driver, o.Spec.Driver, spec.Child("driver"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(next.Spec.Pool.Name, o.Spec.Pool.Name, spec.Child("pool", "name"))...)
		return append(errs, apivalidation.ValidateImmutableField(next.Spec.NodeName, o.Spec.NodeName, spec.Child("nodeName"))...)
	}
	return nil
}

func deviceSelectors(list []resourcev1.DeviceSelector, at *field.Path) (errs field.ErrorList) {
	if len(list) > selectorsMax {
		return field.ErrorList{field.TooMany(at, len(list), selectorsMax)}
	}
	for i, s := range list {
		p := at.Index(i).Child("cel")
		switch {
		case s.CEL == nil:
			errs = append(errs, field.Required(p, ""))
		case s.CEL.Expression == "":
			errs = append(errs, field.Required(p.Child("expression"), ""))
		case len(s.CEL.Expression) > expressionMax:
			errs = append(errs, field.TooLong(p.Child("expression"), "", expressionMax))
		}
	}
	return errs
}

func deviceConfig(c *resourcev1.DeviceConfiguration, at *field.Path) field.ErrorList {
	if c.Opaque == nil {
		return field.ErrorList{field.Required(at.Child("opaque"), "")}
	}
	errs := driverName(c.Opaque.Driver, at.Child("opaque", "driver"))
	if len(c.Opaque.Parameters.Raw) == 0 && c.Opaque.Parameters.Object == nil {
		errs = append(errs, field.Required(at.Child("opaque", "parameters"), ""))
	}
	return errs
}

func deviceClaim(c *resourcev1.DeviceClaim, at *field.Path) (errs field.ErrorList) {
	if n := len(c.Requests); n > requestsMax {
		return field.ErrorList{field.TooMany(at.Child("requests"), n, requestsMax)}
	}
	names := map[string]bool{}
	for i := range c.Requests {
		r, p := &c.Requests[i], at.Child("requests").Index(i)
		errs = append(errs, requestName(r.Name, names, p.Child("name"))...)
		switch {
		case r.Exactly != nil && len(r.FirstAvailable) > 0:
			errs = append(errs, field.Invalid(p, r.Name, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
		case r.Exactly != nil:
			errs = append(errs, deviceRequest(askedOf(r.Exactly), p.Child("exactly"))...)
		case len(r.FirstAvailable) == 0:
			errs = append(errs, field.Required(p, "exactly one of `exactly` or `firstAvailable` is required"))
		}
		subs := map[string]bool{}
		for j := range r.FirstAvailable {
			s, q := &r.FirstAvailable[j], p.Child("firstAvailable").Index(j)
			errs = append(errs, requestName(s.Name, subs, q.Child("name"))...)
			errs = append(errs, deviceRequest(asked{s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count}, q)...)
			names[r.Name+"/"+s.Name] = true
		}
	}
	for i, k := range c.Constraints {
		errs = append(errs, knownRequests(k.Requests, names, at.Child("constraints").Index(i).Child("requests"))...)
		if k.MatchAttribute == nil && k.DistinctAttribute == nil {
			errs = append(errs, field.Required(at.Child("constraints").Index(i).Child("matchAttribute"), ""))
		}
	}
	for i := range c.Config {
		p := at.Child("config").Index(i)
		errs = append(errs, knownRequests(c.Config[i].Requests, names, p.Child("requests"))...)
		errs = append(errs, deviceConfig(&c.Config[i].DeviceConfiguration, p)...)
	}
	return errs
}

func requestName(name string, names map[string]bool, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	for _, msg := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	if names[name] {
		errs = append(errs, field.Duplicate(at, name))
	}
	names[name] = true
	return errs
}

func knownRequests(list []string, names map[string]bool, at *field.Path) (errs field.ErrorList) {
	for i, n := range list {
		if !names[n] {
			errs = append(errs, field.Invalid(at.Index(i), n, "must be the name of a request in the claim"))
		}
		if slices.Contains(list[:i], n) {
			errs = append(errs, field.Duplicate(at.Index(i), n))
		}
	}
	return errs
}

// asked is what a request and a subrequest have in common.
type asked struct {
	class     string
	selectors []resourcev1.DeviceSelector
	mode      resourcev1.DeviceAllocationMode
	count     int64
}

func askedOf(r *resourcev1.ExactDeviceRequest) asked {
	return asked{r.DeviceClassName, r.Selectors, r.AllocationMode, r.Count}
}

func deviceRequest(r asked, at *field.Path) (errs field.ErrorList) {
	if r.class == "" {
		errs = append(errs, field.Required(at.Child("deviceClassName"), ""))
	} else {
		errs = append(errs, subdomain(r.class, at.Child("deviceClassName"))...)
	}
	errs = append(errs, deviceSelectors(r.selectors, at.Child("selectors"))...)
	switch r.mode {
	case resourcev1.DeviceAllocationModeAll:
		if r.count != 0 {
			errs = append(errs, field.Invalid(at.Child("count"), r.count, "must not be specified when allocationMode is 'All'"))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if r.count <= 0 {
			errs = append(errs, field.Invalid(at.Child("count"), r.count, "must be greater than zero"))
		}
	default:
		errs = append(errs, oneOf(r.mode, at.Child("allocationMode"), resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)...)
	}
	return errs
}

func deviceTaint(t *resourcev1.DeviceTaint, at *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabelName(t.Key, at.Child("key"))
	for _, msg := range validation.IsValidLabelValue(t.Value) {
		errs = append(errs, field.Invalid(at.Child("value"), t.Value, msg))
	}
	return append(errs, oneOf(t.Effect, at.Child("effect"), resourcev1.DeviceTaintEffectNone, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNoExecute)...)
}

// taintSelector checks which devices a rule means; nil: none.
func taintSelector(s *resourcev1.DeviceTaintSelector, at *field.Path) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	if s.Driver != nil {
		errs = append(errs, driverName(*s.Driver, at.Child("driver"))...)
	}
	if s.Pool != nil {
		for part := range strings.SplitSeq(*s.Pool, "/") {
			for _, msg := range validation.IsDNS1123Subdomain(part) {
				errs = append(errs, field.Invalid(at.Child("pool"), *s.Pool, msg))
			}
		}
	}
	if s.Device != nil {
		for _, msg := range validation.IsDNS1123Label(*s.Device) {
			errs = append(errs, field.Invalid(at.Child("device"), *s.Device, msg))
		}
	}
	return errs
}

func resourceSlice(s *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	errs := driverName(s.Driver, at.Child("driver"))
	errs = append(errs, required(s.Pool.Name, at.Child("pool", "name"))...)
	if s.Pool.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(at.Child("pool", "resourceSliceCount"), s.Pool.ResourceSliceCount, "must be greater than zero"))
	}
	errs = append(errs, nonNegative(s.Pool.Generation, at.Child("pool", "generation"))...)
	where := 0
	for _, set := range []bool{s.NodeName != nil, s.NodeSelector != nil, s.AllNodes != nil && *s.AllNodes, s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection} {
		if set {
			where++
		}
	}
	if where != 1 && (where > 1 || len(s.SharedCounters) == 0) {
		errs = append(errs, field.Invalid(at, s.Driver, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"))
	}
	if s.NodeSelector != nil {
		errs = append(errs, nodeSelector(s.NodeSelector, at.Child("nodeSelector"))...)
	}
	if n := len(s.Devices); n > devicesMax {
		return append(errs, field.TooMany(at.Child("devices"), n, devicesMax))
	}
	names := map[string]bool{}
	for i := range s.Devices {
		errs = append(errs, requestName(s.Devices[i].Name, names, at.Child("devices").Index(i).Child("name"))...)
	}
	return errs
}
