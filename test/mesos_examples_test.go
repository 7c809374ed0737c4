package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"trireme/test/cluster"
)

// built builds a program of the repository, or compiles one of MPI's, below a folder that
// every machine of the test sees.
func built(t *testing.T, from string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(from))
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, from)
	if len(args) > 0 {
		cmd = exec.Command(args[0], append(append(args[1:], from), "-o", out, "-lm")...)
	}
	cmd.Dir = ".."
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v: %s", from, err, said)
	}
	return out
}

// mesosMachines are machines that are one cluster, whose Mesos ports are open to all. The first
// is its manager, with more flags.
func mesosMachines(t *testing.T, n int, flags ...string) (*cluster.Cluster, []*cluster.Host) {
	t.Helper()
	c := ownCluster(t, n)
	if err := bringUp(t.Context(), c.Hosts[0], append(flags, "--mesos-anonymous", "admin,system:masters")...); err != nil {
		t.Fatal(err)
	}
	if n > 1 {
		join(t, c.Hosts[0], c.Hosts[1:]...)
		tar, err := busyboxArchive()
		if err == nil {
			_, err = c.Hosts[0].Trireme(t.Context(), "image", "import", tar)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c, c.Hosts
}

// TestMesosExamples: the frameworks in examples do on three machines what they say.
func TestMesosExamples(t *testing.T) {
	_, hosts := mesosMachines(t, 3)
	master := "http://" + hosts[0].Address + ":5050"
	t.Run("mpi", func(t *testing.T) {
		if _, err := exec.LookPath("mpirun"); err != nil {
			t.Skip("no mpirun: apt-get install openmpi-bin libopenmpi-dev")
		}
		mpi, pi := built(t, "./examples/mesos/mpi"), built(t, "./examples/mesos/mpi/pi/pi.c", "mpicc")
		// The machines are one kernel's, with one name: ranks would take others for neighbours in memory.
		out, err := hosts[0].Run(t.Context(), "env", "OMPI_MCA_btl=tcp,self", mpi, "-master", master, "-net", "192.168.77.0/24", "-np", "6", "-per-node", "2", pi)
		if err != nil || !regexp.MustCompile(`pi is 3\.14159265\d*, off by .*, by 6 ranks on 3 nodes`).MatchString(out) {
			t.Errorf("mpi says %q, %v", out, err)
		}
	})
	t.Run("mapreduce", func(t *testing.T) {
		dir, args := t.TempDir(), []string{"-master", master, "-listen", hosts[0].Address + ":0", "-wait", "5s"}
		for i, text := range []string{"the cat and the dog", "The dog; the bird", "a cat"} {
			file := filepath.Join(dir, fmt.Sprint("block-", i))
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, file+"@"+hosts[i].Name)
		}
		out, err := hosts[0].Run(t.Context(), built(t, "./examples/mesos/mapreduce"), args...)
		if want := regexp.MustCompile(`(?s)^4 the\n2 cat\n2 dog\n.*3 of 3 tasks had their data on their node`); err != nil || !want.MatchString(out) {
			t.Errorf("mapreduce says %q, %v", out, err)
		}
	})
}
