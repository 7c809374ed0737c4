// Package test drives the built binary on real containers, through the front
// doors: kubectl, the trireme command line, sockets. Every test has its own
// namespace on one shared machine, or machines of its own.
package test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trireme/test/cluster"
)

// binary is what is tested.
func binary() string {
	path, err := filepath.Abs("../bin/trireme")
	if err != nil {
		panic(err)
	}
	return path
}

const busybox = "trireme.local/busybox:1"

var busyboxDir string // of the image's archive; empty: it was not made

var shared struct {
	once    sync.Once
	cluster *cluster.Cluster
	err     error
}

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Println("skipped: not root: these tests run containers")
		os.Exit(0)
	}
	if _, err := os.Stat(binary()); err != nil {
		fmt.Fprintln(os.Stderr, "no bin/trireme: run make build first")
		os.Exit(1)
	}
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the shared machine:", err)
			code = 1
		}
	}
	if err := os.RemoveAll(busyboxDir); err != nil {
		fmt.Fprintln(os.Stderr, "removing the busybox image:", err)
	}
	os.Exit(code)
}

// webContainer is the demo's web server as an entry of a list in YAML: ready when it answers.
const webContainer = "{name: web, image: \"trireme.local/web:1\", ports: [{containerPort: 8080}], " +
	"readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}"

// machine returns the shared machine with a running cluster of one node.
func machine(t *testing.T) *cluster.Host {
	t.Helper()
	shared.once.Do(func() {
		if _, shared.err = busyboxArchive(); shared.err != nil {
			return // made before the clock runs: it may have to be compiled
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		shared.cluster, shared.err = cluster.New(ctx, cluster.Config{Binary: binary()})
		if shared.err == nil {
			shared.err = bringUp(ctx, shared.cluster.Hosts[0])
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster.Hosts[0]
}

// ownMachines returns machines that run nothing and are removed after the test.
func ownMachines(t *testing.T, n int) []*cluster.Host {
	t.Helper()
	return ownCluster(t, n).Hosts
}

func ownCluster(t *testing.T, n int) *cluster.Cluster {
	t.Helper()
	return ownClusterOf(t, cluster.Config{Hosts: n})
}

func ownClusterOf(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	cfg.Binary = binary()
	c, err := cluster.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range c.Hosts {
				t.Logf("%s:\n%s", h.Name, h.LogTail(40))
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func bringUp(ctx context.Context, h *cluster.Host, args ...string) error {
	if err := h.Start(append([]string{"up"}, args...)...); err != nil {
		return err
	}
	if err := h.Ready(ctx); err != nil {
		return err
	}
	tar, err := busyboxArchive()
	if err != nil {
		return err
	}
	_, err = h.Trireme(ctx, "image", "import", tar)
	return err
}

// join makes the others nodes of the cluster that h manages, all at once, and
// returns when they are ready.
func join(t *testing.T, h *cluster.Host, others ...*cluster.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := h.Admit(ctx, others...); err != nil {
		t.Fatal(err)
	}
}

// busyboxArchive makes an image of the machine's static busybox, once.
var busyboxArchive = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "trireme-busybox-")
	if err != nil {
		return "", err
	}
	busyboxDir = dir
	path := filepath.Join(dir, "busybox.tar")
	cmd := exec.Command("go", "run", "./hack/mkimage", "-busybox", "-name", busybox, "-o", path)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making the busybox image: %w: %s", err, out)
	}
	return path, nil
})

// client runs kubectl in a namespace of the test's own.
type client struct {
	t         *testing.T
	h         *cluster.Host
	namespace string
	embedded  bool
}

// newClient makes a namespace named after the test; it is deleted after it.
func newClient(t *testing.T, h *cluster.Host) *client {
	t.Helper()
	ns := strings.Trim(strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())), "-")
	k := &client{t: t, h: h, namespace: ns}
	k.must("create", "namespace", ns)
	t.Cleanup(func() {
		if t.Failed() {
			for _, what := range []string{"get all,ep -o wide", "get events", "describe pods"} {
				out, _ := k.run(context.Background(), "", strings.Fields(what)...)
				t.Logf("kubectl %s:\n%s", what, out)
			}
			t.Logf("log:\n%s", h.LogTail(30))
		}
		if out, err := k.run(context.Background(), "", "delete", "namespace", ns, "--timeout=60s"); err != nil {
			t.Errorf("deleting the namespace: %v: %s", err, out)
		}
	})
	return k
}

// command returns a kubectl that is not running yet, in the test's namespace.
func (k *client) command(ctx context.Context, args ...string) *exec.Cmd {
	line := cluster.KubectlLine(binary())
	if k.embedded {
		line = []string{binary(), "kubectl"}
	}
	line = append(line[:len(line):len(line)], "--namespace", k.namespace)
	line = append(line, args...)
	return k.h.Command(ctx, line[0], line[1:]...)
}

// run runs kubectl with stdin and returns stdout and stderr together.
func (k *client) run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := k.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs kubectl and fails the test where it fails.
func (k *client) must(args ...string) string {
	k.t.Helper()
	out, err := k.run(k.t.Context(), "", args...)
	if err != nil {
		k.t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// apply applies manifests.
func (k *client) apply(yaml string) {
	k.t.Helper()
	if out, err := k.run(k.t.Context(), yaml, "apply", "-f", "-"); err != nil {
		k.t.Fatalf("kubectl apply: %v: %s", err, out)
	}
}

// await waits, bounded, until f returns nil.
func await(t *testing.T, h *cluster.Host, limit time.Duration, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := h.Await(ctx, what, f); err != nil {
		t.Fatal(err)
	}
}

// curl asks a URL on the host and returns the body.
func curl(ctx context.Context, h *cluster.Host, url string) (string, error) {
	return h.Run(ctx, "curl", "-fsS", "--max-time", "2", url)
}

var errNotYet = errors.New("not yet")
