package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mesosGo builds mesos-go's own programs, as tools/mesos pins them, into a folder.
func mesosGo(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../build/mesos-go")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/", "tool")
	cmd.Dir, cmd.Env = "../tools/mesos", append(os.Environ(), "CGO_ENABLED=1") // msh knows terminals by it
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building mesos-go's programs: %v: %s", err, said)
	}
	return dir
}

// TestMesosGo: mesos-go's programs, as they are, do against a manager what they do against a
// Mesos master: a command, a task group, and tasks of an executor that the framework brings.
func TestMesosGo(t *testing.T) {
	bin := mesosGo(t)
	_, hosts := mesosMachines(t, 1)
	h := hosts[0]
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	master := h.Address + ":5050"
	t.Run("command", func(t *testing.T) {
		msh := func(command string) error {
			_, err := h.Run(ctx, filepath.Join(bin, "msh"), "-master", master, "-tty=false", "--", "sh", "-c", command)
			return err
		}
		if err := msh("test -d /proc/1"); err != nil {
			t.Errorf("msh: %v", err)
		}
		if err := msh("exit 3"); err == nil || !strings.Contains(err.Error(), "Command exited with status 3") {
			t.Errorf("msh of what fails: %v", err)
		}
	})
	t.Run("interactive", func(t *testing.T) {
		names := filepath.Join(t.TempDir(), "hosts") // msh asks the agent by the name in the offer
		if err := os.WriteFile(names, []byte("127.0.0.1 localhost\n"+h.Address+" "+h.Name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		// What the shell says before msh listens, or as it ends, msh may miss.
		const talk = `mount --bind "$1" /etc/hosts && (echo 'sleep 1; echo answer-$((40+2)); sleep 1; exit'; sleep 3) | "$2" -master "$3" -interactive -tty=false -- sh`
		if out, err := h.Run(ctx, "unshare", "-m", "sh", "-c", talk, "talk", names, filepath.Join(bin, "msh"), master); err != nil || !strings.Contains(out, "answer-42") {
			t.Errorf("msh -interactive: %v: %s", err, out)
		}
	})
	t.Run("group", func(t *testing.T) {
		if out, err := h.Run(ctx, filepath.Join(bin, "msh"), "-pod", "-master", master, "-tty=false", "--", "sh", "-c", "true"); err != nil {
			t.Errorf("msh -pod: %v: %s", err, out)
		}
	})
	t.Run("executor", func(t *testing.T) {
		for _, codec := range []string{"protobuf", "json"} {
			out, err := h.Run(ctx, filepath.Join(bin, "example-scheduler"), "-url", "http://"+master+"/api/v1/scheduler", "-codec", codec, "-server.address", h.Address,
				"-executor", filepath.Join(bin, "example-executor"), "-exec.image", "", "-tasks", "3", "-cpu", "0.1", "-verbose")
			// It ends with status 1 whenever its context ends.
			if !strings.Contains(out+fmt.Sprint(err), "mission accomplished, terminating") {
				t.Errorf("example-scheduler, %s: %v: %s", codec, err, out)
			}
		}
	})
	out, err := h.Kubectl(ctx, "get", "frameworks.mesos.trireme.dev", "-o", "jsonpath={.items[*].spec.info.name}")
	if err != nil || !strings.Contains(out, "msh") || !strings.Contains(out, "example") {
		t.Errorf("kubectl shows frameworks %q, %v", out, err)
	}
}
