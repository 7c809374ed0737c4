package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"trireme/internal/kind"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// limitsAnnotation says which resources a pod got from limit ranges.
const limitsAnnotation = "kubernetes.io/limit-ranger"

// defaultLimits gives the containers of a new pod the requests and limits of
// their namespace's limit ranges where they have none (Kubernetes, "Limit
// Ranges").
func defaultLimits(r store.Reader, p *corev1.Pod) {
	for lr := range tables.LimitRanges.In(r, p.Namespace) {
		requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
		for _, item := range lr.Spec.Limits {
			if item.Type == corev1.LimitTypeContainer {
				maps.Copy(requests, item.DefaultRequest)
				maps.Copy(limits, item.Default)
			}
		}
		if len(requests)+len(limits) == 0 {
			continue
		}
		var said []string
		for i := range p.Spec.Containers {
			said = append(said, fill(&p.Spec.Containers[i], requests, limits, "container")...)
		}
		for i := range p.Spec.InitContainers {
			said = append(said, fill(&p.Spec.InitContainers[i], requests, limits, "init container")...)
		}
		if len(said) > 0 {
			annotations := maps.Clone(p.Annotations)
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[limitsAnnotation] = "LimitRanger plugin set: " + strings.Join(said, "; ")
			p.Annotations = annotations
		}
	}
}

// fill sets what the container leaves out and says what it set.
func fill(c *corev1.Container, requests, limits corev1.ResourceList, what string) (said []string) {
	for _, f := range []struct {
		list *corev1.ResourceList
		from corev1.ResourceList
		word string
	}{{&c.Resources.Requests, requests, "request"}, {&c.Resources.Limits, limits, "limit"}} {
		var set []string
		next := maps.Clone(*f.list)
		for name, q := range f.from {
			if _, ok := next[name]; ok {
				continue
			}
			if next == nil {
				next = corev1.ResourceList{}
			}
			next[name] = q.DeepCopy()
			set = append(set, string(name))
		}
		*f.list = next
		if len(set) > 0 {
			slices.Sort(set)
			said = append(said, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), f.word, what, c.Name))
		}
	}
	return said
}

// asked is what one thing that a limit range looks at asks for.
type asked struct {
	what             corev1.LimitType
	requests, limits corev1.ResourceList
}

// checkLimits refuses what is outside the limit ranges of its namespace.
func checkLimits(r store.Reader, o store.Object) error {
	var all []asked
	var errs []error
	for lr := range tables.LimitRanges.In(r, o.GetNamespace()) {
		if all == nil {
			all = asks(o)
		}
		for _, item := range lr.Spec.Limits {
			for _, a := range all {
				if a.what == item.Type {
					errs = append(errs, a.against(item)...)
				}
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return kind.New(kind.Denied, "%w", joined(errs))
}

// joined is several faults on one line, as Kubernetes prints them.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	var all []string
	for _, e := range errs {
		all = append(all, e.Error())
	}
	return errors.New("[" + strings.Join(all, ", ") + "]")
}

func asks(o store.Object) []asked {
	switch o := o.(type) {
	case *corev1.PersistentVolumeClaim:
		return []asked{{what: corev1.LimitTypePersistentVolumeClaim, requests: o.Spec.Resources.Requests}}
	case *corev1.Pod:
		none := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
		all := []asked{{what: corev1.LimitTypePod, requests: resourcehelper.PodRequests(o, none), limits: resourcehelper.PodLimits(o, none)}}
		for _, list := range [][]corev1.Container{o.Spec.Containers, o.Spec.InitContainers} {
			for i := range list {
				all = append(all, asked{corev1.LimitTypeContainer, list[i].Resources.Requests, list[i].Resources.Limits})
			}
		}
		return all
	}
	return nil
}

// against returns how a breaks the bounds of one item. The words are those of
// Kubernetes, because people search for them.
func (a asked) against(item corev1.LimitRangeItem) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range sorted(item.Min) {
		least := item.Min[name]
		switch req, ok := a.requests[name]; {
		case !ok:
			bad("minimum %s usage per %s is %s.  No request is specified", name, a.what, &least)
		case req.Cmp(least) < 0:
			bad("minimum %s usage per %s is %s, but request is %s", name, a.what, &least, &req)
		default:
			if lim, ok := a.limits[name]; ok && lim.Cmp(least) < 0 {
				bad("minimum %s usage per %s is %s, but limit is %s", name, a.what, &least, &lim)
			}
		}
	}
	for _, name := range sorted(item.Max) {
		most := item.Max[name]
		req, requested := a.requests[name]
		lim, limited := a.limits[name]
		switch {
		case a.what == corev1.LimitTypePersistentVolumeClaim && !requested:
			bad("maximum %s usage per %s is %s.  No request is specified", name, a.what, &most)
		case a.what != corev1.LimitTypePersistentVolumeClaim && !limited:
			bad("maximum %s usage per %s is %s.  No limit is specified", name, a.what, &most)
		case limited && lim.Cmp(most) > 0:
			bad("maximum %s usage per %s is %s, but limit is %s", name, a.what, &most, &lim)
		case requested && req.Cmp(most) > 0:
			bad("maximum %s usage per %s is %s, but request is %s", name, a.what, &most, &req)
		}
	}
	for _, name := range sorted(item.MaxLimitRequestRatio) {
		most, req, lim := item.MaxLimitRequestRatio[name], a.requests[name], a.limits[name]
		switch {
		case req.IsZero():
			bad("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, a.what, &most)
		case lim.IsZero():
			bad("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, a.what, &most)
		default:
			if ratio := lim.AsApproximateFloat64() / req.AsApproximateFloat64(); ratio > most.AsApproximateFloat64()*(1+1e-9) {
				bad("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, a.what, &most, ratio)
			}
		}
	}
	return errs
}

func sorted(list map[corev1.ResourceName]resource.Quantity) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(list))
}
