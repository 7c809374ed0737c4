package tables

import (
	"iter"

	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object"
	"trireme/internal/store"
)

// The resources of the Gateway API, in CustomObjects.
const (
	GatewayClasses  = "gatewayclasses"
	Gateways        = "gateways"
	ReferenceGrants = "referencegrants"
)

// GatewayKey returns where an object of a resource of the Gateway API is in
// CustomObjects; a GatewayClass has no namespace.
func GatewayKey(resource string, key object.Key) object.Key {
	return CustomPlace{Group: gatewayv1.GroupName, Plural: resource, Key: key}.CustomKey()
}

// IsGatewayAPI returns the resource and own key of an object of the Gateway API, false
// where the key in CustomObjects is of another group.
func IsGatewayAPI(at object.Key) (resource string, key object.Key, ok bool) {
	if at.Namespace != gatewayv1.GroupName {
		return "", object.Key{}, false
	}
	p := ParseCustomKey(at)
	return p.Plural, p.Key, true
}

// Grants yields the ReferenceGrants of a namespace that can be read.
func Grants(r store.Reader, namespace string) iter.Seq[*gatewayv1.ReferenceGrant] {
	prefix := GatewayKey(ReferenceGrants, object.Key{Namespace: namespace}).String()
	return func(yield func(*gatewayv1.ReferenceGrant) bool) {
		for row := range CustomObjects.RowsFrom(r, prefix, "") {
			g := &gatewayv1.ReferenceGrant{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(row.Object().Object, g); err == nil && !yield(g) {
				return
			}
		}
	}
}

// PutStatus writes the status of a custom object and leaves all else of it as it is,
// also what this version does not know. Nothing happens where there is no such object.
func PutStatus(tx *store.Tx, at object.Key, status any) error {
	o, ok := CustomObjects.Get(tx, at)
	if !ok {
		return nil
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return err
	}
	next := o.DeepCopy()
	next.Object["status"] = m
	CustomObjects.PutAt(tx, at, next)
	return nil
}
