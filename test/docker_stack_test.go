package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// stackFile returns the path of an example.
func stackFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../examples/stacks", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// changed copies the examples' folder and changes a file of it; it returns that file.
func changed(t *testing.T, name string, words ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(stackFile(t, name)))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.NewReplacer(words...).Replace(string(b))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pageSays waits until a URL's page has the words.
func pageSays(t *testing.T, h *cluster.Host, url, words string) {
	t.Helper()
	await(t, h, 60*time.Second, url+" says "+words, func() error {
		if body, err := curl(t.Context(), h, url); err != nil || !strings.Contains(body, words) {
			return fmt.Errorf("%w: %v: %s", errNotYet, err, body)
		}
		return nil
	})
}

// gone waits until nothing of a stack is left.
func gone(t *testing.T, h *cluster.Host, d *docker, k *client, stack string) {
	t.Helper()
	await(t, h, 60*time.Second, "stack "+stack+" has gone", func() error {
		left := k.must("-n", stack, "get", "pods,services,secrets,configmaps,networks.trireme.dev", "-o", "name")
		left = strings.ReplaceAll(left, "configmap/kube-root-ca.crt", "")
		for _, noun := range []string{"service", "network", "secret", "config"} {
			left += d.must(noun, "ls", "--filter", "label=com.docker.stack.namespace="+stack, "-q")
		}
		if left = strings.TrimSpace(left); left != "" {
			return fmt.Errorf("%w: %s", errNotYet, left)
		}
		return nil
	})
}

// cleanStack removes what a test may have left of a stack.
func (d *docker) cleanStack(t *testing.T, stack string) {
	t.Helper()
	t.Cleanup(func() {
		d.quietly("stack", "rm", stack)
		if out, err := d.h.Kubectl(context.Background(), "delete", "namespace", stack, "--ignore-not-found", "--wait=false"); err != nil {
			t.Errorf("removing the stack's namespace: %v: %s", err, out)
		}
	})
}

// TestDockerStackShop: docker's own client deploys a web application with a database, a
// cache and a worker; it is upgraded, scaled, rolled back and removed.
func TestDockerStackShop(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	d.cleanStack(t, "shop")
	d.must("stack", "deploy", "--resolve-image", "never", "-c", stackFile(t, "shop.yaml"), "shop")
	for _, want := range []string{"shop_web 2/2", "shop_db 1/1", "shop_cache 1/1", "shop_worker 2/2"} {
		d.says(want, "stack", "services", "shop", "--format", "{{.Name}} {{.Replicas}}")
	}
	page := "http://" + h.Address + ":8094/"
	pageSays(t, h, page, "from shop-")
	d.says("worked on order 1, cache hit, greeting hello", "service", "logs", "--raw", "shop_worker")
	d.must("stack", "deploy", "--resolve-image", "never", "-c", changed(t, "shop.yaml", "shop-{{.Task.Slot}}", "second-{{.Task.Slot}}"), "shop")
	pageSays(t, h, page, "from second-")
	d.must("service", "scale", "--detach", "shop_worker=3")
	d.says("shop_worker 3/3", "stack", "services", "shop", "--format", "{{.Name}} {{.Replicas}}")
	d.says("completed", "service", "inspect", "shop_web", "--format", "{{.UpdateStatus.State}}")
	d.must("service", "rollback", "--detach", "shop_web")
	pageSays(t, h, page, "from shop-")
	if out := d.must("stack", "ps", "shop", "--filter", "desired-state=running", "--format", "{{.Name}}"); strings.Count(out, "shop_worker.") != 3 {
		t.Errorf("docker stack ps: %s", out)
	}
	if out := d.must("stack", "ls", "--format", "{{.Name}} {{.Services}}"); !strings.Contains(out, "shop 4") {
		t.Errorf("docker stack ls: %s", out)
	}
	d.must("stack", "rm", "shop")
	gone(t, h, d, k, "shop")
}

// TestDockerStackMonitoring: an exporter on every node that a collector finds by name,
// a volume that two services share, a configuration.
func TestDockerStackMonitoring(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	d.cleanStack(t, "monitoring")
	d.must("stack", "deploy", "--resolve-image", "never", "-c", stackFile(t, "monitoring.yaml"), "monitoring")
	pageSays(t, h, "http://"+h.Address+":8095/all.txt", `load1{node="`+h.Name+`"}`)
	d.must("stack", "rm", "monitoring")
	gone(t, h, d, k, "monitoring")
}

// TestDockerStackCI: a job that prepares, a server that becomes healthy, runners with a
// token and few rights.
func TestDockerStackCI(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	d.cleanStack(t, "ci")
	d.must("stack", "deploy", "--resolve-image", "never", "-c", stackFile(t, "ci.yaml"), "ci")
	d.says("(1/1 completed)", "stack", "services", "ci", "--format", "{{.Name}} {{.Replicas}}")
	d.says("ci_runner 3/3", "stack", "services", "ci", "--format", "{{.Name}} {{.Replicas}}")
	d.says("runner-2 with t0ken runs build 7", "service", "logs", "--raw", "ci_runner")
	d.must("stack", "rm", "ci")
	gone(t, h, d, k, "ci")
}

// current is a stack with what docker's own client drops.
const current = `
services:
  web:
    image: trireme.local/busybox:1
    command: httpd -f -p 8080 -h /site
    volumes: [site:/site]
    ports: ["8096:8080"]
    depends_on:
      content: {condition: service_healthy}
      absent: {condition: service_started, required: false}
    pre_start:
      - {command: [sh, -c, "cat /etc/text > /site/text"]}
      - {command: [sh, -c, "cp /site/text /site/index.html"], per_replica: true}
    configs: [{source: text, target: /etc/text}]
    stop_grace_period: 1s
    deploy: {update_config: {order: start-first, monitor: 1s}}
  content:
    image: trireme.local/busybox:1
    command: sh -c "sleep 1; touch /tmp/ready; exec sleep 1000"
    healthcheck: {test: test -e /tmp/ready, interval: 1s, retries: 30}
    stop_grace_period: 0s
  absent:
    image: trireme.local/busybox:1
    profiles: [never]
configs:
  text: {content: "text one"}
volumes: {site: }
`

// TestStack: trireme stack reads the current Compose Specification: hooks before the
// start, dependencies with conditions, versions of configs; what cannot be honoured is
// named.
func TestStack(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	d.cleanStack(t, "modern")
	dir := t.TempDir()
	deploy := func(text string, args ...string) (string, error) {
		path := filepath.Join(dir, "compose.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"stack", "--docker-host", "unix://" + filepath.Join(h.Root, "docker.sock"), "deploy", "--resolve-image", "never", "-c", path}, args...)
		return h.Trireme(t.Context(), append(args, "modern")...)
	}
	out, err := deploy(strings.Replace(current, "    profiles: [never]", "    container_name: mine\n    cpuset: \"0\"", 1))
	if text := fmt.Sprint(out, err); err == nil || !strings.Contains(text, "services.absent.container_name: it cannot be honoured") || !strings.Contains(text, "services.absent.cpuset") {
		t.Errorf("a stack with fields that cannot be honoured: %v: %s", err, out)
	}
	if out := k.must("get", "namespace", "modern", "--ignore-not-found"); out != "" {
		t.Errorf("of a stack that is refused there is %s", out)
	}
	if out, err := deploy(current); err != nil {
		t.Fatalf("trireme stack deploy: %v: %s", err, out)
	}
	page := "http://" + h.Address + ":8096/"
	pageSays(t, h, page, "text one")
	out, err = deploy(current)
	if err != nil || strings.Contains(out, "created") || strings.Contains(out, "changed") {
		t.Errorf("deploying the same again: %v: %s", err, out)
	}
	if out, err := deploy(strings.Replace(current, "text one", "text two", 1)); err != nil {
		t.Fatalf("deploying another config: %v: %s", err, out)
	}
	pageSays(t, h, page, "text two")
	d.says("modern_web", "stack", "services", "modern")
	if out, err := h.Trireme(t.Context(), "stack", "--docker-host", "unix://"+filepath.Join(h.Root, "docker.sock"), "ps", "modern"); err != nil || !strings.Contains(out, "modern_web.1") {
		t.Errorf("trireme stack ps: %v: %s", err, out)
	}
	if out, err := h.Trireme(t.Context(), "stack", "--docker-host", "unix://"+filepath.Join(h.Root, "docker.sock"), "rm", "modern"); err != nil {
		t.Errorf("trireme stack rm: %v: %s", err, out)
	}
	gone(t, h, d, k, "modern")
}
