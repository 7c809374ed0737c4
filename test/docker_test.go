package test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// docker is the real client, against what its variables say: a manager's socket.
type docker struct {
	t   *testing.T
	h   *cluster.Host
	env []string
}

func newDocker(t *testing.T, h *cluster.Host) *docker {
	t.Helper()
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("there is no docker client on this machine: apt-get install docker.io")
	}
	return &docker{t, h, []string{"DOCKER_HOST=unix://" + filepath.Join(h.Root, "docker.sock")}}
}

func (d *docker) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 90*time.Second)
	defer cancel()
	cmd := d.h.Command(ctx, "docker", args...)
	cmd.Env = append(cmd.Environ(), d.env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (d *docker) must(args ...string) string {
	d.t.Helper()
	out, err := d.run(args...)
	if err != nil {
		d.t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused runs a command that has to fail with the words.
func (d *docker) refused(words string, args ...string) {
	d.t.Helper()
	if out, err := d.run(args...); err == nil || !strings.Contains(out, words) {
		d.t.Errorf("docker %s: %v: %s; want an error with %q", strings.Join(args, " "), err, out, words)
	}
}

// says waits until a command's output has the words.
func (d *docker) says(words string, args ...string) {
	d.t.Helper()
	await(d.t, d.h, 60*time.Second, "docker "+strings.Join(args, " ")+" says "+words, func() error {
		if out, err := d.run(args...); err != nil || !strings.Contains(out, words) {
			return fmt.Errorf("%w: %v: %s", errNotYet, err, out)
		}
		return nil
	})
}

// TestDockerService: docker's own client runs a service as it does on a swarm, and
// kubectl sees the same tasks: create, scale, update, roll back, logs, inspect, remove.
func TestDockerService(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	t.Cleanup(func() { d.quietly("service", "rm", "dweb") })
	if out := d.must("version", "--format", "{{.Server.Platform.Name}}"); out != "Trireme" {
		t.Errorf("docker version: %s", out)
	}
	if out := d.must("info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Nodes}}"); out != "active true 1" {
		t.Errorf("docker info: %s", out)
	}
	out := d.must("service", "create", "--name", "dweb", "--replicas", "2", "--publish", "8097:8080", "--env", "SLOT={{.Task.Slot}}",
		"--stop-grace-period", "1s", "--update-monitor", "1s", "--rollback-monitor", "1s", "--no-resolve-image", "trireme.local/web:1")
	if !strings.Contains(out, "converged") {
		t.Errorf("docker service create: %s", out)
	}
	if out := d.must("service", "ls", "--filter", "name=dweb", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Ports}}"); out != "dweb replicated 2/2 *:8097->8080/tcp" {
		t.Errorf("docker service ls: %s", out)
	}
	if out := k.must("-n", "default", "get", "pods", "-l", "swarm.trireme.dev/service=dweb", "-o", "jsonpath={.items[*].status.phase}"); out != "Running Running" {
		t.Errorf("kubectl get pods: %s", out)
	}
	await(t, h, 20*time.Second, "the published port answers", func() error {
		_, err := curl(t.Context(), h, "http://"+h.Address+":8097/healthz")
		return err
	})
	d.must("service", "scale", "dweb=3")
	d.says("dweb.3 Running", "service", "ps", "dweb", "--format", "{{.Name}} {{.CurrentState}}")
	d.must("service", "update", "--env-add", "MORE=1", "--update-parallelism", "3", "dweb")
	d.says("completed", "service", "inspect", "dweb", "--format", "{{.UpdateStatus.State}}")
	d.must("service", "rollback", "dweb")
	d.says("rollback_completed [SLOT={{.Task.Slot}}]", "service", "inspect", "dweb", "--format", "{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ContainerSpec.Env}}")
	d.says("serves on :8080", "service", "logs", "--raw", "dweb")
	d.refused("name conflicts with an existing object", "service", "create", "--detach", "--no-resolve-image", "--name", "dweb", "trireme.local/web:1")
	d.refused("port '8097' is already in use by service 'dweb'", "service", "create", "--detach", "--no-resolve-image", "--name", "other", "--publish", "8097:80", "trireme.local/web:1")
	d.refused("OomScoreAdj", "service", "create", "--detach", "--no-resolve-image", "--name", "other", "--oom-score-adj", "5", "trireme.local/web:1")
	d.refused("no such service: nothing", "service", "inspect", "nothing")
	d.refused("no image is made of a container", "commit", "nothing")
	d.must("service", "rm", "dweb")
	await(t, h, 60*time.Second, "the tasks have gone", func() error {
		if out := k.must("-n", "default", "get", "pods,services", "-l", "swarm.trireme.dev/service=dweb", "-o", "name"); out != "" {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
}

// TestDockerNodes: a global service has a task on every node that its constraints allow;
// an update that fails is paused, or goes back; a task that fails is replaced as often as
// it may be.
func TestDockerNodes(t *testing.T) {
	h := machine(t)
	d := newDocker(t, h)
	for _, name := range []string{"dagent", "dfail", "dback"} {
		t.Cleanup(func() { d.quietly("service", "rm", name) })
	}
	if out := d.must("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}"); out != h.Name+" Ready Active Leader" {
		t.Errorf("docker node ls: %s", out)
	}
	d.must("service", "create", "--name", "dagent", "--mode", "global", "--detach", "--no-resolve-image", "--constraint", "node.labels.disk==fast",
		"--env", "NODE={{.Node.Hostname}}", "--stop-grace-period", "1s", busybox, "sh", "-c", "echo on $NODE; sleep 1000")
	d.must("node", "update", "--label-add", "disk=fast", h.Name)
	d.says("on "+h.Name, "service", "logs", "--raw", "dagent")
	d.must("node", "update", "--label-rm", "disk", h.Name)
	d.says("0/0", "service", "ls", "--filter", "name=dagent", "--format", "{{.Replicas}}")

	d.must("service", "create", "--name", "dfail", "--detach", "--no-resolve-image", "--restart-max-attempts", "1", "--restart-delay", "100ms", "--update-monitor", "1s", busybox, "false")
	d.says("non-zero exit (1)", "service", "ps", "dfail", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}")
	await(t, h, 60*time.Second, "two tasks have failed", func() error {
		if out := d.must("service", "ps", "dfail", "--format", "{{.CurrentState}}"); strings.Count(out, "Failed") != 2 {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})

	d.must("service", "create", "--name", "dback", "--no-resolve-image", "--update-failure-action", "rollback", "--update-monitor", "2s", "--rollback-monitor", "1s",
		"--stop-grace-period", "1s", "--restart-delay", "100ms", busybox, "sleep", "1000")
	d.must("service", "update", "--detach", "--args", "false", "dback")
	d.says("rollback_completed", "service", "inspect", "dback", "--format", "{{.UpdateStatus.State}}")
	if out := d.must("service", "inspect", "dback", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Args}}"); out != "[sleep 1000]" {
		t.Errorf("after the rollback it runs %s", out)
	}
}

// quietly runs a command that takes away what a test may have left: it is no error where
// nothing is.
func (d *docker) quietly(args ...string) {
	cmd := d.h.Command(context.Background(), "docker", args...)
	cmd.Env = append(cmd.Environ(), d.env...)
	_ = cmd.Run()
}
