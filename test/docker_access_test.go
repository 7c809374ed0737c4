package test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// dockerAs returns docker's client over TLS, as a user with a new certificate; as the
// administrator where there is no name.
func dockerAs(t *testing.T, h *cluster.Host, user string, more ...string) *docker {
	t.Helper()
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("there is no docker client on this machine: apt-get install docker.io")
	}
	dir := t.TempDir()
	out, err := h.Trireme(t.Context(), append([]string{"docker", "env", "--dir", dir, "--user=" + user}, more...)...)
	if err != nil || !strings.Contains(out, "export DOCKER_HOST=tcp://"+h.Address+":2376\n") {
		t.Fatalf("trireme docker env: %v: %s", err, out)
	}
	return &docker{t: t, h: h, env: []string{"DOCKER_HOST=tcp://" + h.Address + ":2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + dir}}
}

// TestDockerAccess: over TLS, docker is who the certificate says: RBAC and quota hold there
// as they do for kubectl, and what a user may not see is not there.
func TestDockerAccess(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	stack := k.namespace
	label := "--label=com.docker.stack.namespace=" + stack
	jane := dockerAs(t, h, "jane", "--group", "dev")
	for _, name := range []string{"dhidden", stack + "_web"} {
		t.Cleanup(func() { d.quietly("service", "rm", name) })
	}
	d.must("service", "create", "--name", "dhidden", "--detach", "--no-resolve-image", busybox, "sleep", "1000")

	if out := jane.must("service", "ls", "--quiet"); out != "" {
		t.Errorf("a user without rights sees services: %s", out)
	}
	if out := jane.must("node", "ls", "--quiet"); out != "" {
		t.Errorf("a user without rights sees nodes: %s", out)
	}
	jane.refused("no such service: dhidden", "service", "inspect", "dhidden")
	jane.refused("forbidden", "service", "create", "--detach", "--no-resolve-image", "--name", stack+"_web", label, busybox, "sleep", "1000")
	jane.refused("may not see or change the join tokens", "swarm", "join-token", "worker")

	k.must("create", "role", "services", "--verb=*", "--resource=services.swarm.trireme.dev,pods,pods/log")
	k.must("create", "rolebinding", "jane", "--role=services", "--group=dev")
	k.must("create", "quota", "two", "--hard=pods=2")
	out := jane.must("service", "create", "--no-resolve-image", "--name", stack+"_web", label, "--update-monitor", "1s", busybox, "sh", "-c", "echo mine; sleep 1000")
	if !strings.Contains(out, "converged") {
		t.Errorf("docker service create: %s", out)
	}
	if out := jane.must("service", "ls", "--format", "{{.Name}} {{.Replicas}}"); out != stack+"_web 1/1" {
		t.Errorf("docker service ls: %s", out)
	}
	jane.says("mine", "service", "logs", "--raw", stack+"_web")
	if out := jane.must("service", "ps", stack+"_web", "--format", "{{.Node}} {{.DesiredState}}"); out != h.Name+" Running" {
		t.Errorf("docker service ps: %s", out)
	}
	jane.refused("forbidden", "node", "update", "--availability", "drain", h.Name)
	jane.must("service", "scale", "--detach", stack+"_web=3")
	jane.says("2/3", "service", "ls", "--format", "{{.Replicas}}")
	await(t, h, 20*time.Second, "the quota's words are told", func() error {
		if out := k.must("get", "events", "--field-selector", "reason=FailedCreate", "-o", "jsonpath={.items[*].message}"); !strings.Contains(out, "exceeded quota") {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
	jane.must("service", "rm", stack+"_web")
}

// TestDockerStranger: who shows no certificate of the cluster's authority, and no token, is
// refused; the administrator's kubeconfig is a certificate too.
func TestDockerStranger(t *testing.T) {
	h := machine(t)
	newDocker(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if out, err := h.Run(ctx, "curl", "-sk", "https://"+h.Address+":2376/services"); err != nil || !strings.Contains(out, "nobody: give a client certificate") {
		t.Errorf("curl without a certificate: %v: %s", err, out)
	}
	if out := dockerAs(t, h, "").must("node", "ls", "--format", "{{.Hostname}}"); out != h.Name {
		t.Errorf("docker node ls of the administrator: %s", out)
	}
}

// TestDockerSwarm: the commands of a swarm say what is, change what can be changed and
// name what cannot.
func TestDockerSwarm(t *testing.T) {
	machines := ownMachines(t, 2)
	h := machines[0]
	d := newDocker(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := bringUp(ctx, h); err != nil {
		t.Fatal(err)
	}
	d.refused("This node is already part of a swarm", "swarm", "init")
	d.refused("This node is already part of a swarm", "swarm", "join", "--token", "x", h.Address+":2377")
	d.refused("trireme down", "swarm", "leave")
	d.refused("trireme down", "swarm", "leave", "--force")
	d.refused("swarm is not locked", "swarm", "unlock")
	d.refused("EncryptionConfig.AutoLockManagers cannot be changed", "swarm", "update", "--autolock")
	d.refused("CAConfig.NodeCertExpiry cannot be changed", "swarm", "update", "--cert-expiry", "24h")
	d.refused("Dispatcher.HeartbeatPeriod cannot be changed", "swarm", "update", "--dispatcher-heartbeat", "1m")
	d.refused("trireme join", "node", "demote", h.Name)
	if out := d.must("swarm", "ca"); !strings.Contains(out, "BEGIN CERTIFICATE") {
		t.Errorf("docker swarm ca: %s", out)
	}
	old := d.must("swarm", "join-token", "--quiet", "worker")
	out := d.must("swarm", "join-token", "--rotate", "worker")
	token := d.must("swarm", "join-token", "--quiet", "worker")
	if token == old || !strings.Contains(out, "docker swarm join --token "+token+" "+h.Address+":6444") {
		t.Errorf("docker swarm join-token --rotate: %s; the token before: %s", out, old)
	}
	worker := machines[1]
	if _, err := worker.Trireme(ctx, "join", "--detach", "--root", worker.Root, "--node", worker.Name, "--address", worker.Address, "--token", old, h.Address+":6444"); err == nil || !strings.Contains(err.Error(), "the join token is not this cluster's") {
		t.Errorf("joining with the token of before: %v", err)
	}
	join(t, h, worker)
	d.says(worker.Name+" worker Ready", "node", "ls", "--format", "{{.Hostname}} {{if .ManagerStatus}}manager{{else}}worker{{end}} {{.Status}}")
	d.refused("trireme join", "node", "promote", worker.Name)

	d.must("swarm", "update", "--task-history-limit", "2")
	if out := d.must("info", "--format", "{{.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit}}"); out != "2" {
		t.Errorf("the history limit is %s", out)
	}
	d.must("service", "create", "--name", "dpast", "--detach", "--no-resolve-image", "--restart-delay", "50ms", "--constraint", "node.hostname=="+h.Name, busybox, "false")
	await(t, h, 30*time.Second, "two tasks are kept", func() error {
		if out := d.must("service", "ps", "dpast", "--format", "{{.Name}}"); strings.Count(out, "dpast.1") != 2 {
			return errNotYet
		}
		return nil
	})
	if err := worker.Down(ctx); err != nil {
		t.Fatal(err)
	}
}
