package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// sleepers is a template of pods that end at once and are new when REV changes.
const sleepers = `
    metadata: {labels: {app: %s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: %s, command: ["sh", "-c", "sleep 1000"], env: [{name: REV, value: "1"}]}]
`

// columns waits until `kubectl get what` has the columns.
func (k *client) columns(what, columns, want string) {
	k.t.Helper()
	got := ""
	await(k.t, k.h, 60*time.Second, what+" is "+want, func() error {
		got = strings.Join(strings.Fields(k.must("get", "--no-headers", what, "-o", "custom-columns="+columns)), " ")
		if got != want {
			return fmt.Errorf("%s is %q, want %q", what, got, want)
		}
		return nil
	})
}

// TestStatefulSet: names, hosts, order, updates and history of a stateful set.
func TestStatefulSet(t *testing.T) {
	k := newClient(t, machine(t))
	k.apply(fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: peers
  selector: {matchLabels: {app: db}}
  template:`+sleepers, "db", busybox))
	k.must("rollout", "status", "statefulset/db", "--timeout=90s")
	if out := k.must("get", "statefulset", "db", "--no-headers"); !strings.Contains(out, "2/2") {
		t.Errorf("kubectl get statefulset: %s", out)
	}
	if out := k.sh("db-1", "hostname; hostname -f; nslookup db-0.peers."+k.namespace+".svc.cluster.local"); !strings.HasPrefix(out, "db-1\ndb-1.peers."+k.namespace+".svc.cluster.local\n") {
		t.Errorf("the names of db-1: %s", out)
	}
	first := k.must("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
	k.must("set", "env", "statefulset/db", "REV=2")
	k.must("rollout", "status", "statefulset/db", "--timeout=90s")
	for _, pod := range []string{"db-0", "db-1"} {
		if out := k.sh(pod, "echo $REV"); out != "2" {
			t.Errorf("%s runs revision %s", pod, out)
		}
	}
	if now := k.must("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}"); len(now) != len(first) || strings.Contains(now, strings.Fields(first)[0]) {
		t.Errorf("pods %s, before the update %s", now, first)
	}
	if out := k.must("rollout", "history", "statefulset/db"); !strings.Contains(out, "1 ") || !strings.Contains(out, "2 ") {
		t.Errorf("history: %s", out)
	}
	k.must("rollout", "undo", "statefulset/db")
	k.must("rollout", "status", "statefulset/db", "--timeout=90s")
	if out := k.sh("db-0", "echo $REV"); out != "1" {
		t.Errorf("after the undo db-0 runs revision %s", out)
	}
	k.must("rollout", "restart", "statefulset/db")
	k.must("rollout", "status", "statefulset/db", "--timeout=90s")
	k.must("scale", "statefulset/db", "--replicas=1")
	k.columns("pods", "N:.metadata.name", "db-0")
}

// TestDaemonSet: a pod on the node, renewed in place and with a surge, undone.
func TestDaemonSet(t *testing.T) {
	k := newClient(t, machine(t))
	k.apply(fmt.Sprintf(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:`+sleepers, "agent", busybox))
	k.must("rollout", "status", "daemonset/agent", "--timeout=90s")
	const counts = "D:.status.desiredNumberScheduled,C:.status.currentNumberScheduled,U:.status.updatedNumberScheduled,A:.status.numberAvailable"
	k.columns("daemonset/agent", counts, "1 1 1 1")
	k.must("set", "env", "daemonset/agent", "REV=2")
	k.must("rollout", "status", "daemonset/agent", "--timeout=90s")
	k.must("patch", "daemonset", "agent", "-p", `{"spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}}`)
	k.must("rollout", "undo", "daemonset/agent")
	k.must("rollout", "status", "daemonset/agent", "--timeout=90s")
	k.columns("pods", "R:.spec.containers[0].env[0].value", "1")
	if out := k.must("rollout", "history", "daemonset/agent"); !strings.Contains(out, "3 ") {
		t.Errorf("history: %s", out)
	}
	k.must("patch", "daemonset", "agent", "-p", `{"spec":{"template":{"spec":{"nodeSelector":{"no":"node"}}}}}`)
	k.columns("daemonset/agent", counts, "0 0 <none> <none>")
	k.columns("pods", "N:.metadata.name", "")
}

// TestReplicationController: pods are made, lost ones replaced, all scaled away.
func TestReplicationController(t *testing.T) {
	k := newClient(t, machine(t))
	k.apply(fmt.Sprintf(`
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 2
  template:`+sleepers, "old", busybox))
	k.columns("rc/old", "R:.status.readyReplicas,S:.spec.selector.app", "2 old")
	gone := k.must("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
	k.must("delete", "pod", gone)
	k.columns("rc/old", "R:.status.readyReplicas", "2")
	if out := k.must("get", "pods", "-o", "name"); strings.Contains(out, gone) || strings.Count(out, "pod/old-") != 2 {
		t.Errorf("pods: %s", out)
	}
	k.must("scale", "rc/old", "--replicas=0")
	k.columns("rc/old", "R:.status.replicas", "0")
}
