package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// job applies a Job of busybox.
func (k *client) job(name, spec, script string) {
	k.t.Helper()
	k.apply(fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec:
%s
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: %s, command: [sh, -c, %q]}]
`, name, indent(spec, "  "), busybox, script))
}

// get returns a field of an object.
func (k *client) get(what, path string) string {
	k.t.Helper()
	return k.must("get", what, "-o", "jsonpath={"+path+"}")
}

// TestJobs: Jobs on real containers, to each of their ends.
func TestJobs(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	t.Run("indexed", func(t *testing.T) {
		k.job("indexed", "completions: 3\nparallelism: 2\ncompletionMode: Indexed", "echo index $JOB_COMPLETION_INDEX on $(hostname)")
		k.must("wait", "--for=condition=Complete", "job/indexed", "--timeout=60s")
		if got := k.get("job/indexed", ".status.succeeded}/{.status.completedIndexes}/{.status.active"); got != "3/0-2/" {
			t.Errorf("status %q", got)
		}
		logs := k.must("logs", "-l", "job-name=indexed", "--tail=-1")
		for i := range 3 {
			if want := fmt.Sprintf("index %d on indexed-%d", i, i); !strings.Contains(logs, want) {
				t.Errorf("no %q in\n%s", want, logs)
			}
		}
		if got := k.must("get", "pods", "-l", "job-name=indexed", "-o", "jsonpath={.items[*].metadata.finalizers}"); got != "" {
			t.Errorf("pods of a Job that has ended have finalizers: %s", got)
		}
	})
	t.Run("a failure is retried, and the Job is cleaned up", func(t *testing.T) {
		k.job("retry", "backoffLimit: 1\nttlSecondsAfterFinished: 2", "exit 3")
		k.must("wait", "--for=condition=Failed", "job/retry", "--timeout=60s")
		if got := k.get("job/retry", `.status.failed}/{.status.conditions[?(@.type=="Failed")].reason`); got != "2/BackoffLimitExceeded" {
			t.Errorf("status %q", got)
		}
		k.must("wait", "--for=delete", "job/retry", "--timeout=30s")
	})
	t.Run("a policy gives up at once", func(t *testing.T) {
		k.job("policy", `podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]}`, "exit 42")
		k.must("wait", "--for=condition=Failed", "job/policy", "--timeout=60s")
		if got := k.get("job/policy", `.status.conditions[?(@.type=="Failed")].reason`); got != "PodFailurePolicy" {
			t.Errorf("reason %q", got)
		}
	})
	t.Run("suspended", func(t *testing.T) {
		k.job("later", "suspend: true", "true")
		k.must("wait", "--for=condition=Suspended", "job/later", "--timeout=20s")
		k.must("patch", "job", "later", "-p", `{"spec":{"suspend":false}}`)
		k.must("wait", "--for=condition=Complete", "job/later", "--timeout=60s")
	})
	t.Run("deleted with its pods", func(t *testing.T) {
		k.job("long", "parallelism: 2", "sleep 1000")
		await(t, h, time.Minute, "two pods run", func() error {
			if got := k.get("job/long", ".status.ready"); got != "2" {
				return fmt.Errorf("%q are ready", got)
			}
			return nil
		})
		k.must("delete", "job", "long", "--cascade=foreground", "--timeout=60s")
		if got := k.must("get", "pods", "-l", "job-name=long", "-o", "name"); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

// TestCronJob: the minute's Job is made and runs.
func TestCronJob(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	k.must("create", "cronjob", "tick", "--image="+busybox, "--schedule=* * * * *", "--", "true")
	await(t, h, 90*time.Second, "a Job of the minute has succeeded", func() error {
		if got := k.get("cronjob/tick", ".status.lastSuccessfulTime"); got == "" {
			return errNotYet
		}
		return nil
	})
	if got := k.must("get", "jobs", "-o", "jsonpath={.items[0].metadata.ownerReferences[0].name}"); got != "tick" {
		t.Errorf("the Job's owner is %q", got)
	}
}

// web applies a Deployment of busybox; extra is YAML of the template's metadata.
func (k *client) web(name string, replicas int, annotations, script string) {
	k.t.Helper()
	k.apply(fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}, annotations: {%[3]s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: %[4]s, command: [sh, -c, %[5]q], resources: {requests: {cpu: 10m, memory: 8Mi}}}]
`, name, replicas, annotations, busybox, script))
	k.must("rollout", "status", "deployment/"+name, "--timeout=60s")
}

// TestDrain: kubectl drain waits where a budget cannot bear it.
func TestDrain(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	k.web("guarded", 2, "", "sleep 1000")
	k.must("create", "pdb", "guarded", "--selector=app=guarded", "--max-unavailable=1")
	await(t, h, 20*time.Second, "the budget is counted", func() error {
		if got := k.get("pdb/guarded", ".status.disruptionsAllowed"); got != "1" {
			return fmt.Errorf("allows %q", got)
		}
		return nil
	})
	node := k.must("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	defer k.must("uncordon", node)
	drain := []string{"drain", node, "--pod-selector=app=guarded", "--ignore-daemonsets", "--delete-emptydir-data", "--force"}
	out, err := k.run(t.Context(), "", append(drain, "--timeout=8s")...)
	if err == nil || !strings.Contains(out, "Cannot evict pod as it would violate the pod's disruption budget.") {
		t.Fatalf("drain with a budget: %v\n%s", err, out)
	}
	if got := k.must("get", "pods", "-l", "app=guarded", "--field-selector=status.phase=Running", "-o", "name"); strings.Count(got, "pod/") != 1 {
		t.Errorf("running after it:\n%s", got)
	}
	k.must("delete", "pdb", "guarded")
	k.must(append(drain, "--timeout=60s")...)
}

// TestPreemption: a pod of a higher class takes the place of the least important one,
// which hears why; the one that may not preempt waits.
func TestPreemption(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	node := k.must("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	patch := func(with string) {
		k.must("patch", "node", node, "--subresource=status", "--type=merge", "-p", `{"status":{"capacity":{"example.com/seats":`+with+`}}}`)
	}
	patch(`"2"`)
	defer patch("null")
	for name, value := range map[string]string{"seat-low": "1", "seat-middle": "2", "seat-high": "3"} {
		k.must("create", "priorityclass", name, "--value="+value)
		defer k.must("delete", "priorityclass", name)
	}
	k.must("create", "priorityclass", "seat-polite", "--value=2", "--preemption-policy=Never")
	defer k.must("delete", "priorityclass", "seat-polite")
	sits := func(class string) {
		k.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  priorityClassName: seat-%[1]s
  terminationGracePeriodSeconds: 3
  containers:
  - {name: c, image: %s, command: [sleep, "1000"], resources: {requests: {example.com/seats: 1}, limits: {example.com/seats: 1}}}
`, class, busybox))
	}
	sits("middle")
	k.ready("middle")
	sits("low")
	k.ready("low")
	sits("polite")
	k.must("wait", "--for=jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].reason}=Unschedulable", "pod/polite", "--timeout=20s")
	sits("high")
	k.must("wait", "--for=jsonpath={.status.nominatedNodeName}="+node, "pod/high", "--timeout=20s")
	if got := k.get("pod/low", `.status.conditions[?(@.type=="DisruptionTarget")].reason`); got != "PreemptionByScheduler" {
		t.Errorf("low is told %q", got)
	}
	k.ready("high")
	if got := k.must("get", "pods", "--field-selector=status.phase=Running", "-o", "name"); strings.TrimSpace(got) != "pod/high\npod/middle" {
		t.Errorf("running:\n%s", got)
	}
	if got := k.get("pod/high", ".status.nominatedNodeName"); got != "" {
		t.Errorf("high has a node and is nominated for %q", got)
	}
	if got := k.must("events", "--for=pod/low"); !strings.Contains(got, "Preempted by pod "+k.get("pod/high", ".metadata.uid")+" on node "+node) {
		t.Errorf("events of low:\n%s", got)
	}
}

// TestAutoscaling: kubectl top shows what runs, and a series that pods show on their own
// loopback sizes their Deployment, up and down, with nothing installed.
func TestAutoscaling(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	k.web("queue", 1, `metrics.trireme.dev/endpoint: "http://localhost:9100/metrics"`,
		`mkdir -p /tmp/www; echo "queue_length 30" > /tmp/www/metrics; exec httpd -f -p 127.0.0.1:9100 -h /tmp/www`)
	k.apply(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: queue}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: queue}
  minReplicas: 1
  maxReplicas: 3
  behavior: {scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 10, periodSeconds: 15}]}}
  metrics: [{type: Pods, pods: {metric: {name: queue_length}, target: {type: AverageValue, averageValue: "10"}}}]
`)
	sized := func(n string) {
		t.Helper()
		await(t, h, time.Minute, "the Deployment has "+n+" replicas", func() error {
			if got := k.get("deployment/queue", ".status.readyReplicas"); got != n {
				return fmt.Errorf("%s are ready; %s", got, k.must("get", "hpa", "queue", "--no-headers"))
			}
			return nil
		})
	}
	sized("3")
	if got := k.get("hpa/queue", `.status.conditions[?(@.type=="ScalingActive")].reason`); got != "ValidMetricFound" {
		t.Errorf("condition %q", got)
	}
	for _, pod := range strings.Fields(k.must("get", "pods", "-l", "app=queue", "-o", "jsonpath={.items[*].metadata.name}")) {
		k.sh(pod, `echo "queue_length 1" > /tmp/www/metrics`)
	}
	sized("1")
	if got := k.must("top", "pods", "-l", "app=queue", "--no-headers"); !strings.Contains(got, "queue-") {
		t.Errorf("top pods:\n%s", got)
	}
	if got := k.must("top", "nodes", "--no-headers"); strings.Contains(got, "unknown") || len(strings.Fields(got)) != 5 {
		t.Errorf("top nodes:\n%s", got)
	}
}
