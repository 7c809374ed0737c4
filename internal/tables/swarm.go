package tables

import (
	"iter"

	"trireme/internal/object"
	"trireme/internal/object/swarm"
	"trireme/internal/store"
)

// SwarmKey returns where the swarm service of the key is in CustomObjects.
func SwarmKey(key object.Key) object.Key {
	return CustomPlace{Group: swarm.Group.Group, Plural: swarm.Services.Resource, Key: key}.CustomKey()
}

// IsSwarm returns the swarm service's own key, false where the key in CustomObjects is
// of another kind.
func IsSwarm(at object.Key) (object.Key, bool) {
	if at.Namespace != swarm.Group.Group {
		return object.Key{}, false
	}
	p := ParseCustomKey(at)
	return p.Key, p.Plural == swarm.Services.Resource
}

// Swarm returns the swarm service of the key; false where there is none that can be
// read.
func Swarm(r store.Reader, key object.Key) (*swarm.Service, bool) {
	row, ok := CustomObjects.Row(r, SwarmKey(key))
	if !ok {
		return nil, false
	}
	s, err := swarm.FromUnstructured(row.Object())
	return s, err == nil
}

// Swarms yields the swarm services of a namespace, of all where it is empty, that can
// be read.
func Swarms(r store.Reader, namespace string) iter.Seq[*swarm.Service] {
	prefix := SwarmKey(object.Key{Namespace: namespace}).String()
	return func(yield func(*swarm.Service) bool) {
		for row := range CustomObjects.RowsFrom(r, prefix, "") {
			if s, err := swarm.FromUnstructured(row.Object()); err == nil && !yield(s) {
				return
			}
		}
	}
}

// SwarmBack rolls the service back to the spec before.
func SwarmBack(tx *store.Tx, key object.Key) {
	if row, ok := CustomObjects.Row(tx, SwarmKey(key)); ok {
		next := row.Object().DeepCopy()
		swarm.Back(next)
		CustomObjects.PutAt(tx, SwarmKey(key), next)
	}
}
