package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	checks "k8s.io/pod-security-admission/policy"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// podsLookedAt is how many pods of a namespace are looked at when its level
// changes.
const podsLookedAt = 3000

// evaluator knows the checks of every level (Kubernetes, "Pod Security
// Standards").
var evaluator = sync.OnceValue(func() checks.Evaluator {
	e, err := checks.NewEvaluator(checks.DefaultChecks(), nil)
	if err != nil {
		panic("policy: the library's own checks: " + err.Error())
	}
	return e
})

// Verdict is what pod security has to say of an object.
type Verdict struct {
	Refusal  error
	Warnings []string
	Audit    map[string]string // annotations of the audit event; nil: none
}

// privileged allows everything: the level of a namespace that names none.
var privileged = api.Policy{
	Enforce: api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()},
	Audit:   api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()},
	Warn:    api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()},
}

// Security holds pods to the level that the labels of their namespace name, warns
// of templates whose pods would break it, and of running pods where a
// namespace's level is raised (Kubernetes, "Pod Security Admission").
func Security(r store.Reader, o, old store.Object) (v Verdict) {
	if ns, ok := o.(*corev1.Namespace); ok {
		was, _ := old.(*corev1.Namespace)
		return namespaceLevel(r, ns, was)
	}
	meta, spec := podOf(o)
	if spec == nil || unchanged(spec, old) {
		return v
	}
	ns, ok := tables.Namespaces.Get(r, object.Key{Name: o.GetNamespace()})
	if !ok {
		return v
	}
	p, _ := api.PolicyToEvaluate(ns.Labels, privileged) // what cannot be read means restricted
	if p.FullyPrivileged() {
		return v
	}
	if _, pod := o.(*corev1.Pod); pod {
		v.Audit = map[string]string{"pod-security.kubernetes.io/enforce-policy": p.Enforce.String()}
		if why := breaks(p.Enforce, meta, spec); why != "" {
			v.Refusal = denied("violates PodSecurity %q: %s", p.Enforce.String(), why)
			return v
		}
	}
	if why := breaks(p.Audit, meta, spec); why != "" {
		if v.Audit == nil {
			v.Audit = map[string]string{}
		}
		v.Audit["pod-security.kubernetes.io/audit-violations"] = fmt.Sprintf("would violate PodSecurity %q: %s", p.Audit.String(), why)
	}
	if why := breaks(p.Warn, meta, spec); why != "" {
		v.Warnings = []string{fmt.Sprintf("would violate PodSecurity %q: %s", p.Warn.String(), why)}
	}
	return v
}

// breaks returns how the pod breaks the level, empty if it does not.
func breaks(l api.LevelVersion, meta *metav1.ObjectMeta, spec *corev1.PodSpec) string {
	if l.Level == api.LevelPrivileged {
		return ""
	}
	sum := checks.AggregateCheckResults(evaluator().EvaluatePod(l, meta, spec))
	if sum.Allowed {
		return ""
	}
	return sum.ForbiddenDetail()
}

// podOf returns the pod that o is, or the template of those it makes; nil if
// neither.
func podOf(o store.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	t := &corev1.PodTemplateSpec{}
	switch o := o.(type) {
	case *corev1.Pod:
		return &o.ObjectMeta, &o.Spec
	case *corev1.PodTemplate:
		t = &o.Template
	case *corev1.ReplicationController:
		if t = o.Spec.Template; t == nil {
			return nil, nil
		}
	case *appsv1.ReplicaSet:
		t = &o.Spec.Template
	case *appsv1.Deployment:
		t = &o.Spec.Template
	case *appsv1.StatefulSet:
		t = &o.Spec.Template
	case *appsv1.DaemonSet:
		t = &o.Spec.Template
	case *batchv1.Job:
		t = &o.Spec.Template
	case *batchv1.CronJob:
		t = &o.Spec.JobTemplate.Spec.Template
	default:
		return nil, nil
	}
	return &t.ObjectMeta, &t.Spec
}

func unchanged(spec *corev1.PodSpec, old store.Object) bool {
	if old == nil {
		return false
	}
	_, was := podOf(old)
	return was != nil && equality.Semantic.DeepEqual(spec, was)
}

// namespaceLevel refuses labels that name no level, and warns of the pods that
// run and would not be let in any more.
func namespaceLevel(r store.Reader, ns, old *corev1.Namespace) (v Verdict) {
	p, errs := api.PolicyToEvaluate(ns.Labels, privileged)
	if len(errs) > 0 && (old == nil || !maps.Equal(ns.Labels, old.Labels)) {
		return Verdict{Refusal: &kind.Error{Kind: kind.Invalid, Object: ns.Name, Field: errs[0].Field, Err: errs[0]}}
	}
	if old == nil || p.Enforce.Level == api.LevelPrivileged {
		return v
	}
	was, _ := api.PolicyToEvaluate(old.Labels, privileged)
	if was.Enforce.Equivalent(&p.Enforce) {
		return v
	}
	broken, seen := map[string][]string{}, 0
	for pod := range tables.Pods.In(r, ns.Name) {
		if seen++; seen > podsLookedAt {
			break
		}
		if why := breaks(p.Enforce, &pod.ObjectMeta, &pod.Spec); why != "" {
			broken[why] = append(broken[why], pod.Name)
		}
	}
	if len(broken) == 0 {
		return v
	}
	v.Warnings = []string{fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", ns.Name, p.Enforce.String())}
	for _, why := range slices.Sorted(maps.Keys(broken)) {
		names := broken[why]
		text := names[0]
		switch more := len(names) - 1; {
		case more == 1:
			text += " (and 1 other pod)"
		case more > 1:
			text += fmt.Sprintf(" (and %d other pods)", more)
		}
		v.Warnings = append(v.Warnings, text+": "+strings.TrimSpace(why))
	}
	return v
}
