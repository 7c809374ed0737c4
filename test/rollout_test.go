package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"trireme/test/cluster"
)

// tenReplicas is a web service as people deploy it: ready when it says so.
const tenReplicas = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 10
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers: [` + webContainer + `]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 8088, targetPort: 8080}]
`

// TestRollout: a rolling update, and its undoing, under load from a machine that
// runs none of the replicas, and from outside through that machine: no request
// fails.
func TestRollout(t *testing.T) {
	c := ownCluster(t, 3)
	a, asks := c.Hosts[0], c.Hosts[2]
	if err := bringUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	join(t, a, c.Hosts[1:]...)
	k := &client{t: t, h: a, namespace: "default"}
	k.must("cordon", asks.Name)
	k.apply(tenReplicas)
	k.must("rollout", "status", "deployment/web", "--timeout=90s")
	ip := k.must("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")

	loads := []cluster.Load{
		{From: asks.Place(), URL: "http://" + ip + ":8088/"},
		{From: c.Outside(), URL: "http://" + asks.Address + ":8088/"},
	}
	outcomes := make([]cluster.Outcome, len(loads))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i, l := range loads {
		wg.Go(func() { outcomes[i] = l.Run(ctx) })
	}
	k.must("set", "image", "deployment/web", "web=trireme.local/web:2")
	k.must("rollout", "status", "deployment/web", "--timeout=120s")
	k.must("rollout", "undo", "deployment/web")
	k.must("rollout", "status", "deployment/web", "--timeout=120s")
	stop()
	wg.Wait()
	for i, o := range outcomes {
		versions := map[string]bool{}
		for body := range o.Answers {
			_, v, _ := strings.Cut(strings.TrimSpace(body), "version ")
			versions[v] = true
		}
		t.Logf("%s: %s", loads[i].URL, o)
		if o.Failed > 0 || o.Requests < 100 || fmt.Sprint(versions) != "map[1:true 2:true]" {
			t.Errorf("%s: %s; versions %v answered", loads[i].URL, o, versions)
		}
	}
}
