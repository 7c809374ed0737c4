package gateway

import (
	_ "embed"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object/definition"
)

// Controller is who serves a GatewayClass, as its spec.controllerName says it.
const Controller = "trireme.dev/gateway"

// Class is the GatewayClass that every cluster has.
const Class = "trireme"

//go:embed definitions_gen.json.gz
var compressed []byte

// Definitions are those of the kinds that are served. Which release of the Gateway API one is
// of its makers say in it; other channels than the standard one are others'.
var Definitions = definition.Pack{Name: "the Gateway API", Compressed: compressed, Release: release}

func release(d *apiextensionsv1.CustomResourceDefinition) string {
	const bundle, channel = "gateway.networking.k8s.io/bundle-version", "gateway.networking.k8s.io/channel"
	if d.Annotations[channel] != "standard" {
		return "another channel"
	}
	return d.Annotations[bundle]
}

// DefaultClass returns the GatewayClass that every cluster has.
func DefaultClass() *gatewayv1.GatewayClass {
	says := "Gateways that every node answers for"
	return &gatewayv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: Class, Generation: 1},
		Spec:       gatewayv1.GatewayClassSpec{ControllerName: Controller, Description: &says},
	}
}
