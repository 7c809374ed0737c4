package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trireme/internal/object/plan"
)

const plannedDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: %d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: c, image: "trireme.local/web:1", resources: {requests: {cpu: %[3]s}}}]}
`

// TestPlan asks where pods would go, through the command line and as kubectl would, and that asking
// leaves nothing behind.
func TestPlan(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	file := filepath.Join(t.TempDir(), "plan.yaml")
	ask := func(docs string, args ...string) (string, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(docs), 0o600); err != nil {
			t.Fatal(err)
		}
		return h.Trireme(t.Context(), append([]string{"plan", "-f", file, "--namespace", k.namespace}, args...)...)
	}
	node := strings.TrimSpace(k.must("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	out, err := ask(fmt.Sprintf(plannedDeployment, "small", 2, "10m") + "---" + fmt.Sprintf(quietPod, "alone"))
	if err != nil || !strings.Contains(out, "3 of 3 pods would get a node") {
		t.Errorf("what fits: %v\n%s", err, out)
	}
	out, err = ask(fmt.Sprintf(plannedDeployment, "large", 2, "1000"), "-o", "json")
	st := plan.Status{}
	if e := json.Unmarshal([]byte(out[:max(0, strings.LastIndex(out, "}")+1)]), &st); e != nil || err == nil {
		t.Fatalf("what does not fit: %v, %v\n%s", err, e, out)
	}
	if len(st.Pods) != 2 || st.Fits || st.Pods[0].Node != "" || !strings.Contains(st.Pods[0].Why, "Insufficient cpu") || st.Pods[0].Of.String() != "Deployment large" {
		t.Errorf("what does not fit: %+v", st)
	}
	if _, err := ask(fmt.Sprintf(plannedDeployment, "Bad", 2, "1")); err == nil || !strings.Contains(err.Error(), "spec.objects[0]") || !strings.Contains(err.Error(), "Invalid value: \"Bad\"") {
		t.Errorf("a bad object: %v", err)
	}
	k.must("create", "quota", "few", "--hard=pods=1")
	if out, err := ask(fmt.Sprintf(plannedDeployment, "small", 2, "10m")); err == nil || !strings.Contains(out, "exceeded quota: few") {
		t.Errorf("a quota: %v\n%s", err, out)
	}
	if out := k.must("get", "deployments,pods", "-o", "name"); out != "" {
		t.Errorf("planning left %s", out)
	}
	question := "apiVersion: trireme.dev/v1\nkind: Plan\nmetadata: {name: x}\nspec: {drain: [%s]}\n"
	if err := os.WriteFile(file, fmt.Appendf(nil, question, node), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := k.must("create", "-f", file, "-o", "jsonpath={.kind} {.status.kept}"); out != "Plan 0" {
		t.Errorf("kubectl create: %s", out)
	}
	if out := k.must("get", "plans.trireme.dev", "-o", "name"); out != "" {
		t.Errorf("a plan is kept: %s", out)
	}
	if out := k.must("get", "node", node, "-o", "jsonpath={.spec.unschedulable}"); out != "" {
		t.Errorf("planning a drain drained: %s", out)
	}
	if _, err := h.Trireme(t.Context(), "drain", "nowhere", "--plan"); err == nil || !strings.Contains(err.Error(), `nodes "nowhere" not found`) {
		t.Errorf("a node that is not there: %v", err)
	}
}
