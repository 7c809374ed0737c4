package object

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Key names one object within its table. Namespace is empty for
// cluster-scoped objects.
type Key struct {
	Namespace string
	Name      string
}

// KeyOf returns the key of o.
func KeyOf(o metav1.Object) Key { return Key{o.GetNamespace(), o.GetName()} }

// String returns "namespace/name", or "name" alone where there is no namespace:
// the same text that follows the table's prefix in the store's log.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// Compare orders keys by namespace, then by name.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Namespace, o.Namespace), strings.Compare(k.Name, o.Name))
}

// SortedKeys returns the keys of m in order; nil where it is empty.
func SortedKeys[V any](m map[Key]V) []Key {
	if len(m) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(m), Key.Compare)
}

// ParseKey is the inverse of Key.String.
func ParseKey(s string) Key {
	if ns, name, ok := strings.Cut(s, "/"); ok {
		return Key{ns, name}
	}
	return Key{"", s}
}
