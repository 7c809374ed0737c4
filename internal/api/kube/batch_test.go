package kube_test

import (
	"strings"
	"testing"
)

// TestJobThroughKubectl: a Job as users write it gets a selector and labels that no
// other has, and shows as kubectl's users know it.
func TestJobThroughKubectl(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.must(t, "", "create", "job", "pi", "--image=demo", "--", "true")
	uid := d.must(t, "", "get", "job", "pi", "-o", "jsonpath={.metadata.uid}")
	got := d.must(t, "", "get", "job", "pi", "-o", `jsonpath={.spec.selector.matchLabels.batch\.kubernetes\.io/controller-uid} {.spec.template.metadata.labels.job-name} {.spec.completions} {.spec.backoffLimit} {.spec.completionMode} {.metadata.generation}`)
	if want := uid + " pi 1 6 NonIndexed 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if out := d.must(t, "", "get", "job"); !strings.Contains(out, "STATUS") || !strings.Contains(out, "Running") || !strings.Contains(out, "0/1") {
		t.Errorf("get job:\n%s", out)
	}
	if out, err := d.kubectl(t, "", "create", "job", "two words", "--image=demo"); err == nil {
		t.Errorf("a malformed name was taken:\n%s", out)
	}
	out, err := d.kubectl(t, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}}`, "apply", "-f", "-")
	if want := `spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`; err == nil || !strings.Contains(out, want) {
		t.Errorf("%v\n%s\nwant %s", err, out, want)
	}
	d.must(t, "", "create", "cronjob", "tick", "--image=demo", "--schedule=*/5 * * * *", "--", "true")
	if out := d.must(t, "", "get", "cronjob"); !strings.Contains(out, "*/5 * * * *") || !strings.Contains(out, "<none>") || !strings.Contains(out, "False") {
		t.Errorf("get cronjob:\n%s", out)
	}
	d.must(t, "", "create", "job", "--from=cronjob/tick", "now")
	d.must(t, "", "create", "pdb", "b", "--selector=app=web", "--min-available=50%")
	if out := d.must(t, "", "get", "pdb"); !strings.Contains(out, "50%") || !strings.Contains(out, "N/A") {
		t.Errorf("get pdb:\n%s", out)
	}
	d.must(t, deployment, "apply", "-f", "-")
	d.must(t, "", "autoscale", "deploy", "web", "--max=3", "--min=1", "--cpu-percent=50")
	if out := d.must(t, "", "get", "hpa"); !strings.Contains(out, "Deployment/web") || !strings.Contains(out, "cpu: <unknown>/50%") {
		t.Errorf("get hpa:\n%s", out)
	}
}

// TestAutoscalerV1Defaults: an autoscaler that comes as v1 is filled in and checked too.
func TestAutoscalerV1Defaults(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	v1 := func(spec string) string {
		return `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"web","apiVersion":"apps/v1"},` + spec + `}}`
	}
	d.must(t, v1(`"maxReplicas":3`), "apply", "-f", "-")
	got := d.must(t, "", "get", "horizontalpodautoscalers.v2.autoscaling", "h", "-o", "jsonpath={.spec.minReplicas} {.spec.metrics[0].resource.target.averageUtilization}")
	if got != "1 80" {
		t.Errorf("filled in: %q, want 1 80", got)
	}
	if out, err := d.kubectl(t, v1(`"maxReplicas":0`), "apply", "-f", "-"); err == nil || !strings.Contains(out, "spec.maxReplicas") {
		t.Errorf("no replicas at most: %v\n%s", err, out)
	}
}
