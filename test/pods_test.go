package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pod runs a pod of busybox whose container has the given extra fields, and
// returns when want of it is true.
func (k *client) pod(name, extra, volumes string) {
	k.t.Helper()
	k.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: %s
    command: ["sh", "-c", "sleep 1000"]
%s
%s
`, name, name, busybox, indent(extra, "    "), indent(volumes, "  ")))
}

func indent(s, by string) string {
	var out []string
	for l := range strings.Lines(strings.TrimSpace(s)) {
		out = append(out, by+strings.TrimRight(l, "\n"))
	}
	return strings.Join(out, "\n")
}

func (k *client) ready(name string) {
	k.t.Helper()
	k.must("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
}

func (k *client) sh(pod, script string) string {
	k.t.Helper()
	out, err := k.command(k.t.Context(), "exec", pod, "--", "sh", "-c", script).Output() // kubectl may warn of an empty message that is early
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		k.t.Fatalf("kubectl exec %s: %v: %s", pod, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestConfiguration: what a pod gets of config maps, secrets and its own fields.
func TestConfiguration(t *testing.T) {
	k := newClient(t, machine(t))
	k.must("create", "configmap", "cm", "--from-literal=colour=blue", "--from-literal=file.txt=first")
	k.must("create", "secret", "generic", "sec", "--from-literal=password=geheim")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "from-host"), []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	k.pod("conf", `
env:
- {name: COLOUR, valueFrom: {configMapKeyRef: {name: cm, key: colour}}}
- {name: PASSWORD, valueFrom: {secretKeyRef: {name: sec, key: password}}}
- {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: BOTH, value: "$(COLOUR)-$(POD)"}
envFrom: [{prefix: X_, secretRef: {name: sec}}]
volumeMounts:
- {name: cm, mountPath: /cm}
- {name: sec, mountPath: /sec}
- {name: tmp, mountPath: /tmp/empty}
- {name: mem, mountPath: /mem}
- {name: host, mountPath: /host, readOnly: true}
- {name: cm, mountPath: /one.txt, subPath: file.txt}
`, `
volumes:
- {name: cm, configMap: {name: cm}}
- {name: sec, secret: {secretName: sec, defaultMode: 0400}}
- {name: tmp, emptyDir: {}}
- {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: host, hostPath: {path: `+dir+`, type: Directory}}
`)
	k.ready("conf")
	for script, want := range map[string]string{
		"echo $COLOUR $PASSWORD $POD $BOTH $X_password": "blue geheim conf blue-conf geheim",
		"cat /cm/colour /one.txt":                       "bluefirst",
		"stat -L -c %a /sec/password":                   "400",
		"echo x > /tmp/empty/f && cat /tmp/empty/f":     "x",
		"mount | grep ' /mem ' | cut -d' ' -f1":         "tmpfs",
		"cat /host/from-host":                           "host",
		"(echo x > /host/f) 2>&1; echo $?":              "sh: can't create /host/f: Read-only file system\n1",
		"cat /etc/hostname":                             "conf",
	} {
		if got := k.sh("conf", script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	k.must("create", "configmap", "new", "--from-literal=colour=red")
	k.must("patch", "configmap", "cm", "-p", `{"data":{"colour":"red"}}`)
	await(t, k.h, 20*time.Second, "the volume shows the change", func() error {
		if got := k.sh("conf", "cat /cm/colour"); got != "red" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})

	k.pod("lacks", "env: [{name: A, valueFrom: {secretKeyRef: {name: nope, key: a}}}]", "")
	await(t, k.h, 20*time.Second, "the missing secret is named", func() error {
		out := k.must("get", "pod", "lacks", "-o", "jsonpath={.status.containerStatuses[0].state.waiting}")
		if !strings.Contains(out, "CreateContainerConfigError") || !strings.Contains(out, "nope") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	k.must("create", "secret", "generic", "nope", "--from-literal=a=b")
	k.ready("lacks")
}

// TestProbes: readiness takes a pod out of its service, liveness restarts it,
// startup holds the others back; by exec, HTTP and TCP.
func TestProbes(t *testing.T) {
	k := newClient(t, machine(t))
	k.pod("readiness", `readinessProbe: {exec: {command: [cat, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}`, "")
	k.must("expose", "pod", "readiness", "--port=80")
	await(t, k.h, 20*time.Second, "it runs and is not ready", func() error {
		out := k.must("get", "pod", "readiness", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].ready}")
		if out != "Running false" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	endpoints := func() string {
		return k.must("get", "endpointslices", "-l", "kubernetes.io/service-name=readiness", "-o", "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}")
	}
	if ep := endpoints(); ep != "" {
		t.Errorf("a pod that is not ready has endpoints %s", ep)
	}
	k.sh("readiness", "touch /tmp/ready")
	k.ready("readiness")
	await(t, k.h, 5*time.Second, "it is an endpoint", func() error {
		if endpoints() == "" {
			return errNotYet
		}
		return nil
	})
	k.sh("readiness", "rm /tmp/ready")
	await(t, k.h, 10*time.Second, "it is no endpoint any more", func() error {
		if ep := endpoints(); ep != "" {
			return fmt.Errorf("%s", ep)
		}
		return nil
	})

	k.pod("liveness", `
livenessProbe: {exec: {command: [sh, -c, "! test -e /tmp/dead"]}, periodSeconds: 1, failureThreshold: 2}
startupProbe: {exec: {command: [test, -e, /tmp/started]}, periodSeconds: 1, failureThreshold: 60}
`, "")
	await(t, k.h, 20*time.Second, "it runs and has not started", func() error {
		out := k.must("get", "pod", "liveness", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].started}")
		if out != "Running false" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	k.sh("liveness", "touch /tmp/started")
	k.ready("liveness")
	k.sh("liveness", "touch /tmp/dead")
	await(t, k.h, 20*time.Second, "it is restarted", func() error {
		if n := k.must("get", "pod", "liveness", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); n != "1" {
			return fmt.Errorf("restartCount %s", n)
		}
		return nil
	})
	if out := k.must("get", "events", "--field-selector", "involvedObject.name=liveness,reason=Unhealthy"); !strings.Contains(out, "Liveness probe failed") {
		t.Errorf("events: %s", out)
	}

	k.apply(`
apiVersion: v1
kind: Pod
metadata: {name: net}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: trireme.local/web:1
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
`)
	k.ready("net")
}

// TestLimits: requests and limits become the pod's control group, and one that
// takes more memory is killed for it.
func TestLimits(t *testing.T) {
	k := newClient(t, machine(t))
	k.pod("limited", "resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 32Mi}}", "")
	k.ready("limited")
	if got := k.sh("limited", "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"); got != "33554432" {
		t.Errorf("memory limit %s", got)
	}
	k.must("run", "hungry", "--image="+busybox, "--restart=Never", "--overrides",
		`{"spec":{"containers":[{"name":"hungry","image":"`+busybox+`","command":["sh","-c","x=a; while true; do x=$x$x; done"],"resources":{"limits":{"memory":"20Mi"}}}]}}`)
	await(t, k.h, 40*time.Second, "it is killed for its memory", func() error {
		out := k.must("get", "pod", "hungry", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.reason}")
		if out != "Failed OOMKilled" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// TestLife: init containers in order, restart policies, graceful ends, hooks.
func TestLife(t *testing.T) {
	k := newClient(t, machine(t))
	k.apply(`
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  restartPolicy: OnFailure
  initContainers:
  - {name: i1, image: ` + busybox + `, command: [sh, -c, "echo one >> /d/log"], volumeMounts: [{name: d, mountPath: /d}]}
  - {name: i2, image: ` + busybox + `, command: [sh, -c, "echo two >> /d/log"], volumeMounts: [{name: d, mountPath: /d}]}
  containers:
  - {name: c, image: ` + busybox + `, command: [sh, -c, "cat /d/log; test -e /d/tried && exit 0; touch /d/tried; exit 1"], volumeMounts: [{name: d, mountPath: /d}]}
  volumes: [{name: d, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: graceful}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: c
    image: ` + busybox + `
    command: [sh, -c, "trap 'echo ended; exit 0' TERM; echo up; while true; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo started > /proc/1/fd/1"]}}
      preStop: {exec: {command: [sh, -c, "echo stopping > /proc/1/fd/1"]}}
`)
	await(t, k.h, 60*time.Second, "the failed container is tried again and succeeds", func() error {
		out := k.must("get", "pod", "once", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].restartCount}")
		if out != "Succeeded 1" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if out := k.must("logs", "once", "-c", "c"); !strings.HasPrefix(out, "one\ntwo") {
		t.Errorf("init containers: %s", out)
	}
	k.ready("graceful")
	started := time.Now()
	k.must("delete", "pod", "graceful", "--wait=false")
	await(t, k.h, 15*time.Second, "it is gone before its grace is over", func() error {
		if _, err := k.run(t.Context(), "", "get", "pod", "graceful"); err == nil {
			return errNotYet
		}
		return nil
	})
	if d := time.Since(started); d > 10*time.Second {
		t.Errorf("the graceful end took %v", d)
	}
}

// TestNames: cluster DNS as pods see it.
func TestNames(t *testing.T) {
	k := newClient(t, machine(t))
	k.apply(webPods + `
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
`)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	k.pod("client", "", "")
	k.ready("client")
	ip := k.must("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	if out := k.sh("client", "nslookup web."+k.namespace+".svc.cluster.local"); !strings.Contains(out, ip) {
		t.Errorf("A: %s", out)
	}
	if out := k.sh("client", "nslookup "+ip); !strings.Contains(out, "web."+k.namespace+".svc.cluster.local") {
		t.Errorf("PTR: %s", out)
	}
	if out := k.sh("client", "nslookup each."+k.namespace+".svc.cluster.local"); strings.Count(out, "Address") < 3 {
		t.Errorf("headless: %s", out)
	}
	if out := k.sh("client", "nslookup kubernetes.default.svc.cluster.local"); !strings.Contains(out, "10.96.0.1") {
		t.Errorf("the API's name: %s", out)
	}
	if out := k.must("exec", "deployment/web", "--", "/web", "get", "http://web/"); !strings.Contains(out, "Hello from web-") {
		t.Errorf("the service by its short name: %s", out)
	}
	if out := k.sh("client", "cat /etc/resolv.conf"); !strings.Contains(out, "nameserver 10.96.0.10") || !strings.Contains(out, k.namespace+".svc.cluster.local") {
		t.Errorf("resolv.conf: %s", out)
	}
}
