package tables

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
)

// Routes holds how requests from outside find services: one row an
// Ingress, Gateway or route of one. It is derived, and no noun: no door shows it. It is logged for the
// same reason as PeerGroups are.
var Routes = store.NewTable(store.Spec[*route.Part, none]{
	ID: route.TableName, GVK: schema.GroupVersionKind{Group: "networking.trireme.dev", Version: "v1", Kind: "Route"},
	Prefix: "/registry/networking.trireme.dev/routes/", Namespaced: true,
	New: func() *route.Part { return &route.Part{} },
})

// SetRoute makes a row what it should be; nil: there should be none.
func SetRoute(tx *store.Tx, key object.Key, want *route.Part) {
	have, ok := Routes.Get(tx, key)
	switch {
	case want == nil && ok:
		Routes.Delete(tx, key)
	case want != nil && (!ok || !want.Same(have)):
		if ok {
			want.ObjectMeta = *have.ObjectMeta.DeepCopy()
		}
		Routes.Put(tx, want)
	}
}
