package test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// onTerminal runs docker on a pseudo-terminal, types the lines, and returns what it showed.
func (d *docker) onTerminal(typed string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
	defer cancel()
	cmd := d.h.Command(ctx, "script", "-qefc", "docker "+strings.Join(args, " "), os.DevNull)
	cmd.Env = append(cmd.Environ(), "DOCKER_HOST=unix://"+filepath.Join(d.h.Root, "docker.sock"), "TERM=xterm")
	cmd.Stdin = strings.NewReader(typed)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// with runs docker with an input, and returns its outputs apart.
func (d *docker) with(stdin string, args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
	defer cancel()
	cmd := d.h.Command(ctx, "docker", args...)
	cmd.Env = append(cmd.Environ(), "DOCKER_HOST=unix://"+filepath.Join(d.h.Root, "docker.sock"))
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &o, &e
	_ = cmd.Run() // its code says it
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// dispose removes a container that a test may have left.
func (d *docker) dispose(names ...string) {
	d.t.Cleanup(func() { d.quietly(append([]string{"rm", "-f"}, names...)...) })
}

// TestDockerRun: docker run makes a bare pod and gives its streams, its exit code and its
// life as docker does.
func TestDockerRun(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	d.dispose("drun", "drun2", "dkept", "dbad", "dmade")

	if out, errs, code := d.with("", "run", "--rm", "--name", "dgone", busybox, "sh", "-c", "echo out; echo err >&2; exit 3"); out != "out\n" || errs != "err\n" || code != 3 {
		t.Errorf("docker run: %q, %q, exit code %d; want out, err and 3", out, errs, code)
	}
	await(t, h, 20*time.Second, "--rm removes the pod", func() error {
		if out := d.must("ps", "-aq", "--filter", "name=^dgone$"); out != "" {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
	if out, errs, code := d.with("one\ntwo\n", "run", "--rm", "-i", busybox, "sh", "-c", "cat; echo end"); out != "one\ntwo\nend\n" || code != 0 {
		t.Errorf("docker run -i: %q, %q, exit code %d", out, errs, code)
	}
	if out, err := d.onTerminal("echo $((6*7))\nexit 4\n", "run", "--rm", "-it", "--hostname", "box", busybox, "sh"); !strings.Contains(out, "42") || exitCode(err) != 4 {
		t.Errorf("docker run -it: %v: %q", err, out)
	}

	id := d.must("run", "-d", "--name", "drun", "--label", "team=a b", "-e", "X={{.Y}}", "--memory", "64m", "--cpus", "0.5", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/scratch:size=1m",
		"--user", "1000:1000", "--stop-timeout", "3", busybox, "sh", "-c", `trap "echo ended; exit 7" TERM; echo "$X $(id -u) $(hostname)"; while :; do sleep 0.1; done`)
	if out := d.must("ps", "--no-trunc", "--filter", "label=team=a b", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}"); out != id+" drun "+busybox+" running" {
		t.Errorf("docker ps: %s; want id %s", out, id)
	}
	d.says("{{.Y}} 1000 drun", "logs", "drun")
	if out := d.must("inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.Config.User}} {{.State.Status}}", id[:12]); out != "67108864 500000000 1000:1000 running" {
		t.Errorf("docker inspect: %s", out)
	}
	if out := k.must("-n", "default", "get", "pod", "drun", "-o", "jsonpath={.spec.containers[0].resources.limits.memory} {.status.phase}"); out != "64Mi Running" {
		t.Errorf("kubectl get pod: %s", out)
	}
	d.refused("already in use", "run", "-d", "--name", "drun", busybox, "true")
	d.refused("container is running", "rm", "drun")
	d.must("rename", "drun", "drun2")
	d.must("stop", "drun2")
	if out := d.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "drun2"); out != "exited 7" {
		t.Errorf("after docker stop: %s", out)
	}
	if out := d.must("logs", "drun2"); !strings.Contains(out, "ended") {
		t.Errorf("docker logs of what was stopped: %s", out)
	}
	if out := d.must("wait", "drun2"); out != "7" {
		t.Errorf("docker wait: %s", out)
	}
	d.must("start", "drun2")
	if out := d.must("ps", "-q", "--no-trunc", "--filter", "name=drun2"); out != id {
		t.Errorf("after docker start its id is %s; want %s", out, id)
	}
	d.must("kill", "drun2")
	if out := d.must("inspect", "--format", "{{.State.ExitCode}}", "drun2"); out != "137" {
		t.Errorf("after docker kill: %s", out)
	}
	d.must("rm", "drun2")
	d.refused("No such container: drun2", "container", "inspect", "drun2")

	made := d.must("create", "--name", "dmade", busybox, "echo", "made")
	if out := k.must("-n", "default", "get", "pod", "dmade", "-o", "jsonpath={.spec.schedulingGates[0].name}"); out != "docker.trireme.dev/start" {
		t.Errorf("a created container's gate: %s", out)
	}
	if out := d.must("inspect", "--format", "{{.State.Status}}", made[:8]); out != "created" {
		t.Errorf("a created container: %s", out)
	}
	if out := d.must("start", "-a", "dmade"); out != "made" {
		t.Errorf("docker start -a: %q", out)
	}
	for words, args := range map[string][]string{
		"HostConfig.StorageOpt":           {"--storage-opt", "size=1G"},
		"HostConfig.NetworkMode":          {"--network", "container:drun2"},
		"HostConfig.PortBindings[80/tcp]": {"-p", "8000-8010:80"},
		"HostConfig.Links":                {"--link", "drun2:other"},
	} {
		d.refused(words, append(append([]string{"run", "--name", "dbad"}, args...), busybox, "true")...)
	}
	d.must("container", "prune", "--force")
	if out := d.must("ps", "-aq", "--filter", "name=^dmade$"); out != "" {
		t.Errorf("docker container prune left %s", out)
	}
}

// TestDockerExec: commands run in the containers of any node, on a terminal and without;
// files are copied both ways; what is used is shown; what is loaded runs anywhere.
func TestDockerExec(t *testing.T) {
	hosts := ownMachines(t, 2)
	if err := bringUp(t.Context(), hosts[0]); err != nil {
		t.Fatal(err)
	}
	h := hosts[0]
	join(t, h, hosts[1])
	d := newDocker(t, h)
	tarball, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Trireme(t.Context(), "image", "import", tarball); err != nil { // on both
		t.Fatal(err)
	}
	d.must("service", "create", "--name", "dexec", "--mode", "global", "--no-resolve-image", "--stop-grace-period", "1s", busybox, "sh", "-c", "echo said; sleep 1000")
	for _, node := range hosts {
		t.Run(node.Name, func(t *testing.T) { d.executes(t, node) })
	}
	t.Run("load", func(t *testing.T) { d.of(t).loads(hosts[1]) })
	t.Run("overlay", func(t *testing.T) { d.spans(t, hosts) })
}

// of is the client for a subtest.
func (d *docker) of(t *testing.T) *docker { return &docker{t, d.h, d.env} }

// loads: what docker's client loads, and names, runs on another machine, until it is removed.
func (d *docker) loads(other *cluster.Host) {
	const name, as = "trireme.local/loaded:1", "trireme.local/named:1"
	tarball := filepath.Join(d.t.TempDir(), "loaded.tar")
	mkimage := exec.CommandContext(d.t.Context(), "go", "run", "./hack/mkimage", "-busybox", "-name", name, "-o", tarball)
	mkimage.Dir = ".."
	if out, err := mkimage.CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	if out := d.must("load", "--input", tarball); !strings.Contains(out, name) {
		d.t.Errorf("docker load: %s", out)
	}
	d.must("tag", name, as)
	for i, image := range []string{name, as} {
		d.must("service", "create", "--name", fmt.Sprintf("dload%d", i), "--no-resolve-image", "--constraint", "node.hostname=="+other.Name, image, "sleep", "1000")
	}
	d.must("service", "rm", "dload0", "dload1")
	if out, err := d.h.Kubectl(d.t.Context(), "get", "images.trireme.dev", "--no-headers"); err != nil || strings.Count(out, "trireme.local/loaded:1")+strings.Count(out, "trireme.local/named:1") != 2 {
		d.t.Errorf("what the cluster holds: %v\n%s", err, out)
	}
	await(d.t, d.h, 30*time.Second, "the image is removed", func() error {
		if out, err := d.run("rmi", "--force", name, as); err != nil && !strings.Contains(out, "No such image") {
			return fmt.Errorf("%w: %s", err, out)
		}
		out, err := d.h.Kubectl(d.t.Context(), "get", "images.trireme.dev", "--no-headers")
		if err == nil && (strings.Contains(out, "trireme.local/loaded:1") || strings.Contains(out, "trireme.local/named:1")) {
			err = fmt.Errorf("the cluster holds it still:\n%s", out)
		}
		return err
	})
	began := time.Now()
	out := d.must("service", "create", "--name", "dsilent", "--detach", "192.168.77.250:5000/x:1") // nobody has the address
	d.t.Logf("a registry that is not there holds `docker service create` up for %s", time.Since(began).Round(time.Millisecond))
	if !strings.Contains(out, "could not be accessed on a registry") {
		d.t.Errorf("docker service create: %s", out)
	}
	d.must("service", "rm", "dsilent")
}

func (d *docker) executes(t *testing.T, node *cluster.Host) {
	d = newDocker(t, d.h)
	of := strings.Fields(d.must("node", "inspect", node.Name, "--format", "{{.ID}}"))[0]
	id := d.must("ps", "-q", "--filter", "label=com.docker.swarm.node.id="+of)
	if out := d.must("ps", "--filter", "id="+id, "--format", "{{.Names}} {{.Label \"com.docker.swarm.service.name\"}}"); !strings.HasPrefix(out, "dexec."+of+".") || !strings.HasSuffix(out, " dexec") {
		t.Errorf("docker ps: %s", out)
	}
	if out, errs, code := d.with("in", "exec", "-i", "-e", "A=b c", "-w", "/tmp", id, "sh", "-c", `cat; echo " $A $(pwd)"; echo bad >&2; exit 9`); out != "in b c /tmp\n" || errs != "bad\n" || code != 9 {
		t.Errorf("docker exec -i: %q, %q, exit code %d", out, errs, code)
	}
	if out, err := d.onTerminal("tty; stty size\nexit 5\n", "exec", "-it", id, "sh"); !strings.Contains(out, "/dev/") || exitCode(err) != 5 {
		t.Errorf("docker exec -it: %v: %q", err, out)
	}
	if _, errs, code := d.with("", "exec", id, "nothing"); code != 127 || !strings.Contains(errs, "nothing") {
		t.Errorf("docker exec of what is not there: %q, exit code %d", errs, code)
	}
	d.must("exec", id, "sh", "-c", "mkdir -p /etc && echo worker:x:7:9::/:/bin/sh >>/etc/passwd")
	if out := d.must("exec", "-u", "worker", "-w", "/tmp", "-e", "A=b", id, "sh", "-c", "echo $(id -u) $(id -g) $(pwd) $A"); out != "7 9 /tmp b" {
		t.Errorf("docker exec -u: %s", out)
	}
	d.refused("there is no such user", "exec", "-u", "nobodyhere", id, "id")
	if out := d.must("logs", id); out != "said" {
		t.Errorf("docker logs: %s", out)
	}
	if out := d.must("top", id); !strings.Contains(out, "sleep 1000") {
		t.Errorf("docker top: %s", out)
	}
	d.says("iB / ", "stats", "--no-stream", "--format", "{{.MemUsage}}", id)

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o640); err != nil {
		t.Fatal(err)
	}
	d.must("exec", id, "mkdir", "-p", "/tmp/in")
	d.must("cp", filepath.Join(dir, "file"), id+":/tmp/in/other")
	if out := d.must("exec", id, "sh", "-c", "cat /tmp/in/other; stat -c ' %a %u' /tmp/in/other"); out != "text 640 0" {
		t.Errorf("docker cp into: %s", out)
	}
	d.must("cp", id+":/tmp/in", filepath.Join(dir, "out"))
	if b, err := os.ReadFile(filepath.Join(dir, "out", "other")); err != nil || string(b) != "text" {
		t.Errorf("docker cp out of: %q, %v", b, err)
	}
	d.refused("Could not find the file /nothing", "cp", id+":/nothing", dir)
	for name, h := range map[string]*tar.Header{
		"leads out of the folder": {Name: "../../evil", Typeflag: tar.TypeReg},
		"outside of it":           {Name: "evil", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if out, errs, code := d.with(b.String(), "cp", "-", id+":/tmp"); code == 0 || !strings.Contains(errs, name) {
			t.Errorf("docker cp of a hostile archive: %q, %q, exit code %d; want %q", out, errs, code, name)
		}
	}
}

func exitCode(err error) int {
	if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // exec's own
		return e.ExitCode()
	}
	return 0
}
