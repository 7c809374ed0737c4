package limit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Range returns every fault of a limit range.
func Range(l *corev1.LimitRange) (errs field.ErrorList) {
	seen := map[corev1.LimitType]bool{}
	for i := range l.Spec.Limits {
		item, path := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		switch item.Type {
		case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		default:
			if !strings.Contains(string(item.Type), "/") {
				errs = append(errs, field.Invalid(path.Child("type"), item.Type, "must be a standard limit type or fully qualified"))
			}
		}
		if seen[item.Type] {
			errs = append(errs, field.Duplicate(path.Child("type"), item.Type))
		}
		seen[item.Type] = true
		errs = append(errs, limitItem(item, path)...)
	}
	return errs
}

func limitItem(item *corev1.LimitRangeItem, path *field.Path) (errs field.ErrorList) {
	names := map[corev1.ResourceName]bool{}
	for _, f := range []struct {
		name string
		list corev1.ResourceList
	}{{"min", item.Min}, {"max", item.Max}, {"default", item.Default}, {"defaultRequest", item.DefaultRequest}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio}} {
		if item.Type == corev1.LimitTypePod && strings.HasPrefix(f.name, "default") && len(f.list) > 0 {
			errs = append(errs, field.Forbidden(path.Child(f.name), "may not be specified when `type` is 'Pod'"))
		}
		for name := range f.list {
			for _, msg := range validation.IsQualifiedName(string(name)) {
				errs = append(errs, field.Invalid(path.Child(f.name).Key(string(name)), name, msg))
			}
			names[name] = true
		}
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		if _, lo := item.Min[corev1.ResourceStorage]; !lo {
			if _, hi := item.Max[corev1.ResourceStorage]; !hi {
				errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		errs = append(errs, limitOrder(item, name, path)...)
	}
	return errs
}

// limitOrder checks that the bounds of one resource are in order: min,
// defaultRequest, default, max.
func limitOrder(item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) (errs field.ErrorList) {
	ordered := []struct {
		name string
		list corev1.ResourceList
	}{{"min", item.Min}, {"defaultRequest", item.DefaultRequest}, {"default", item.Default}, {"max", item.Max}}
	for i, lo := range ordered {
		a, ok := lo.list[name]
		if !ok {
			continue
		}
		for _, hi := range ordered[i+1:] {
			if b, ok := hi.list[name]; ok && a.Cmp(b) > 0 {
				errs = append(errs, field.Invalid(path.Child(lo.name).Key(string(name)), a.String(), fmt.Sprintf("%s value %s is greater than %s value %s", lo.name, &a, hi.name, &b)))
			}
		}
	}
	ratio, ok := item.MaxLimitRequestRatio[name]
	if !ok {
		return errs
	}
	p := path.Child("maxLimitRequestRatio").Key(string(name))
	if ratio.AsApproximateFloat64() < 1 {
		errs = append(errs, field.Invalid(p, ratio.String(), "ratio is less than 1"))
	}
	lo, hi := item.Min[name], item.Max[name]
	if !lo.IsZero() && !hi.IsZero() && ratio.AsApproximateFloat64() > hi.AsApproximateFloat64()/lo.AsApproximateFloat64() {
		errs = append(errs, field.Invalid(p, ratio.String(), "ratio is greater than max/min"))
	}
	return errs
}
