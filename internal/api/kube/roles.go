package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"trireme/internal/store"
)

// roleStore is the storage of roles and bindings: nobody hands out more than he
// has.
type roleStore struct {
	*registryStore
	server *Server
}

// Create implements rest.Creater.
func (s *roleStore) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	return s.registryStore.Create(ctx, o, s.granted(validate), opts)
}

// Update implements rest.Updater.
func (s *roleStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.registryStore.Update(ctx, name, info, s.granted(create), func(ctx context.Context, o, old runtime.Object) error {
		if err := s.server.auth.MayGrant(ctx, s.server.store.Snapshot(), o.(store.Object), old.(store.Object)); err != nil {
			return err
		}
		return update(ctx, o, old)
	}, force, opts)
}

// granted adds to the validation of a new object that its writer may grant it.
func (s *roleStore) granted(validate rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, o runtime.Object) error {
		if err := s.server.auth.MayGrant(ctx, s.server.store.Snapshot(), o.(store.Object), nil); err != nil {
			return err
		}
		return validate(ctx, o)
	}
}
