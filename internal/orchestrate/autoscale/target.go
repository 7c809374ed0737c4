package autoscale

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/orchestrate/scale"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// target is what is scaled, or what a metric is of.
type target struct {
	*scale.Scale
	namespace string
	owners    []types.UID     // of its pods
	selector  labels.Selector // finds its pods where nobody is known to own them; may be nil
}

// targetOf finds what a reference names.
func targetOf(tx *store.Tx, namespace string, ref autoscalingv2.CrossVersionObjectReference) (*target, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	gk := gv.WithKind(ref.Kind).GroupKind()
	sc, err := scale.Of(tx, gk, object.Key{Namespace: namespace, Name: ref.Name})
	if err != nil {
		return nil, err
	}
	if sc == nil {
		return nil, fmt.Errorf("%s %q not found", gk, ref.Name)
	}
	t := &target{Scale: sc, namespace: namespace, owners: []types.UID{sc.UID}}
	switch {
	case gk == tables.Deployments.GVK().GroupKind():
		t.owners = replicaSets(tx, sc.UID)
	case sc.Selector != "":
		t.owners = nil
		if t.selector, err = labels.Parse(sc.Selector); err != nil {
			return nil, fmt.Errorf("the selector of %s %q: %w", gk, ref.Name, err)
		}
	}
	return t, nil
}

// replicaSets returns those of a Deployment.
func replicaSets(tx *store.Tx, deployment types.UID) (all []types.UID) {
	for row := range tables.ReplicaSets.By(tx, tables.OwnerIndex, string(deployment)) {
		if ref := metav1.GetControllerOfNoCopy(row.Object()); ref != nil && ref.UID == deployment {
			all = append(all, row.Object().UID)
		}
	}
	return all
}

// member is a pod of a target.
type member struct {
	key    object.Key
	head   *tables.PodHead
	sample *object.PodSample // nil: it has none
}

// members returns the target's pods in order of their owners and keys, those apart that
// have failed or are to go.
func (t *target) members(tx *store.Tx) (all []member) {
	add := func(row store.Row[*corev1.Pod, *tables.PodHead]) {
		h := row.Head()
		if h.Deleting || h.UnderReview || h.Phase == corev1.PodFailed {
			return
		}
		m := member{key: row.Key(), head: h}
		if s, ok := tables.PodSamples.Get(tx, m.key); ok && s.UID == h.UID {
			m.sample = s
		}
		all = append(all, m)
	}
	for _, uid := range t.owners {
		for row := range tables.Pods.By(tx, tables.OwnerIndex, string(uid)) {
			if row.Head().Owner == uid {
				add(row)
			}
		}
	}
	if t.selector != nil {
		for row := range tables.Pods.Rows(tx, t.namespace) {
			if t.selector.Matches(labels.Set(row.Head().Labels)) {
				add(row)
			}
		}
	}
	return all
}

// samplesOf returns the samples of an object's pods.
func samplesOf(tx *store.Tx, namespace string, ref autoscalingv2.CrossVersionObjectReference) (all []*object.PodSample, err error) {
	key := object.Key{Namespace: namespace, Name: ref.Name}
	switch ref.Kind {
	case tables.Pods.GVK().Kind:
		if s, ok := tables.PodSamples.Get(tx, key); ok {
			all = append(all, s)
		}
		return all, nil
	case tables.Services.GVK().Kind:
		svc, ok := tables.Services.Get(tx, key)
		if !ok {
			return nil, fmt.Errorf("Service %q not found", ref.Name)
		}
		if len(svc.Spec.Selector) == 0 {
			return nil, fmt.Errorf("Service %q selects no pods", ref.Name)
		}
		sel := labels.SelectorFromSet(svc.Spec.Selector)
		for s := range tables.PodSamples.In(tx, namespace) {
			if sel.Matches(labels.Set(s.Labels)) {
				all = append(all, s)
			}
		}
		return all, nil
	}
	t, err := targetOf(tx, namespace, ref)
	if err != nil {
		return nil, err
	}
	for _, m := range t.members(tx) {
		if m.sample != nil {
			all = append(all, m.sample)
		}
	}
	return all, nil
}
