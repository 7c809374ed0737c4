package kube_test

import (
	"os/exec"
	"strings"
	"testing"

	"trireme/internal/tables"
)

// must is kubectl that has to succeed.
func (d *door) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := d.kubectl(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// needKubectl skips where none is installed: test/ drives the one that is built in.
func needKubectl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("no kubectl is installed: test/ drives the one that is built in")
	}
}

// TestEveryKindIsServed: kubectl finds and lists every table, and explains it.
func TestEveryKindIsServed(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	served := map[string]bool{}
	for line := range strings.Lines(d.must(t, "", "api-resources", "-o", "name")) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ".")
		served[name] = true
	}
	for _, table := range tables.All() {
		if table.ID() == tables.CustomObjects.ID() {
			continue // of kinds that definitions define
		}
		if !served[string(table.ID())] {
			t.Errorf("%s: not among api-resources", table.ID())
		}
	}
	d.must(t, "", "get", "statefulsets,daemonsets,jobs,cronjobs,hpa,pdb,quota,limits,pv,pvc,sc,ing,netpol,roles,leases,csr,priorityclasses,podgroups,clustertrustbundles", "-A")
	for _, path := range []string{"statefulset.spec.volumeClaimTemplates", "hpa.spec.behavior", "ingress.spec.rules.http.paths", "clusterrole.aggregationRule"} {
		if out := d.must(t, "", "explain", path); !strings.Contains(out, "FIELD:") {
			t.Errorf("explain %s:\n%s", path, out)
		}
	}
}

// TestAutoscalerVersions: what v1 cannot say is not lost on the way through it.
func TestAutoscalerVersions(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.must(t, `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  behavior: {scaleDown: {stabilizationWindowSeconds: 7, policies: [{type: Pods, value: 1, periodSeconds: 5}]}}
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
  - {type: Pods, pods: {metric: {name: queue}, target: {type: AverageValue, averageValue: "7"}}}
`, "apply", "-f", "-")
	d.must(t, "", "patch", "horizontalpodautoscalers.v1.autoscaling", "h", "-p", `{"spec":{"maxReplicas":5,"targetCPUUtilizationPercentage":60}}`)
	got := d.must(t, "", "get", "horizontalpodautoscalers.v2.autoscaling", "h", "-o",
		"jsonpath={.spec.maxReplicas} {.spec.metrics[0].resource.target.averageUtilization} {.spec.metrics[1].pods.metric.name} {.spec.behavior.scaleDown.stabilizationWindowSeconds}")
	if want := "5 60 queue 7"; got != want {
		t.Errorf("after a change through v1: %q, want %q", got, want)
	}
}

// TestEventSelectors: each group selects by its own names of the fields.
func TestEventSelectors(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	for _, by := range []string{"one", "two"} {
		d.must(t, `
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: `+by+`}
eventTime: 2030-01-01T00:00:00.000000Z
action: Do
reason: Test
type: Normal
reportingController: `+by+`
reportingInstance: i
regarding: {apiVersion: v1, kind: Pod, namespace: default, name: p, fieldPath: `+by+`}
`, "create", "-f", "-")
	}
	for kind, selectors := range map[string][]string{
		"events.v1.events.k8s.io": {"reportingController=one", "regarding.fieldPath=one", "regarding.apiVersion=v1,reportingController=one"},
		"events.v1.":              {"reportingComponent=one", "source=one", "involvedObject.fieldPath=one"},
	} {
		for _, sel := range selectors {
			if got := d.must(t, "", "get", kind, "--field-selector", sel, "-o", "jsonpath={.items[*].metadata.name}"); got != "one" {
				t.Errorf("%s with %s: %q, want one", kind, sel, got)
			}
		}
	}
}

// TestRemaining: a page tells how many follow, unless a selector hides that.
func TestRemaining(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		d.must(t, "", "create", "configmap", name)
	}
	for query, want := range map[string]string{
		"limit=2": `"remainingItemCount":3}`, "limit=4": `"remainingItemCount":1}`, "limit=5": "", "limit=2&labelSelector=x!=y": "",
	} {
		for _, path := range []string{"/api/v1/namespaces/default/configmaps?", "/api/v1/configmaps?"} {
			out := d.must(t, "", "get", "--raw", path+query)
			if !strings.Contains(out, want) || want == "" && strings.Contains(out, "remainingItemCount") {
				t.Errorf("%s: want %q in %.300s", path+query, want, out)
			}
		}
	}
}
