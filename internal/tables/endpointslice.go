package tables

import (
	discoveryv1 "k8s.io/api/discovery/v1"

	"trireme/internal/store"
)

// EndpointSlices holds the endpoints of services.
var EndpointSlices = store.NewTable(store.Spec[*discoveryv1.EndpointSlice, none]{
	ID:         "endpointslices",
	GVK:        discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
	Prefix:     "/registry/endpointslices/",
	Namespaced: true,
	New:        func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} },
	Indexes:    map[string]func(*discoveryv1.EndpointSlice) []string{OwnerIndex: owners[*discoveryv1.EndpointSlice]},
})
