package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestToldInEvents: what of an Ingress or a load balancer has no effect is said in events
// of it, with what to do.
func TestToldInEvents(t *testing.T) {
	k := newClient(t, machine(t))
	other := &client{t: t, h: k.h, namespace: k.namespace + "-other"}
	k.must("create", "namespace", other.namespace)
	t.Cleanup(func() {
		if out, err := k.run(context.Background(), "", "delete", "namespace", other.namespace, "--timeout=60s"); err != nil {
			t.Errorf("deleting the other namespace: %v: %s", err, out)
		}
	})
	ingress := func(annotation, path string) string {
		return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: shop%s}\nspec:\n  rules:\n  - host: told.example\n"+
			"    http: {paths: [{path: %s, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}\n", annotation, path)
	}
	k.apply(ingress("", "/cart"))
	other.apply(ingress(", annotations: {trireme.dev/certificate: letsencrypt}", "/cart/"))
	other.apply("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, loadBalancerIP: \"2001:db8::1\", ports: [{port: 80}]}\n")
	for about, want := range map[string]string{
		"HostTaken":                "told.example/cart on port 80: ingress " + k.namespace + "/shop came first and has the requests",
		"UnknownCertificateIssuer": `nobody makes certificates for "letsencrypt": say cluster or acme`,
		"LoadBalancerIPFamily":     "spec.loadBalancerIP: 2001:db8::1 is of IPv6, which spec.ipFamilies of the service lacks",
	} {
		await(t, k.h, 60*time.Second, "an event "+about, func() error {
			if out := other.must("get", "events", "--field-selector", "reason="+about, "-o", "jsonpath={.items[*].message}"); !strings.Contains(out, want) {
				return fmt.Errorf("%q", out)
			}
			return nil
		})
	}
	if out := k.must("get", "events", "--field-selector", "reason=HostTaken", "-o", "name"); out != "" {
		t.Errorf("who came first is told of %s", out)
	}
}
