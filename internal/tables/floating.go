package tables

import (
	"iter"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/floating"
	"trireme/internal/store"
)

// FloatingByNode finds, in CustomObjects, the FloatingIPs that a node answers for.
const FloatingByNode = "floatingNode"

func floatingNode(o *unstructured.Unstructured) []string {
	if o.GetKind() != "FloatingIP" || o.GroupVersionKind().Group != floating.Group.Group {
		return nil
	}
	if node, _, _ := unstructured.NestedString(o.Object, "status", "node"); node != "" {
		return []string{node}
	}
	return nil
}

// FloatingKey returns where an object of the resource is in CustomObjects; an
// AddressPool has no namespace.
func FloatingKey(r schema.GroupVersionResource, key object.Key) object.Key {
	return CustomPlace{Group: r.Group, Plural: r.Resource, Key: key}.CustomKey()
}

// FloatingIPKey returns the FloatingIP's own key, false where the key in
// CustomObjects is of another kind.
func FloatingIPKey(key object.Key) (object.Key, bool) {
	if key.Namespace != floating.IPs.Group {
		return object.Key{}, false
	}
	p := ParseCustomKey(key)
	return p.Key, p.Plural == floating.IPs.Resource
}

// FloatingIP returns the FloatingIP of the key; false where there is none that can
// be read.
func FloatingIP(r store.Reader, key object.Key) (*floating.IP, bool) {
	row, ok := CustomObjects.Row(r, FloatingKey(floating.IPs, key))
	if !ok {
		return nil, false
	}
	return AsFloatingIP(row.Object())
}

// AsFloatingIP returns a custom object as the FloatingIP that it is; false where it
// is nil or cannot be read.
func AsFloatingIP(o store.Object) (*floating.IP, bool) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || u == nil {
		return nil, false
	}
	ip := &floating.IP{}
	return ip, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, ip) == nil
}

// AddressPools returns the pools that can be read, in order of their names.
func AddressPools(r store.Reader) iter.Seq[*floating.Pool] {
	prefix := FloatingKey(floating.Pools, object.Key{}).String()
	return func(yield func(*floating.Pool) bool) {
		for row := range CustomObjects.RowsFrom(r, prefix, "") {
			p := &floating.Pool{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(row.Object().Object, p); err == nil && !yield(p) {
				return
			}
		}
	}
}

// PutFloatingIP writes a FloatingIP.
func PutFloatingIP(tx *store.Tx, ip *floating.IP) error {
	u, err := ip.Unstructured()
	if err != nil {
		return err
	}
	CustomObjects.PutAt(tx, FloatingKey(floating.IPs, object.KeyOf(ip)), u)
	return nil
}
