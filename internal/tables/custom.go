package tables

import (
	"bytes"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
)

// CustomByNamespace finds, in CustomObjects, the objects of one namespace.
const CustomByNamespace = "namespace"

// CustomHead is what loops look at without decoding a custom object.
type CustomHead struct {
	UID      types.UID
	Deleting bool
}

// CustomObjects holds the objects of every kind that a CustomResourceDefinition
// defines, in one table, since kinds come and go while tables do not. They stand
// where Kubernetes keeps them, as JSON in the stored version:
// /registry/GROUP/PLURAL/NAMESPACE/NAME. CustomKey and CustomPlace go from one
// form of the key to the other.
//
// Objects whose definition is gone stay as they are, as in Kubernetes.
var CustomObjects = store.NewTable(store.Spec[*unstructured.Unstructured, *CustomHead]{
	ID:     "customobjects",
	Prefix: "/registry/",
	Claims: isCustom,
	Cold:   true,
	New:    func() *unstructured.Unstructured { return &unstructured.Unstructured{} },
	Head: func(o *unstructured.Unstructured) *CustomHead {
		return &CustomHead{UID: o.GetUID(), Deleting: o.GetDeletionTimestamp() != nil}
	},
	Indexes: map[string]func(*unstructured.Unstructured) []string{
		OwnerIndex:     owners[*unstructured.Unstructured],
		FloatingByNode: floatingNode, SnapshotsByNode: snapshotNode,
		CustomByNamespace: func(o *unstructured.Unstructured) []string {
			if o.GetNamespace() == "" {
				return nil
			}
			return []string{o.GetNamespace()}
		},
	},
})

// NodesOf returns the nodes that a custom object is on, as FloatingByNode and SnapshotsByNode
// find it.
func NodesOf(o *unstructured.Unstructured) []string {
	return append(floatingNode(o), snapshotNode(o)...)
}

// isCustom reports whether a row of the log that no other table knows is a
// custom object: a group's name has a dot, and the value is a JSON object.
func isCustom(key string, value []byte) bool {
	parts := strings.Split(key, "/")
	return (len(parts) == 3 || len(parts) == 4) && strings.Contains(parts[0], ".") && bytes.HasPrefix(value, []byte("{"))
}

// CustomPlace says where a custom object lives.
type CustomPlace struct {
	Group, Plural string
	object.Key
}

// CustomKey returns the place's key in CustomObjects.
func (p CustomPlace) CustomKey() object.Key {
	return object.Key{Namespace: p.Group, Name: p.Plural + "/" + p.Key.String()}
}

// ParseCustomKey is the inverse of CustomPlace.CustomKey.
func ParseCustomKey(key object.Key) CustomPlace {
	plural, rest, _ := strings.Cut(key.Name, "/")
	return CustomPlace{Group: key.Namespace, Plural: plural, Key: object.ParseKey(rest)}
}

// ReadCustom returns a custom object as what it is; false where there is none that can be
// read.
func ReadCustom[T any](r store.Reader, at object.Key) (*T, bool) {
	row, ok := CustomObjects.Row(r, at)
	if !ok {
		return nil, false
	}
	out := new(T)
	return out, runtime.DefaultUnstructuredConverter.FromUnstructured(row.Object().Object, out) == nil
}

// Unstructured returns an object of a kind as CustomObjects holds it. o points to it.
func Unstructured(kind schema.GroupVersionKind, o any) (*unstructured.Unstructured, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", kind.Kind, err)
	}
	u := &unstructured.Unstructured{Object: raw}
	u.SetGroupVersionKind(kind)
	return u, nil
}
