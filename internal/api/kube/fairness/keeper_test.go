package fairness

import (
	"testing"
	"time"

	"github.com/google/uuid"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/validate"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestBootstrap keeps the objects as their annotations say.
func TestBootstrap(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	update := func(f func(tx *store.Tx)) {
		t.Helper()
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	update(Bootstrap)
	for o := range tables.FlowSchemas.All(s.Head()) {
		if errs := validate.Object(o); len(errs) > 0 || o.Generation != 1 {
			t.Errorf("%s: generation %d, %v", o.Name, o.Generation, errs)
		}
	}
	for o := range tables.PriorityLevelConfigurations.All(s.Head()) {
		if errs := validate.Object(o); len(errs) > 0 {
			t.Errorf("%s: %v", o.Name, errs)
		}
	}
	rev := tables.FlowSchemas.Rev(s.Head())
	if update(Bootstrap); tables.FlowSchemas.Rev(s.Head()) != rev {
		t.Error("a second time wrote again")
	}
	const auto = flowcontrolv1.AutoUpdateAnnotationKey
	for _, c := range []struct {
		name   string
		change func(*flowcontrolv1.FlowSchema) // nil: deleted
		want   int32                           // matching precedence; 0: none is there
		auto   string
	}{
		{"exempt", nil, 1, "true"},
		{"catch-all", func(f *flowcontrolv1.FlowSchema) { f.Annotations[auto], f.Spec.MatchingPrecedence = "false", 7 }, 10000, "true"},
		{"probes", func(f *flowcontrolv1.FlowSchema) { f.Annotations[auto], f.Spec.MatchingPrecedence = "false", 7 }, 7, "false"},
		{"global-default", func(f *flowcontrolv1.FlowSchema) { f.Spec.MatchingPrecedence = 7 }, 9900, "true"},
		{"service-accounts", func(f *flowcontrolv1.FlowSchema) { f.Annotations, f.Spec.MatchingPrecedence, f.Generation = nil, 7, 2 }, 7, "false"},
		{"system-leader-election", func(f *flowcontrolv1.FlowSchema) { f.Annotations = nil }, 100, "true"},
		{"of-old", func(f *flowcontrolv1.FlowSchema) { f.Annotations = map[string]string{auto: "true"} }, 0, ""},
		{"users", func(f *flowcontrolv1.FlowSchema) { f.Spec.MatchingPrecedence = 7 }, 7, ""},
	} {
		key := object.Key{Name: c.name}
		update(func(tx *store.Tx) {
			if c.change == nil {
				tables.FlowSchemas.Delete(tx, key)
				return
			}
			next := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: c.name}}
			if have, ok := tables.FlowSchemas.Get(tx, key); ok {
				next = have.DeepCopy()
			}
			c.change(next)
			tables.FlowSchemas.Put(tx, next)
		})
		update(func(tx *store.Tx) { schemas.keep(tx, c.name) })
		got, ok := tables.FlowSchemas.Get(s.Head(), key)
		if ok != (c.want > 0) || ok && (got.Spec.MatchingPrecedence != c.want || got.Annotations[auto] != c.auto) {
			t.Errorf("%s: %v %+v", c.name, ok, got)
		}
	}
	// The exempt level lends what its owner says.
	update(func(tx *store.Tx) {
		have, _ := tables.PriorityLevelConfigurations.Get(tx, object.Key{Name: "exempt"})
		next, lends := have.DeepCopy(), int32(50)
		next.Spec.Exempt.LendablePercent = &lends
		tables.PriorityLevelConfigurations.Put(tx, next)
		levels.keep(tx, "exempt")
		if have, _ = tables.PriorityLevelConfigurations.Get(tx, object.Key{Name: "exempt"}); *have.Spec.Exempt.LendablePercent != 50 {
			t.Error("the exempt level was reset")
		}
	})
}
