package tables

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object/peers"
	"trireme/internal/store"
)

// PeerGroups holds whom the peers of network policies stand for: one row a group and
// node, under the group's ID and the node's name. It is derived, and no noun: no door
// shows it. It is logged all the same, so that a manager that takes over does not
// tell nodes of empty groups before its loops have run.
var PeerGroups = store.NewTable(store.Spec[*peers.Part, none]{
	ID: "peergroups", GVK: schema.GroupVersionKind{Group: "networking.trireme.dev", Version: "v1", Kind: "PeerGroup"},
	Prefix: "/registry/networking.trireme.dev/peergroups/", Namespaced: true,
	New: func() *peers.Part { return &peers.Part{} },
})
