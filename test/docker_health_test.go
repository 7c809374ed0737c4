package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// busyboxWith writes an image of busybox with a changed configuration.
func busyboxWith(t *testing.T, ref string, change func(*v1.Config)) string {
	t.Helper()
	base, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(base, nil)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	own := conf.Config
	change(&own)
	if image, err = mutate.Config(image, own); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDockerPorts: ports without a number are chosen on the node, those that the image
// exposes too, and docker's client shows which.
func TestDockerPorts(t *testing.T) {
	h := machine(t)
	d := newDocker(t, h)
	const image = "trireme.local/exposed:1"
	d.dispose("dport", "dports")
	t.Cleanup(func() { d.quietly("service", "rm", "dhostport"); d.quietly("rmi", "--force", image) })
	d.must("load", "--input", busyboxWith(t, image, func(c *v1.Config) { c.ExposedPorts = map[string]struct{}{"8080/tcp": {}} }))

	serve := []string{"sh", "-c", "mkdir -p /tmp/w; echo hello >/tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"}
	d.must(append([]string{"run", "-d", "--name", "dport", "-p", "8080", "-p", "127.0.0.1::9090/udp", busybox}, serve...)...)
	at := d.must("port", "dport", "8080/tcp")
	pageSays(t, h, "http://"+strings.Replace(at, "0.0.0.0", h.Address, 1), "hello")
	if out := d.must("port", "dport", "9090/udp"); !strings.HasPrefix(out, "127.0.0.1:31") {
		t.Errorf("docker port of one address: %s", out)
	}
	if out := d.must("ps", "--filter", "name=^dport$", "--format", "{{.Ports}}"); !strings.Contains(out, at+"->8080/tcp") || !strings.Contains(out, "->9090/udp") {
		t.Errorf("docker ps: %s; want %s->8080/tcp", out, at)
	}

	d.must(append([]string{"run", "-d", "--name", "dports", "-P", "--expose", "53/udp", image}, serve...)...)
	pageSays(t, h, "http://"+strings.Replace(d.must("port", "dports", "8080"), "0.0.0.0", h.Address, 1), "hello")
	if out := d.must("port", "dports"); !strings.Contains(out, "53/udp -> 0.0.0.0:") {
		t.Errorf("docker port: %s", out)
	}
	d.refused("127.0.0.1:1/nowhere", "run", "--rm", "-P", "127.0.0.1:1/nowhere:1", "true")

	d.must(append([]string{"service", "create", "--detach", "--name", "dhostport", "--stop-grace-period", "1s", "--no-resolve-image", "--publish", "mode=host,target=8080", busybox}, serve...)...)
	await(t, h, 20*time.Second, "the task has a port", func() error {
		if out := d.must("service", "ps", "dhostport", "--format", "{{.CurrentState}} {{.Ports}}"); !strings.Contains(out, "Running") || !strings.Contains(out, "->8080/tcp") {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
}

// TestDockerImageHealth: an image's own health check counts: a task runs when it is
// healthy, one that is not any more is replaced, and docker ps says how a container is.
func TestDockerImageHealth(t *testing.T) {
	h := machine(t)
	d := newDocker(t, h)
	const image = "trireme.local/healthy:1"
	d.dispose("dwell", "dwild")
	t.Cleanup(func() { d.quietly("service", "rm", "dcheck"); d.quietly("rmi", "--force", image) })
	d.must("load", "--input", busyboxWith(t, image, func(c *v1.Config) {
		c.Healthcheck = &v1.HealthConfig{Test: []string{"CMD-SHELL", "test -e /tmp/well"}, Interval: time.Second, Retries: 2}
	}))

	d.must("run", "-d", "--name", "dwell", "--health-retries", "30", image, "sh", "-c", "sleep 1000")
	d.must("run", "-d", "--name", "dwild", "--no-healthcheck", image, "sleep", "1000")
	d.says("(health: starting)", "ps", "--filter", "name=^dwell$")
	d.must("exec", "dwell", "touch", "/tmp/well")
	d.says("(healthy)", "ps", "--filter", "name=^dwell$")
	d.must("exec", "dwell", "rm", "/tmp/well")
	if out := d.must("ps", "--filter", "name=^dwild$", "--format", "{{.Status}}"); !strings.HasPrefix(out, "Up ") || strings.Contains(out, "health") {
		t.Errorf("without a health check: %s", out)
	}

	d.must("service", "create", "--detach", "--name", "dcheck", "--health-retries", "5", "--restart-delay", "1ms", "--stop-grace-period", "1s", "--no-resolve-image",
		image, "sh", "-c", "sleep 3; touch /tmp/well; sleep 4; rm /tmp/well; sleep 1000")
	for _, state := range []string{"Starting", "Running", "Failed"} {
		d.says(state, "service", "ps", "dcheck", "--format", "{{.CurrentState}}")
	}
}
