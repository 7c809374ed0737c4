package containerd_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// inside marks the test process that lives in namespaces of its own.
const inside = "TRIREME_TEST_NAMESPACES"

// TestMain runs the tests in their own PID, mount, network and IPC namespaces:
// whatever a failing test leaves behind ends with it.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(inside) != "":
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "setting up the namespaces:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	case lacking() != "":
		os.Exit(m.Run()) // what needs a node skips and says why
	}
	os.Exit(enter())
}

// enter runs this test again in new namespaces and returns its exit code.
func enter() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	defer removeTestCgroups(fmt.Sprintf("trireme-test-%d", os.Getpid()))
	cmd.Env = append(cmd.Env, fmt.Sprintf("TRIREME_TEST_CGROUP=trireme-test-%d", os.Getpid()))
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "entering namespaces:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

func settle() error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting proc: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// removeTestCgroups removes what a failed test left: empty, since its processes
// ended with their namespace.
func removeTestCgroups(name string) {
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		tops, _ := filepath.Glob(pattern)
		for _, top := range tops {
			var dirs []string
			_ = filepath.WalkDir(top, func(p string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append([]string{p}, dirs...)
				}
				return nil
			})
			for _, d := range dirs {
				_ = os.Remove(d)
			}
		}
	}
}

// bundle is where the built binaries lie.
func bundle() string {
	if dir := os.Getenv("TRIREME_BUNDLE"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../../build/bundle/bin")
	if err != nil {
		return ""
	}
	return dir
}

// lacking says what this machine lacks to run a node, "" if nothing.
func lacking() string {
	if os.Getuid() != 0 {
		return "containers need root"
	}
	var missing []string
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := os.Stat(filepath.Join(bundle(), name)); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Sprintf("%s not built in %s: run make build", strings.Join(missing, ", "), bundle())
	}
	return ""
}
