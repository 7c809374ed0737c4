package test

import (
	"context"
	"fmt"
	"testing"
)

// gatewayManifest is a web service behind a Gateway: by path, by header, by a redirect,
// and with TLS.
const gatewayManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [` + webContainer + `]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: trireme
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: web-tls}]}}
  - {name: api, port: 6443, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: front}]
  rules:
  - matches: [{path: {type: Exact, value: /}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /moved}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]
  - matches: [{path: {value: /}, headers: [{name: Host, value: special.example}]}]
    backendRefs: [{name: nothing, port: 80}]
`

// TestGateway: a Gateway, an HTTPRoute and a GRPCRoute applied through kubectl answer on
// every machine, by weight where they say so, and say what cannot be served; while the route changes no request fails.
func TestGateway(t *testing.T) {
	c := ownCluster(t, 2)
	manager, worker := c.Hosts[0], c.Hosts[1]
	if err := bringUp(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	join(t, manager, worker)
	k := &client{t: t, h: manager, namespace: "default"}
	cert, key, ca := keyPair(t)
	k.must("create", "secret", "tls", "web-tls", "--cert", cert, "--key", key)
	k.apply(gatewayManifest)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	k.must("wait", "gateway/front", "--for=jsonpath={.status.addresses[1].value}", "--timeout=10s")
	k.must("wait", "gateway/front", "--for=condition=Programmed", "--timeout=10s")
	for path, want := range map[string]string{
		`.status.listeners[?(@.name=="api")].conditions[?(@.type=="Accepted")].reason`: "PortUnavailable",
		`.status.listeners[?(@.name=="https")].attachedRoutes`:                         "1",
	} {
		if got := k.get("gateway/front", path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := k.get("httproute/web", `.status.parents[0].conditions[?(@.type=="ResolvedRefs")].reason`); got != "BackendNotFound" {
		t.Errorf("the route with a backend that is not there says %q", got)
	}
	answers(t, c, ca, map[string]string{
		"https://example.com/":     "HTTP/2.0 200",
		"http://any.example/":      "HTTP/1.1 200",
		"http://any.example/moved": "HTTP/1.1 301 https://any.example/moved",
		"http://any.example/no":    "HTTP/1.1 404",
		"http://special.example/x": "HTTP/1.1 500",
	})
	grpcCalls(t, c, k, ca)
	weights(t, c, k)
	underLoad(t, c, func(context.Context) {
		for i := range 10 {
			k.must("patch", "httproute", "web", "--type=json", "-p",
				fmt.Sprintf(`[{"op":"replace","path":"/spec/rules/0/matches/0/path/type","value":%q}]`, []string{"PathPrefix", "Exact"}[i%2]))
		}
	})
}
