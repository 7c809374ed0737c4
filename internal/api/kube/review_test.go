package kube_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/policy"
	"trireme/internal/review"
	"trireme/internal/tables"
)

// control runs the control loops and the reviewer over the door's store until the
// function that it returns is called.
func (d *door) control(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	rules := sow.Rules{Fill: policy.Fill, Allow: policy.Allow, Review: new(policy.Hooks).ReviewPod}
	go func() {
		done <- loop.New(d.store, loop.Config{}, orchestrate.Loops(orchestrate.Config{Pods: rules})...).Run(ctx)
	}()
	go func() { done <- review.New(d.store, d.server).Run(ctx) }()
	end := sync.OnceFunc(func() { cancel(); <-done; <-done })
	t.Cleanup(end)
	return end
}

// podRules are rules that name pods.
const podRules = `{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}`

// only is further fields of a webhook: it sees the pods of one app.
func only(app string) string { return "objectSelector: {matchLabels: {app: " + app + "}}" }

// workload is a deployment of an app.
func workload(app string, replicas int) string {
	s := strings.ReplaceAll(deployment, "web", app)
	return strings.Replace(s, "replicas: 2", fmt.Sprint("replicas: ", replicas), 1)
}

// pods returns the pods that a client sees of an app.
func (d *door) pods(t *testing.T, app string) []corev1.Pod {
	t.Helper()
	l, err := d.client(t).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		t.Fatal(err)
	}
	return l.Items
}

// rows returns how many pods of an app there are, and how many are under review.
func (d *door) rows(app string) (all, hidden int) {
	for row := range tables.Pods.Rows(d.store.Snapshot(), "default") {
		if row.Head().Labels["app"] == app {
			all++
			if row.Head().UnderReview {
				hidden++
			}
		}
	}
	return all, hidden
}

// creations returns the requests that webhooks saw of an app's pods.
func (h *hooks) creations(app string) (seen []*admissionv1.AdmissionRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.seen {
		var pod corev1.Pod
		if r.Kind.Kind == "Pod" && json.Unmarshal(r.Object.Raw, &pod) == nil && pod.Labels["app"] == app {
			seen = append(seen, r)
		}
	}
	return seen
}

// TestWebhooksSeePodsOfLoops: a webhook that gives pods a sidecar changes those of a
// Deployment, and nobody sees them before.
func TestWebhooksSeePodsOfLoops(t *testing.T) {
	needKubectl(t)
	d, h := serve(t), serveHooks(t)
	d.control(t)
	d.must(t, h.yaml("Mutating", "inject", "/sidecar", podRules, only("web")), "create", "-f", "-")
	d.must(t, "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\nspec: {limits: [{type: Container, defaultRequest: {cpu: 7m}}]}", "create", "-f", "-")
	d.must(t, "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {requests.cpu: 1, pods: 100}}", "create", "-f", "-")
	d.marked(t, h)
	w, err := d.client(t).CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	d.must(t, workload("web", 5), "create", "-f", "-")
	d.must(t, workload("plain", 1), "create", "-f", "-")
	until(t, "five pods and one", func() bool { return len(d.pods(t, "web")) == 5 && len(d.pods(t, "plain")) == 1 })
	for _, p := range d.pods(t, "web") {
		if len(p.Spec.Containers) != 2 || p.Spec.Containers[1].Name != "sidecar" || object.UnderReview(&p) || p.Spec.Containers[1].TerminationMessagePath == "" {
			t.Errorf("%s: %+v, annotations %v; want a complete sidecar", p.Name, p.Spec.Containers, p.Annotations)
		}
		if cpu := p.Spec.Containers[1].Resources.Requests.Cpu(); cpu.String() != "7m" || p.Status.QOSClass != corev1.PodQOSBurstable {
			t.Errorf("%s: the sidecar requests %s of CPU, class %s; want the limit range's 7m", p.Name, cpu, p.Status.QOSClass)
		}
	}
	until(t, "the quota counts sidecars", func() bool {
		q, _ := d.kubectl(t, "", "get", "quota", "q", "-o", "jsonpath={.status.used.pods} {.status.used.requests\\.cpu}")
		return q == "6 77m"
	})
	seen := h.creations("web")
	if len(seen) == 0 || seen[0].UserInfo.Username != "system:serviceaccount:kube-system:replicaset-controller" || seen[0].Operation != "CREATE" || seen[0].Name == "" ||
		strings.Contains(string(seen[0].Object.Raw), "under-review") {
		t.Errorf("the webhook saw %+v", seen)
	}
	if len(h.creations("plain")) != 0 {
		t.Error("the webhook saw a pod that it does not select")
	}
	for n := 0; n < 6; n++ {
		e := <-w.ResultChan()
		if p, ok := e.Object.(*corev1.Pod); !ok || e.Type != watch.Added || object.UnderReview(p) {
			t.Errorf("a watcher saw %s %+v, want each pod added, and as it is", e.Type, e.Object)
		}
	}
}

// TestWebhookRefusesPodsOfLoops: the owner says why, tries ever more seldom, and at
// once when the webhook has gone.
func TestWebhookRefusesPodsOfLoops(t *testing.T) {
	needKubectl(t)
	d, h := serve(t), serveHooks(t)
	d.control(t)
	d.must(t, h.yaml("Validating", "refuse", "/deny", podRules, only("web")), "create", "-f", "-")
	d.marked(t, h)
	d.must(t, workload("web", 3), "create", "-f", "-")
	until(t, "the set says why", func() bool {
		out, _ := d.kubectl(t, "", "get", "rs", "-l", "app=web", "-o", "jsonpath={.items[*].status.replicas} {.items[*].status.conditions}")
		return strings.HasPrefix(out, "0 ") && strings.Contains(out, "ReplicaFailure") && strings.Contains(out, "not on my watch")
	})
	until(t, "the deployment says so", func() bool {
		out, _ := d.kubectl(t, "", "get", "deploy", "web", "-o", "jsonpath={.status.conditions}")
		return strings.Contains(out, "ReplicaFailure")
	})
	out := d.must(t, "", "events", "--for", "rs/"+d.must(t, "", "get", "rs", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"))
	if !strings.Contains(out, "FailedCreate") || !strings.Contains(out, `admission webhook "refuse.example.com" denied the request: not on my watch`) {
		t.Errorf("events: %s", out)
	}
	if pods := d.pods(t, "web"); len(pods) != 0 {
		t.Errorf("%d pods are seen", len(pods))
	}
	rev := d.store.Snapshot().Rev()
	<-time.After(2500 * time.Millisecond)
	if n := len(h.creations("web")); n > 4 {
		t.Errorf("the webhook was asked %d times in the first seconds", n)
	}
	if wrote := d.store.Snapshot().Rev() - rev; wrote > 20 {
		t.Errorf("%d writes while nothing can be done", wrote)
	}
	d.must(t, "", "delete", "validatingwebhookconfiguration", "refuse")
	until(t, "three pods without the webhook", func() bool { return len(d.pods(t, "web")) == 3 })
	until(t, "the set has recovered", func() bool {
		out, _ := d.kubectl(t, "", "get", "rs", "-l", "app=web", "-o", "jsonpath={.items[*].status.replicas} {.items[*].status.conditions}")
		return strings.TrimSpace(out) == "3"
	})
}

// TestHangingWebhookAndPodsOfLoops: a webhook that hangs delays the pods that it is to
// see, no others; where it may be ignored they come after its time.
func TestHangingWebhookAndPodsOfLoops(t *testing.T) {
	needKubectl(t)
	d, h := serve(t), serveHooks(t)
	d.control(t)
	d.must(t, h.yaml("Mutating", "hang", "/hang", podRules, "timeoutSeconds: 2\n  "+only("hung")), "create", "-f", "-")
	d.must(t, h.yaml("Mutating", "may", "/hang", podRules, "timeoutSeconds: 1\n  failurePolicy: Ignore\n  "+only("late")), "create", "-f", "-")
	d.must(t, h.yaml("Mutating", "inject", "/sidecar", podRules, only("web")), "create", "-f", "-")
	d.marked(t, h)
	for i := range 20 { // each owner's first pod hangs
		d.must(t, strings.Replace(workload("hung", 20), "name: hung}", fmt.Sprintf("name: hung%d}", i), 1), "create", "-f", "-")
	}
	d.must(t, workload("late", 2), "create", "-f", "-")
	started := time.Now()
	d.must(t, workload("web", 20), "create", "-f", "-")
	until(t, "pods of another webhook", func() bool { return len(d.pods(t, "web")) == 20 })
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("pods that another webhook sees took %v", took)
	}
	until(t, "ignored", func() bool { return len(d.pods(t, "late")) == 2 })
	if n := len(d.pods(t, "hung")); n != 0 {
		t.Errorf("%d pods are seen that a webhook must see first", n)
	}
	until(t, "a set says that its webhook does not answer", func() bool {
		out, _ := d.kubectl(t, "", "get", "rs", "-l", "app=hung", "-o", "jsonpath={.items[*].status.conditions}")
		return strings.Contains(out, "context deadline exceeded")
	})
}

// TestReviewGoesOn: what was under review when a manager ended is reviewed by the next,
// and in the meantime nobody sees it or acts on it.
func TestReviewGoesOn(t *testing.T) {
	needKubectl(t)
	d, h := serve(t), serveHooks(t)
	stop := d.control(t)
	d.must(t, h.yaml("Mutating", "hang", "/hang", podRules, "timeoutSeconds: 30\n  "+only("web")), "create", "-f", "-")
	d.marked(t, h)
	d.must(t, workload("web", 3), "create", "-f", "-")
	until(t, "three are under review", func() bool { _, hidden := d.rows("web"); return hidden == 3 })
	var key object.Key
	for row := range tables.Pods.By(d.store.Snapshot(), tables.PodsUnderReview, "true") {
		key = row.Key()
	}
	for _, verb := range []string{"get", "delete", "describe"} {
		if out, err := d.kubectl(t, "", verb, "pod", key.Name); err == nil || !strings.Contains(out, "not found") {
			t.Errorf("%s of a pod under review: %s", verb, out)
		}
	}
	stop()
	d.must(t, "", "delete", "mutatingwebhookconfiguration", "hang")
	d.must(t, h.yaml("Mutating", "inject", "/sidecar", podRules, only("web")), "create", "-f", "-")
	d.marked(t, h)
	if _, hidden := d.rows("web"); hidden != 3 || len(d.pods(t, "web")) != 0 {
		t.Errorf("%d pods under review are left, %d are seen", hidden, len(d.pods(t, "web")))
	}
	next := serveStore(t, d.store)
	next.marked(t, h)
	next.control(t)
	until(t, "three pods with sidecars", func() bool {
		pods := next.pods(t, "web")
		for _, p := range pods {
			if len(p.Spec.Containers) != 2 {
				t.Fatalf("%s came without its sidecar", p.Name)
			}
		}
		return len(pods) == 3
	})
	if all, hidden := next.rows("web"); all != 3 || hidden != 0 {
		t.Errorf("%d pods, %d under review", all, hidden)
	}
}

// TestNobodyMarksAPod: the mark is the system's, in pods and in templates.
func TestNobodyMarksAPod(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.control(t)
	marked := strings.Replace(workload("web", 1), "{labels: {app: web}}", `{labels: {app: web}, annotations: {trireme.dev/under-review: "true"}}`, 1)
	d.must(t, marked, "create", "-f", "-")
	d.must(t, "", "run", "p", "--image=i", "--labels=app=web", "--annotations=trireme.dev/under-review=true")
	until(t, "both are seen", func() bool { return len(d.pods(t, "web")) == 2 })
	d.must(t, "", "annotate", "pod", "p", "trireme.dev/under-review=true")
	if n := len(d.pods(t, "web")); n != 2 {
		t.Errorf("%d pods are seen after one was marked", n)
	}
}
