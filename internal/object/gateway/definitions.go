package gateway

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Controller is who serves a GatewayClass, as its spec.controllerName says it.
const Controller = "trireme.dev/gateway"

// Class is the GatewayClass that every cluster has.
const Class = "trireme"

// Which release of the Gateway API a definition is of: as its makers say, and as we
// found it when we wrote it. Where the two differ somebody else wrote since.
const (
	bundleAnnotation  = "gateway.networking.k8s.io/bundle-version"
	channelAnnotation = "gateway.networking.k8s.io/channel"
	writtenAnnotation = "trireme.dev/bundle-version"
)

//go:embed definitions_gen.json.gz
var definitions []byte

// Definitions returns the definitions of the kinds that are served.
func Definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	z, err := gzip.NewReader(bytes.NewReader(definitions))
	if err != nil {
		return nil, fmt.Errorf("reading the definitions of the Gateway API: %w", err)
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for dec := json.NewDecoder(z); ; {
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := dec.Decode(d); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the definitions of the Gateway API: %w", err)
		}
		d.Annotations[writtenAnnotation] = d.Annotations[bundleAnnotation]
		d.ManagedFields = owned()
		d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
		all = append(all, d)
	}
}

// owned says that of a definition our mark alone is ours: who applies another release over
// ours, also with --server-side, then finds no conflict.
func owned() []metav1.ManagedFieldsEntry {
	return []metav1.ManagedFieldsEntry{{
		Manager: "trireme", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: apiextensionsv1.SchemeGroupVersion.String(),
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:annotations":{"f:` + writtenAnnotation + `":{}}}}`)},
	}}
}

// Keeps reports whether a definition that is there is to stay as it is: somebody else
// installed it, whichever release or channel it is of.
func Keeps(d *apiextensionsv1.CustomResourceDefinition) bool {
	return d.Annotations[writtenAnnotation] == "" || d.Annotations[channelAnnotation] != "standard" || d.Annotations[writtenAnnotation] != d.Annotations[bundleAnnotation]
}

// DefaultClass returns the GatewayClass that every cluster has.
func DefaultClass() *gatewayv1.GatewayClass {
	says := "Gateways that every node answers for"
	return &gatewayv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: Class, Generation: 1},
		Spec:       gatewayv1.GatewayClassSpec{ControllerName: Controller, Description: &says},
	}
}

// Unstructured returns an object as tables.CustomObjects holds it.
func Unstructured(kind string, o runtime.Object) (*unstructured.Unstructured, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", kind, err)
	}
	u := &unstructured.Unstructured{Object: raw}
	u.SetGroupVersionKind(gatewayv1.SchemeGroupVersion.WithKind(kind))
	return u, nil
}
