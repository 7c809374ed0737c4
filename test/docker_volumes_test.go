package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDockerVolumes: a volume with a name keeps what tasks write, begins with what the
// image has at its place, and goes with its data when nobody has it.
func TestDockerVolumes(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	t.Cleanup(func() {
		d.quietly("service", "rm", "dvols", "dvols2")
		d.quietly("volume", "rm", "Dvol_1", "dvol-etc")
	})
	if out := d.must("volume", "create", "--label", "a=b", "Dvol_1"); out != "Dvol_1" {
		t.Errorf("docker volume create: %s", out)
	}
	d.must("volume", "create", "Dvol_1") // as often as one likes
	d.refused("no volume driver", "volume", "create", "--driver", "other", "dvol2")
	d.refused(`"ext4" is not served`, "volume", "create", "--opt", "type=ext4", "--opt", "device=/dev/sda", "dvol2")
	service := func(name string) {
		t.Helper()
		d.must("service", "create", "--name", name, "--detach", "--no-resolve-image", "--stop-grace-period", "1s", "--mount", "type=volume,source=Dvol_1,target=/data",
			"--mount", "type=volume,source=dvol-etc,target=/etc", busybox, "sh", "-c", "echo "+name+" >> /data/log; cat /data/log /etc/passwd; sleep 1000")
	}
	service("dvols")
	d.says("nobody:x:65534", "service", "logs", "--raw", "dvols") // the image's
	if out := d.must("volume", "ls", "--filter", "name=Dvol_1", "--filter", "name=dvol-etc", "--format", "{{.Name}} {{.Driver}}"); out != "Dvol_1 local\ndvol-etc local" {
		t.Errorf("docker volume ls: %s", out)
	}
	d.refused("volume is in use", "volume", "rm", "Dvol_1")
	at := d.must("volume", "inspect", "--format", "{{.Mountpoint}}", "Dvol_1")
	if b, err := os.ReadFile(filepath.Join(at, "log")); string(b) != "dvols\n" {
		t.Errorf("on the node it has %q, %v", b, err)
	}
	d.must("service", "rm", "dvols")
	service("dvols2")
	d.says("dvols\ndvols2\n", "service", "logs", "--raw", "dvols2")
	if out := k.must("-n", "default", "get", "volumes.swarm.trireme.dev", "dvol-etc", "-o", "jsonpath={.metadata.finalizers}"); !strings.Contains(out, "in-use") {
		t.Errorf("nothing holds the volume: %s", out)
	}
	if out := d.must("run", "--rm", "-v", "Dvol_1:/x", busybox, "cat", "/x/log"); out != "dvols\ndvols2" {
		t.Errorf("docker run has %q of the volume", out)
	}
	d.must("service", "rm", "dvols2")
	await(t, h, 30*time.Second, "the volumes have gone with their data", func() error {
		if out, err := d.run("volume", "rm", "--force", "Dvol_1", "dvol-etc"); err != nil {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		if _, err := os.Stat(at); !os.IsNotExist(err) {
			return fmt.Errorf("%w: %s is still there", errNotYet, at)
		}
		return nil
	})
}

// TestDockerFields: what Kubernetes has no field for reaches the container, by our own
// runtime driver; a node that has a generic resource runs who asks for it.
func TestDockerFields(t *testing.T) {
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h, "--runtime", "native"); err != nil {
		t.Fatal(err)
	}
	d, k := newDocker(t, h), newClient(t, h)
	out := t.TempDir()
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	const show = `echo user $(id -u):$(id -g) groups $(id -G); echo files $(ulimit -Sn):$(ulimit -Hn); echo first $(cat /proc/1/comm); echo score $(cat /proc/self/oom_score_adj)
echo pids $(cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null); trap 'echo told > /out/told; exit 3' USR1; while true; do sleep 0.1; done`
	d.must("service", "create", "--name", "dfields", "--detach", "--no-resolve-image", "--init", "--ulimit", "nofile=100:200", "--limit-pids", "50", "--user", "nobody", "--group", "nogroup",
		"--stop-signal", "USR1", "--oom-score-adj", "1000", "--restart-condition", "none", "--stop-grace-period", "10s", "--mount", "type=bind,source="+out+",target=/out", busybox, "/bin/sh", "-c", show)
	for _, words := range []string{"user 65534:65534 groups 65534", "files 100:200", "first docker-init", "pids 50", "score 1000"} {
		d.says(words, "service", "logs", "--raw", "dfields")
	}
	d.must("service", "rm", "dfields")
	await(t, h, 30*time.Second, "the task has had its signal", func() error {
		if b, err := os.ReadFile(filepath.Join(out, "told")); string(b) != "told\n" {
			return fmt.Errorf("%w: %q, %v", errNotYet, b, err)
		}
		return nil
	})
	d.must("service", "create", "--name", "dgeneric", "--detach", "--no-resolve-image", "--generic-resource", "fpga=1", busybox, "sleep", "1000")
	d.says("insufficient resources", "service", "ps", "dgeneric", "--no-trunc", "--format", "{{.Error}}")
	k.must("patch", "node", h.Name, "--subresource=status", "--type=merge", "-p", `{"status":{"capacity":{"generic.swarm.trireme.dev/fpga":"1"}}}`)
	d.says("Running", "service", "ps", "dgeneric", "--format", "{{.CurrentState}}")
	saying := func(word string) string { return "echo " + word + " $(ulimit -Sn); exec sleep 1000" }
	d.must("service", "update", "--detach", "--no-resolve-image", "--stop-grace-period", "1s", "--generic-resource-rm", "fpga", "--ulimit-add", "nofile=110:210", "--args", "sh -c '"+saying("first")+"'", "dgeneric")
	d.says("first 110", "service", "logs", "--raw", "dgeneric")
	d.must("service", "update", "--detach", "--no-resolve-image", "--generic-resource-add", "fpga=1", "--ulimit-rm", "nofile", "--args", "sh -c '"+saying("second")+"'", "dgeneric")
	d.says("second ", "service", "logs", "--raw", "dgeneric")
	if out := d.must("service", "logs", "--raw", "dgeneric"); strings.Contains(out, "second 110") {
		t.Errorf("the limit is still there: %s", out)
	}
}
