// Package validate checks objects against the rules that the comments of
// k8s.io/api and the Kubernetes API reference give. Its functions return every
// fault they find, each with the path of its field, as a field.ErrorList; they
// are pure, and they expect defaulted objects.
package validate

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/flow"
	"trireme/internal/object/validate/trust"
)

// sizeMax is the largest total of a Secret's or ConfigMap's values, in bytes
// (API reference, Secret.data).
const sizeMax = 1 << 20

// Object checks a new object of any kind.
func Object(o runtime.Object) field.ErrorList {
	if errs, ok := batch(o); ok {
		return errs
	}
	switch o := o.(type) {
	case *corev1.Pod:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), pod(o)...)
	case *corev1.Namespace:
		return meta(o, false, apivalidation.ValidateNamespaceName)
	case *corev1.Node:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), node(o)...)
	case *corev1.ConfigMap:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), configMap(o)...)
	case *corev1.Secret:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), secret(o)...)
	case *corev1.ServiceAccount:
		return meta(o, true, apivalidation.ValidateServiceAccountName)
	case *corev1.Service:
		return append(meta(o, true, apivalidation.NameIsDNS1035Label), service(o)...)
	case *appsv1.Deployment:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), deployment(o)...)
	case *appsv1.ReplicaSet:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), replicaSet(o)...)
	case *discoveryv1.EndpointSlice:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), endpointSlice(o)...)
	case *corev1.Endpoints:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), endpoints(o)...)
	case *corev1.Event:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), event(o)...)
	}
	if errs, known := grouped(o); known {
		return errs
	}
	if errs, ok := security(o); ok {
		return errs
	}
	if errs, ok := rule(o); ok {
		return errs
	}
	if errs, ok := trust.Object(o); ok {
		return errs
	}
	if errs, ok := flow.Object(o); ok {
		return errs
	}
	if o, ok := o.(metav1.Object); ok {
		return meta(o, o.GetNamespace() != "", apivalidation.NameIsDNSSubdomain)
	}
	return nil
}

// Update checks that next may replace old.
func Update(next, old runtime.Object) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(mustMeta(next), mustMeta(old), field.NewPath("metadata"))
	errs = append(errs, Object(next)...)
	spec := field.NewPath("spec")
	switch next := next.(type) {
	case *corev1.Pod:
		errs = append(errs, podUpdate(next, old.(*corev1.Pod))...)
	case *corev1.Node:
		errs = append(errs, nodeUpdate(next, old.(*corev1.Node))...)
	case *corev1.ConfigMap:
		o := old.(*corev1.ConfigMap)
		if o.Immutable != nil && *o.Immutable {
			errs = append(errs, frozen(next.Immutable, equality.Semantic.DeepEqual(next.Data, o.Data) && equality.Semantic.DeepEqual(next.BinaryData, o.BinaryData))...)
		}
	case *corev1.Secret:
		o := old.(*corev1.Secret)
		errs = append(errs, apivalidation.ValidateImmutableField(next.Type, o.Type, field.NewPath("type"))...)
		if o.Immutable != nil && *o.Immutable {
			errs = append(errs, frozen(next.Immutable, equality.Semantic.DeepEqual(next.Data, o.Data))...)
		}
	case *corev1.Service:
		errs = append(errs, serviceUpdate(next, old.(*corev1.Service))...)
	case *appsv1.Deployment:
		errs = append(errs, apivalidation.ValidateImmutableField(next.Spec.Selector, old.(*appsv1.Deployment).Spec.Selector, spec.Child("selector"))...)
	case *appsv1.ReplicaSet:
		errs = append(errs, apivalidation.ValidateImmutableField(next.Spec.Selector, old.(*appsv1.ReplicaSet).Spec.Selector, spec.Child("selector"))...)
	case *rbacv1.RoleBinding:
		errs = append(errs, sameRole(next.RoleRef, old.(*rbacv1.RoleBinding).RoleRef)...)
	case *rbacv1.ClusterRoleBinding:
		errs = append(errs, sameRole(next.RoleRef, old.(*rbacv1.ClusterRoleBinding).RoleRef)...)
	case *batchv1.Job:
		errs = append(errs, jobUpdate(next, old.(*batchv1.Job))...)
	case *discoveryv1.EndpointSlice:
		errs = append(errs, apivalidation.ValidateImmutableField(next.AddressType, old.(*discoveryv1.EndpointSlice).AddressType, field.NewPath("addressType"))...)
	}
	errs = append(errs, ruleUpdate(next, old)...)
	errs = append(errs, trust.Update(next, old)...)
	return append(errs, groupedUpdate(next, old)...)
}

func frozen(immutable *bool, same bool) (errs field.ErrorList) {
	if immutable == nil || !*immutable {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set"))
	}
	if !same {
		errs = append(errs, field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set"))
	}
	return errs
}

func mustMeta(o runtime.Object) metav1.Object { return o.(metav1.Object) }

func meta(o metav1.Object, namespaced bool, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessor(o, namespaced, name, field.NewPath("metadata"))
}

func configMap(c *corev1.ConfigMap) (errs field.ErrorList) {
	total := 0
	for k, v := range c.Data {
		errs = append(errs, dataKey(k, field.NewPath("data"))...)
		if _, twice := c.BinaryData[k]; twice {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(k), k, "duplicate of key present in binaryData"))
		}
		total += len(v)
	}
	for k, v := range c.BinaryData {
		errs = append(errs, dataKey(k, field.NewPath("binaryData"))...)
		total += len(v)
	}
	return append(errs, dataSize(total)...)
}

func secret(s *corev1.Secret) (errs field.ErrorList) {
	total := 0
	for k, v := range s.Data {
		errs = append(errs, dataKey(k, field.NewPath("data"))...)
		total += len(v)
	}
	errs = append(errs, dataSize(total)...)
	if s.Type == corev1.SecretTypeServiceAccountToken && s.Annotations[corev1.ServiceAccountNameKey] == "" {
		errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "the service account whose token it is to hold"))
	}
	required := map[corev1.SecretType][]string{
		corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey},
		corev1.SecretTypeTLS:              {corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
		corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey},
	}
	for _, k := range required[s.Type] {
		if _, ok := s.Data[k]; !ok {
			errs = append(errs, field.Required(field.NewPath("data").Key(k), fmt.Sprintf("a secret of type %s must have it", s.Type)))
		}
	}
	return errs
}

func dataKey(k string, path *field.Path) field.ErrorList { return keyName(k, path.Key(k)) }

func dataSize(total int) field.ErrorList {
	if total > sizeMax {
		return field.ErrorList{field.TooLong(field.NewPath("data"), "", sizeMax)}
	}
	return nil
}

func selector(s *metav1.LabelSelector, labels map[string]string, path *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(path.Child("selector"), "")}
	}
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return append(errs, field.Invalid(path.Child("selector"), s, "empty selector is invalid for deployment"))
	}
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return append(errs, field.Invalid(path.Child("selector"), s, err.Error()))
	}
	if !sel.Matches(labelSet(labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), labels, "`selector` does not match template `labels`"))
	}
	return errs
}

func replicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	path := field.NewPath("spec")
	errs := nonNegative(int64(deref(r.Spec.Replicas)), path.Child("replicas"))
	errs = append(errs, nonNegative(int64(r.Spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, selector(r.Spec.Selector, r.Spec.Template.Labels, path)...)
	return append(errs, template(&r.Spec.Template, path.Child("template"))...)
}

func deployment(d *appsv1.Deployment) field.ErrorList {
	path := field.NewPath("spec")
	errs := nonNegative(int64(deref(d.Spec.Replicas)), path.Child("replicas"))
	errs = append(errs, nonNegative(int64(d.Spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, nonNegative(int64(deref(d.Spec.RevisionHistoryLimit)), path.Child("revisionHistoryLimit"))...)
	if deadline := deref(d.Spec.ProgressDeadlineSeconds); deadline <= d.Spec.MinReadySeconds {
		errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds"))
	}
	errs = append(errs, selector(d.Spec.Selector, d.Spec.Template.Labels, path)...)
	errs = append(errs, template(&d.Spec.Template, path.Child("template"))...)
	switch s, p := d.Spec.Strategy, path.Child("strategy"); {
	case s.Type == appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			errs = append(errs, field.Forbidden(p.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'"))
		}
	case s.Type == appsv1.RollingUpdateDeploymentStrategyType:
		errs = append(errs, rollingUpdate(s.RollingUpdate, p.Child("rollingUpdate"))...)
	default:
		errs = append(errs, field.NotSupported(p.Child("type"), s.Type, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType}))
	}
	return errs
}

func rollingUpdate(r *appsv1.RollingUpdateDeployment, path *field.Path) (errs field.ErrorList) {
	if r == nil {
		return field.ErrorList{field.Required(path, "this should be defaulted and never be nil")}
	}
	unavailable, errs := intOrPercent(r.MaxUnavailable, path.Child("maxUnavailable"))
	surge, more := intOrPercent(r.MaxSurge, path.Child("maxSurge"))
	errs = append(errs, more...)
	if unavailable == 0 && surge == 0 && len(errs) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	if r.MaxUnavailable != nil && r.MaxUnavailable.Type == intstr.String && unavailable > 100 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), r.MaxUnavailable, "must not be greater than 100%"))
	}
	return errs
}

func intOrPercent(v *intstr.IntOrString, path *field.Path) (int, field.ErrorList) {
	if v == nil {
		return 0, nil
	}
	if v.Type == intstr.Int {
		return v.IntValue(), nonNegative(int64(v.IntVal), path)
	}
	if msgs := validation.IsValidPercent(v.StrVal); len(msgs) > 0 {
		return 0, field.ErrorList{field.Invalid(path, v.StrVal, strings.Join(msgs, "; "))}
	}
	n := 0
	fmt.Sscanf(v.StrVal, "%d%%", &n)
	return n, nil
}

func nonNegative(v int64, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(v, path)
}

func deref(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}

func taints(list []corev1.Taint, path *field.Path) (errs field.ErrorList) {
	type which struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[which]bool{}
	for i, t := range list {
		for _, msg := range validation.IsQualifiedName(t.Key) {
			errs = append(errs, field.Invalid(path.Index(i).Child("key"), t.Key, msg))
		}
		for _, msg := range validation.IsValidLabelValue(t.Value) {
			errs = append(errs, field.Invalid(path.Index(i).Child("value"), t.Value, msg))
		}
		errs = append(errs, oneOf(t.Effect, path.Index(i).Child("effect"), corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		if seen[which{t.Key, t.Effect}] {
			errs = append(errs, field.Duplicate(path.Index(i), t.Key))
		}
		seen[which{t.Key, t.Effect}] = true
	}
	return errs
}

func oneOf[T ~string](v T, path *field.Path, allowed ...T) field.ErrorList {
	for _, a := range allowed {
		if v == a {
			return nil
		}
	}
	if v == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return field.ErrorList{field.NotSupported(path, v, allowed)}
}
