package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// step is one command line of kubectl and what must come of it.
type step struct {
	args  string // split at blanks
	stdin string
	want  string // part of what is printed
	code  int    // exit code
}

const box = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: box, labels: {app: box}}
spec:
  replicas: %d
  selector: {matchLabels: {app: box}}
  template:
    metadata: {labels: {app: box}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: box
        image: %s
        command: ["sh", "-c", "echo started; trap 'exit 0' TERM; while true; do sleep 0.2; done"]
        env: [{name: COLOUR, value: blue}]
`

// script is what a user of kubectl does in a day, in order.
func script() []step {
	two := fmt.Sprintf(box, 2, busybox)
	return []step{
		{args: "get nodes", want: "Ready"},
		{args: "explain deployment.spec.strategy.rollingUpdate", want: "maxSurge"},
		{args: "create deployment bare --image=trireme.local/web:1 --replicas=1", want: "deployment.apps/bare created"},
		{args: "create deployment bare --image=trireme.local/web:1", want: `deployments.apps "bare" already exists`, code: 1},
		{args: "diff -f -", stdin: two, want: "+kind: Deployment", code: 1},
		{args: "apply -f -", stdin: two, want: "deployment.apps/box created"},
		{args: "apply -f -", stdin: two, want: "deployment.apps/box unchanged"},
		{args: "diff -f -", stdin: two},
		{args: "apply --server-side --force-conflicts -f -", stdin: two, want: "serverside-applied"},
		{args: "rollout status deployment/box --timeout=60s", want: "successfully rolled out"},
		{args: "get deployment box", want: "2/2"},
		{args: "get pods -l app=box -o wide", want: "Running"},
		{args: "patch deployment box -p {\"metadata\":{\"annotations\":{\"a\":\"b\"}}}", want: "patched"},
		{args: "patch deployment box --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/minReadySeconds\",\"value\":1}]", want: "patched"},
		{args: "patch deployment box --type=merge -p {\"spec\":{\"minReadySeconds\":0}}", want: "patched"},
		{args: "scale deployment/box --replicas=3", want: "scaled"},
		{args: "rollout status deployment/box --timeout=60s", want: "successfully rolled out"},
		{args: "set image deployment/box box=" + busybox + " --all", want: ""},
		{args: "set env deployment/box COLOUR=red", want: "env updated"},
		{args: "rollout status deployment/box --timeout=60s", want: "successfully rolled out"},
		{args: "rollout history deployment/box", want: "2"},
		{args: "exec deployment/box -- sh -c echo${IFS}$COLOUR", want: "red"},
		{args: "rollout undo deployment/box", want: "rolled back"},
		{args: "rollout status deployment/box --timeout=60s", want: "successfully rolled out"},
		{args: "wait --for=condition=Available deployment/box --timeout=30s", want: "condition met"},
		{args: "exec deployment/box -- sh -c echo${IFS}$COLOUR", want: "blue"},
		{args: "exec -i deployment/box -- cat", stdin: "through stdin", want: "through stdin"},
		{args: "exec deployment/box -- sh -c exit${IFS}3", want: "exit code 3", code: 3},
		{args: "logs deployment/box", want: "started"},
		{args: "logs -l app=box --tail=1 --prefix", want: "started"},
		{args: "label deployment box tier=front", want: "labeled"},
		{args: "annotate deployment box note=x", want: "annotated"},
		{args: "get deployment -l tier=front -o name", want: "deployment.apps/box"},
		{args: "rollout pause deployment/box", want: "paused"},
		{args: "rollout resume deployment/box", want: "resumed"},
		{args: "rollout restart deployment/box", want: "restarted"},
		{args: "rollout status deployment/box --timeout=60s", want: "successfully rolled out"},
		{args: "describe deployment box", want: "NewReplicaSetAvailable"},
		{args: "get events", want: "Started"},
		{args: "expose deployment box --port=80 --target-port=8080", want: "service/box exposed"},
		{args: "get endpointslices -l kubernetes.io/service-name=box", want: "box"},
		{args: "create configmap c --from-literal=k=v", want: "created"},
		{args: "create secret generic s --from-literal=k=v", want: "created"},
		{args: "get secret s -o jsonpath={.data.k}", want: "dg=="},
		{args: "create -f -", stdin: "kind: Pod\napiVersion: v1\nmetadata: {name: x}\nspec: {containers: []}\n", want: "spec.containers: Required value", code: 1},
		{args: "apply -f -", stdin: strings.Replace(two, "replicas:", "replicaz:", 1), want: `unknown field "spec.replicaz"`, code: 1},
		{args: "get nothing", want: `the server doesn't have a resource type "nothing"`, code: 1},
		{args: "get pod nope", want: `pods "nope" not found`, code: 1},
		{args: "delete deployment bare --cascade=orphan", want: "deleted"},
		{args: "get replicaset -l app=bare -o name", want: "replicaset.apps/bare-"},
		{args: "delete replicaset -l app=bare", want: "deleted"},
		{args: "delete deployment box --cascade=foreground --timeout=60s", want: "deleted"},
		{args: "get pods,replicasets -l app=box", want: "No resources found"},
		{args: "api-resources", want: "deployments"},
		{args: "auth can-i create pods", want: "yes"},
		{args: "version", want: "Server Version: v1."},
	}
}

// TestKubectl drives the installed kubectl, an older release than our API, and
// the one that is built in through the same script.
func TestKubectl(t *testing.T) {
	for name, embedded := range map[string]bool{"installed": false, "embedded": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newClient(t, machine(t))
			k.embedded = embedded
			for _, s := range script() {
				k.step(s)
			}
		})
	}
}

func (k *client) step(s step) {
	k.t.Helper()
	out, err := k.run(k.t.Context(), s.stdin, strings.Fields(s.args)...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		k.t.Fatal(err)
	}
	if code != s.code || !strings.Contains(out, s.want) {
		k.t.Errorf("kubectl %s: exit code %d, want %d with %q:\n%s", s.args, code, s.code, s.want, out)
	}
}

// TestStreams drives what lasts: attach, port-forward, cp, logs -f; by both
// kubectls, which stream by different protocols.
func TestStreams(t *testing.T) {
	for name, embedded := range map[string]bool{"installed": false, "embedded": true} {
		t.Run(name, func(t *testing.T) {
			k := newClient(t, machine(t))
			k.embedded = embedded
			streams(t, k)
		})
	}
}

func streams(t *testing.T, k *client) {
	k.apply(`
apiVersion: v1
kind: Pod
metadata: {name: echo}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: ` + busybox + `
    stdin: true
    command: ["sh", "-c", "while read line; do echo got $line; done; sleep 1000"]
  - name: web
    image: trireme.local/web:1
`)
	k.must("wait", "--for=condition=Ready", "pod/echo", "--timeout=60s")

	t.Run("attach", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := k.run(ctx, "hello\n", "attach", "-i", "echo", "-c", "echo")
		if err != nil && ctx.Err() == nil {
			t.Errorf("attach: %v: %s", err, out)
		}
		await(t, k.h, 10*time.Second, "what was attached is in the log", func() error {
			if out := k.must("logs", "echo", "-c", "echo"); !strings.Contains(out, "got hello") {
				return fmt.Errorf("the log is %q", out)
			}
			return nil
		})
	})
	t.Run("cp", func(t *testing.T) {
		dir := t.TempDir()
		src, dst := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := os.WriteFile(src, []byte("there and back"), 0o644); err != nil {
			t.Fatal(err)
		}
		k.must("cp", src, "echo:/tmp/a", "-c", "echo")
		k.must("cp", "echo:/tmp/a", dst, "-c", "echo")
		if b, err := os.ReadFile(dst); err != nil || string(b) != "there and back" {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		cmd := k.command(t.Context(), "port-forward", "pod/echo", "18080:8080")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		await(t, k.h, 10*time.Second, "the forwarded port answers", func() error {
			_, err := curl(t.Context(), k.h, "http://127.0.0.1:18080/")
			return err
		})
	})
	t.Run("logs -f", func(t *testing.T) {
		cmd := k.command(t.Context(), "logs", "-f", "echo", "-c", "web")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		buf := make([]byte, 1)
		if n, err := out.Read(buf); n != 1 {
			t.Errorf("nothing was followed: %v", err)
		}
	})
}
