package fairness

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"trireme/internal/admit"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// kept is one kind of which every cluster has some objects.
type kept[T store.Object] struct {
	table *store.Table[T, struct{}]
	// mandatory objects always are as they are here; suggested ones are what their
	// annotation says.
	mandatory, suggested []T
	// respec gives have the spec of want.
	respec func(have, want T)
}

var schemas = kept[*flowcontrolv1.FlowSchema]{
	tables.FlowSchemas, bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas,
	func(have, want *flowcontrolv1.FlowSchema) { have.Spec = *want.Spec.DeepCopy() },
}

var levels = kept[*flowcontrolv1.PriorityLevelConfiguration]{
	tables.PriorityLevelConfigurations, bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations,
	func(have, want *flowcontrolv1.PriorityLevelConfiguration) {
		own := have.Spec.Exempt // how much an exempt level lends is its owner's, the mandatory one's too
		have.Spec = *want.Spec.DeepCopy()
		if own != nil && have.Spec.Exempt != nil {
			have.Spec.Exempt = own.DeepCopy()
		}
	},
}

// Bootstrap writes the objects that every cluster has. The suggested ones are kept
// as they are here while their annotation apf.kubernetes.io/autoupdate-spec is
// "true"; one without it gets it, unless its spec was changed. What was once kept
// and is no longer known goes (Kubernetes, "API Priority and Fairness", Maintenance
// of the Mandatory and Suggested Configuration Objects).
func Bootstrap(tx *store.Tx) {
	levels.all(tx)
	schemas.all(tx)
}

// Keep does the same at each change of them, until ctx ends.
func Keep(ctx context.Context, s *store.Store) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return levels.follow(ctx, s) })
	g.Go(func() error { return schemas.follow(ctx, s) })
	return g.Wait()
}

func (k kept[T]) all(tx *store.Tx) {
	names := map[string]bool{}
	for _, o := range slices.Concat(k.mandatory, k.suggested) {
		names[o.GetName()] = true
	}
	for o := range k.table.All(tx) {
		names[o.GetName()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		k.keep(tx, name)
	}
}

func (k kept[T]) follow(ctx context.Context, s *store.Store) error {
	return s.Follow(ctx, k.table.Any(), func(key object.Key) error {
		if !k.lacks(s.Snapshot(), key.Name) {
			return nil
		}
		_, err := s.Update(ctx, func(tx *store.Tx) error { k.keep(tx, key.Name); return nil })
		if err != nil {
			return fmt.Errorf("keeping %s %s: %w", k.table.GVK().Kind, key.Name, err)
		}
		return nil
	})
}

// lacks reports whether keep would write.
func (k kept[T]) lacks(r store.Reader, name string) bool {
	have, ok := k.table.Get(r, object.Key{Name: name})
	next, keep := k.wanted(have, ok, name)
	return ok && !keep || keep && !(ok && equality.Semantic.DeepEqual(have, next))
}

func (k kept[T]) keep(tx *store.Tx, name string) {
	key := object.Key{Name: name}
	have, ok := k.table.Get(tx, key)
	next, keep := k.wanted(have, ok, name)
	switch {
	case !keep && ok:
		k.table.Delete(tx, key)
	case !keep || ok && equality.Semantic.DeepEqual(have, next):
	case !ok:
		admit.Default(next)
		admit.PrepareCreate(next)
		k.table.Put(tx, next)
	default:
		admit.PrepareUpdate(next, have)
		k.table.Put(tx, next)
	}
}

// wanted returns the object as it should be; false: it should not be.
func (k kept[T]) wanted(have T, ok bool, name string) (next T, keep bool) {
	named := func(o T) bool { return o.GetName() == name }
	var want T
	mandatory := true
	i := slices.IndexFunc(k.mandatory, named)
	if i >= 0 {
		want = k.mandatory[i]
	} else if i = slices.IndexFunc(k.suggested, named); i >= 0 {
		want, mandatory = k.suggested[i], false
	}
	if i < 0 {
		return have, ok && have.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey] != "true"
	}
	if !ok {
		return want.DeepCopyObject().(T), true
	}
	if have.GetDeletionTimestamp() != nil {
		return have, true
	}
	next = have.DeepCopyObject().(T)
	auto, said := have.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]
	if !said || auto != "true" && auto != "false" || mandatory {
		auto = "false"
		if mandatory || have.GetGeneration() <= 1 {
			auto = "true"
		}
		a := maps.Clone(next.GetAnnotations())
		if a == nil {
			a = map[string]string{}
		}
		a[flowcontrolv1.AutoUpdateAnnotationKey] = auto
		next.SetAnnotations(a)
	}
	if auto == "true" {
		k.respec(next, want)
	}
	return next, true
}
