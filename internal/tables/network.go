package tables

import (
	"iter"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/network"
	"trireme/internal/store"
)

// NetworkMembers holds who is on which tenant network with which address: one row a
// network and node, see package network. It is logged: addresses that were given stay.
var NetworkMembers = store.NewTable(store.Spec[*discoveryv1.EndpointSlice, none]{
	ID: network.MembersTable, GVK: schema.GroupVersionKind{Group: "networking.trireme.dev", Version: "v1", Kind: "NetworkMembers"},
	Prefix: "/registry/networking.trireme.dev/networkmembers/", Namespaced: true,
	New: func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} },
})

// NetworkKey returns where the network of the key is in CustomObjects.
func NetworkKey(key object.Key) object.Key {
	return CustomPlace{Group: network.Resource.Group, Plural: network.Resource.Resource, Key: key}.CustomKey()
}

// IsNetwork returns the network's own key, false where the key in CustomObjects is of
// another kind.
func IsNetwork(at object.Key) (object.Key, bool) {
	if at.Namespace != network.Resource.Group {
		return object.Key{}, false
	}
	p := ParseCustomKey(at)
	return p.Key, p.Plural == network.Resource.Resource
}

// Network returns the network of the key; false where there is none that can be read.
func Network(r store.Reader, key object.Key) (*network.Network, bool) {
	row, ok := CustomObjects.Row(r, NetworkKey(key))
	if !ok {
		return nil, false
	}
	n := &network.Network{}
	return n, runtime.DefaultUnstructuredConverter.FromUnstructured(row.Object().Object, n) == nil
}

// Networks yields the networks of all namespaces that can be read.
func Networks(r store.Reader) iter.Seq[*network.Network] {
	return func(yield func(*network.Network) bool) {
		for row := range CustomObjects.RowsFrom(r, NetworkKey(object.Key{}).String(), "") {
			n := &network.Network{}
			if runtime.DefaultUnstructuredConverter.FromUnstructured(row.Object().Object, n) == nil && !yield(n) {
				return
			}
		}
	}
}

// NetworkFronts yields the core Services that are known on a network, with what they are there.
func NetworkFronts(r store.Reader, key object.Key) iter.Seq[network.Front] {
	return func(yield func(network.Front) bool) {
		for row := range NetworkMembers.Rows(r, network.ID(key)) {
			if f, ok := network.FrontOf(row.Object()); ok && !yield(f) {
				return
			}
		}
	}
}

// PutNetwork writes a network.
func PutNetwork(tx *store.Tx, n *network.Network) error {
	u, err := n.Unstructured()
	if err != nil {
		return err
	}
	CustomObjects.PutAt(tx, NetworkKey(object.KeyOf(n)), u)
	return nil
}
