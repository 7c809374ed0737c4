package test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// TestLoadBalancer: what a service of type LoadBalancer says of its clients, and what
// it is asked by load balancers.
func TestLoadBalancer(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	outside := shared.cluster.Outside()
	k.apply(`
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [` + webContainer + `]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{port: 8099, targetPort: 8080}]
`)
	k.must("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
	for field, spec := range map[string]string{"spec.ipFamilies[0]": "ipFamilies: [IPv6]", "spec.ipFamilyPolicy": "ipFamilyPolicy: RequireDualStack"} {
		yaml := "apiVersion: v1\nkind: Service\nmetadata: {name: six}\nspec: {" + spec + ", ports: [{port: 80}]}\n"
		if out, err := k.run(t.Context(), yaml, "apply", "-f", "-"); err == nil || !strings.Contains(out+err.Error(), field) {
			t.Errorf("%s on a cluster of one family: %s, %v; want an error that names %s", spec, out, err, field)
		}
	}
	get := func(address string) (int, string, error) {
		c := http.Client{Transport: &http.Transport{DialContext: outside.Dial, DisableKeepAlives: true}, Timeout: 2 * time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
		if err != nil {
			return 0, "", err
		}
		resp, err := c.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), nil
	}
	check := net.JoinHostPort(h.Address, k.must("get", "service", "web", "-o", "jsonpath={.spec.healthCheckNodePort}"))
	becomes := func(what, address string, want int) {
		t.Helper()
		await(t, h, 20*time.Second, what, func() error {
			got, _, err := get(address)
			if err != nil && want == 0 {
				return nil
			}
			if err == nil && got != want {
				err = fmt.Errorf("%s answers %d, want %d", address, got, want)
			}
			return err
		})
	}
	becomes("the node has an endpoint", check, http.StatusOK)
	if _, n, err := get(check); err != nil || n != "1" {
		t.Errorf("the node says it has %q endpoints (%v)", n, err)
	}
	mesh := h.Address + ":8099"
	becomes("everybody may call", mesh, http.StatusOK)

	own, err := ownAddress(t.Context(), outside, mesh)
	if err != nil {
		t.Fatal(err)
	}
	ranges := func(cidr string) string {
		return `{"spec":{"loadBalancerSourceRanges":["` + cidr + `"]}}`
	}
	k.must("patch", "service", "web", "-p", ranges("203.0.113.0/24"))
	becomes("only others may", mesh, 0)
	k.must("patch", "service", "web", "-p", ranges(own+"/32"))
	becomes("it may again", mesh, http.StatusOK)

	k.must("delete", "pod", "web")
	becomes("the endpoint is gone", check, http.StatusServiceUnavailable)
	k.must("delete", "service", "web")
	becomes("so is the service", check, 0)
}

// ownAddress returns the address that a web server sees a place as.
func ownAddress(ctx context.Context, p cluster.Place, server string) (string, error) {
	c := http.Client{Transport: &http.Transport{DialContext: p.Dial, DisableKeepAlives: true}, Timeout: 2 * time.Second}
	body, err := cluster.Get(ctx, &c, "http://"+server+"/client")
	if err != nil {
		return "", err
	}
	address, _, err := net.SplitHostPort(strings.TrimSpace(body))
	return address, err
}
