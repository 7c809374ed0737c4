package containerd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/containerd"
	"trireme/internal/runtime/cri"
	"trireme/internal/runtime/native"
	"trireme/internal/runtime/runtimetest"
	"trireme/internal/runtime/shim"
)

const (
	testImage  = "docker.io/trireme/test:1"
	pauseImage = "docker.io/trireme/pause:1"
	importedTo = "docker.io/trireme/imported:1"
)

// node is a containerd of our own with everything around it.
type node struct {
	cfg    containerd.Config
	root   string
	prog   string
	driver string // "cri" or "native"
	quit   func() // ends the driver that dial returned last
}

// eachDriver runs a test on a node of each of the two drivers.
func eachDriver(t *testing.T, test func(t *testing.T, n *node)) {
	for _, driver := range []string{"cri", "native"} {
		t.Run(driver, func(t *testing.T) {
			n := newNode(t)
			n.driver = driver
			test(t, n)
		})
	}
}

// newNode prepares a node's folders on a tmpfs; nothing runs yet.
func newNode(t testing.TB) *node {
	t.Helper()
	if why := lacking(); why != "" {
		t.Skip(why)
	}
	root, err := os.MkdirTemp("/tmp", "trn")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	n := &node{root: root, prog: runtimetest.BuildProg(t)}
	t.Cleanup(func() {
		if err := containerd.Teardown(context.WithoutCancel(t.Context()), root); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			if b, err := os.ReadFile(root + "/containerd/containerd.log"); err == nil {
				t.Logf("containerd.log:\n%s", b[max(0, len(b)-8192):])
			}
		}
		if err := syscall.Unmount(root, 0); err != nil {
			t.Errorf("after Teardown: %v", err)
		}
		_ = os.Remove(root)
	})
	n.write(t, "cni/bin/testnet", nil)
	copyFile(t, n.prog, filepath.Join(root, "cni/bin/testnet"))
	n.write(t, "cni/conf/10-test.conflist", []byte(`{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"testnet"}]}`))
	n.write(t, "pause.tar", runtimetest.Archive(t, pauseImage, n.prog, "", "serve"))
	n.write(t, "test.tar", runtimetest.Archive(t, testImage, n.prog, "worker", "serve"))
	n.cfg = containerd.Config{
		Root: root, BinDir: bundle(), CNIBinDirs: []string{root + "/cni/bin"}, CNIConfDir: root + "/cni/conf",
		PauseImage: pauseImage, Images: []string{root + "/pause.tar", root + "/test.tar"},
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	return n
}

func (n *node) write(t testing.TB, name string, b []byte) {
	t.Helper()
	path := filepath.Join(n.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
}

// run starts containerd, waits for it, and returns what ends it.
func (n *node) run(t testing.TB) (stop func()) {
	t.Helper()
	c, err := containerd.New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	ready, readyCancel := context.WithTimeout(ctx, time.Minute)
	defer readyCancel()
	if err := c.WaitReady(ready); err != nil {
		stop()
		t.Fatal(err)
	}
	return stop
}

// dial returns the node's driver, which runs until the test ends.
func (n *node) dial(t testing.TB) runtime.Runtime {
	t.Helper()
	r, err := cri.New(cri.Config{Endpoint: n.root + "/containerd/containerd.sock", Log: n.cfg.Log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	n.quit = func() {}
	if n.driver != "native" {
		return r
	}
	own, stop := n.native(t, r)
	n.quit = sync.OnceFunc(stop)
	t.Cleanup(n.quit)
	return own
}

// native starts the driver of our own and returns what ends it.
func (n *node) native(t testing.TB, images *cri.Runtime) (r *native.Runtime, stop func()) {
	t.Helper()
	r, err := native.New(native.Config{
		Root: n.root, Images: images, Network: noNetwork{}, BinDir: bundle(), Runtime: os.Getenv("TRIREME_TEST_OCI"),
		PauseImage: pauseImage, Log: n.cfg.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	if err := r.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// noNetwork wires nothing.
type noNetwork struct{}

func (noNetwork) AddPod(context.Context, string, string, types.NamespacedName, types.UID) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
}
func (noNetwork) DelPod(context.Context, string) error                  { return nil }
func (noNetwork) Keep(context.Context, func(sandbox string) bool) error { return nil }
func (noNetwork) Ready(context.Context) error                           { return nil }

// waitAnswer waits until the driver answers after its containerd was replaced.
func waitAnswer(ctx context.Context, r runtime.Runtime) error {
	if r, ok := r.(*cri.Runtime); ok {
		return r.WaitAnswer(ctx)
	}
	return r.Check(ctx)
}

// pid returns a container's first process.
func (n *node) pid(t testing.TB, id string) int {
	t.Helper()
	if n.driver == "native" {
		s, err := shim.Read[shim.State](shim.DirOf(n.root).Container(id, shim.StateFile))
		if err != nil {
			t.Fatal(err)
		}
		return s.Pid
	}
	b, err := os.ReadFile(filepath.Join(n.root, "containerd/state/runc/k8s.io", id, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Pid int `json:"init_process_pid"`
	}
	if err := json.Unmarshal(b, &s); err != nil || s.Pid == 0 {
		t.Fatalf("state of %s: pid %d, %v", id, s.Pid, err)
	}
	return s.Pid
}

// below returns the processes that name the node's folder in their arguments.
func (n *node) below(t testing.TB) (lines []string) {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err == nil && (bytes.Contains(b, []byte(n.root+"/containerd")) || bytes.Contains(b, []byte(n.root+"/native"))) {
			lines = append(lines, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return lines
}

func (n *node) containerdPid(t testing.TB) int {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err == nil && bytes.HasPrefix(b, []byte(bundle()+"/containerd\x00")) && bytes.Contains(b, []byte(n.root)) {
			pid, err := strconv.Atoi(strings.Split(p, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("no containerd runs")
	return 0
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func itoa(n int) string { return strconv.Itoa(n) }

func cgroup() string { return "/" + os.Getenv("TRIREME_TEST_CGROUP") + "/pods" }

func TestConformance(t *testing.T) { eachDriver(t, testConformance) }

func testConformance(t *testing.T, n *node) {
	defer n.run(t)()
	archive := runtimetest.Archive(t, importedTo, n.prog, "worker", "print", "other")
	runtimetest.Run(t, runtimetest.Harness{
		Runtime:  n.dial(t),
		Image:    testImage,
		Archive:  func() io.Reader { return bytes.NewReader(archive) },
		Imported: importedTo,
		Address:  "192.0.2.7", // testnet's, and noNetwork's
		LogDir:   n.root + "/logs",
		ReadLog: func(t *testing.T, path string) string {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		},
		Kill: func(t *testing.T, id string) {
			if err := syscall.Kill(n.pid(t, id), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		Limits:       func(t *testing.T, id string) (int64, int64) { return limits(t, n.pid(t, id)) },
		CgroupParent: cgroup(),
	})
}

// limits reads from the kernel what limits a process: bytes of memory,
// microseconds of CPU time a period.
func limits(t *testing.T, pid int) (memory, quota int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) int64 {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			return -1 // "max"
		}
		return n
	}
	for line := range strings.Lines(strings.TrimSpace(string(b))) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case f[1] == "memory":
			memory = read("/sys/fs/cgroup/memory" + f[2] + "/memory.limit_in_bytes")
		case slices.Contains(strings.Split(f[1], ","), "cpu"):
			quota = read("/sys/fs/cgroup/cpu" + f[2] + "/cpu.cfs_quota_us")
		case f[0] == "0" && memory == 0: // version 2 alone
			if _, err := os.Stat("/sys/fs/cgroup" + f[2] + "/memory.max"); err == nil {
				return read("/sys/fs/cgroup" + f[2] + "/memory.max"), read("/sys/fs/cgroup" + f[2] + "/cpu.max")
			}
		}
	}
	return memory, quota
}

// pod is a sandbox with one container of the test program.
type pod struct {
	sandbox   string
	container string
	cfg       *runtime.SandboxConfig
}

func (n *node) pod(t testing.TB, r runtime.Runtime, name string, tune func(*runtime.SandboxConfig, *runtime.ContainerConfig), words ...string) pod {
	t.Helper()
	s := &runtime.SandboxConfig{
		Name: name, Namespace: "default", UID: types.UID("uid-" + name), Hostname: name,
		LogDir: n.root + "/logs/" + name, CgroupParent: cgroup(),
	}
	c := &runtime.ContainerConfig{
		Name: "main", Image: testImage, ImageRef: testImage, Command: append([]string{runtimetest.Prog}, words...),
		LogPath: "main.log", MaskedPaths: true,
	}
	if tune != nil {
		tune(s, c)
	}
	sid, err := r.RunSandbox(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	cid, err := r.CreateContainer(t.Context(), sid, s, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), cid); err != nil {
		t.Fatal(err)
	}
	return pod{sandbox: sid, container: cid, cfg: s}
}

func awaitExit(t testing.TB, r runtime.Runtime, id string) *runtime.Container {
	t.Helper()
	for _, err := range r.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.Container(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if c.State == runtime.Exited {
			return c
		}
	}
	t.Fatal("the events ended")
	return nil
}

// facts runs the program and returns what it saw.
func (n *node) facts(t *testing.T, r runtime.Runtime, name string, tune func(*runtime.SandboxConfig, *runtime.ContainerConfig)) string {
	t.Helper()
	p := n.pod(t, r, name, tune, "facts")
	awaitExit(t, r, p.container)
	b, err := os.ReadFile(n.root + "/logs/" + name + "/main.log")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestContainersGetWhatTheirPodSays(t *testing.T) {
	eachDriver(t, testContainersGetWhatTheirPodSays)
}

func testContainersGetWhatTheirPodSays(t *testing.T, n *node) {
	defer n.run(t)()
	r := n.dial(t)
	n.write(t, "volume/file", []byte("x"))

	strict := n.facts(t, r, "strict", func(s *runtime.SandboxConfig, c *runtime.ContainerConfig) {
		s.DNS = &runtime.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"default.svc.cluster.local"}, Options: []string{"ndots:5"}}
		s.Security = &corev1.PodSecurityContext{FSGroup: new(int64(3000))}
		c.RunAsUser, c.RunAsGroup, c.SupplementalGroups = new(int64(1234)), new(int64(2345)), []int64{4000}
		c.Env = []runtime.KeyValue{{Key: "FACT", Value: "given"}}
		c.WorkingDir = "/volume"
		c.Mounts = []runtime.Mount{{HostPath: n.root + "/volume", Path: "/volume", ReadOnly: true}}
		c.Security = &corev1.SecurityContext{
			ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
	})
	for _, want := range []string{
		"uid 1234 gid 2345 groups [2345 3000 4000]", "hostname strict", "dir /volume", "env given", "root readonly",
		"CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2", "search default.svc.cluster.local; nameserver 10.96.0.10; options ndots:5",
	} {
		if !strings.Contains(strict, want) {
			t.Errorf("strict: no %q in\n%s", want, strict)
		}
	}
	// The image's user, a name, applies where the pod says nothing.
	plain := n.facts(t, r, "plain", nil)
	for _, want := range []string{"uid 1000 gid 1000", "NoNewPrivs: 0", "Seccomp: 0"} {
		if !strings.Contains(plain, want) {
			t.Errorf("plain: no %q in\n%s", want, plain)
		}
	}
	privileged := n.facts(t, r, "privileged", func(s *runtime.SandboxConfig, c *runtime.ContainerConfig) {
		s.Privileged, s.HostNetwork, s.HostPID = true, true, true
		c.Security = &corev1.SecurityContext{Privileged: new(true)}
		c.RunAsUser = new(int64(0))
	})
	for _, want := range []string{"uid 0", "root writable", "CapEff: " + bounding(t), "Seccomp: 0"} {
		if !strings.Contains(privileged, want) {
			t.Errorf("privileged: no %q in\n%s", want, privileged)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(privileged, "hostname "+host) {
		t.Errorf("a pod in the node's network has another hostname:\n%s", privileged)
	}
}

// bounding is the most a process of this machine may have, in hexadecimal.
func bounding(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "CapBnd:")
	return strings.Fields(rest)[0]
}

func TestMemoryLimit(t *testing.T) { eachDriver(t, testMemoryLimit) }

func testMemoryLimit(t *testing.T, n *node) {
	defer n.run(t)()
	r := n.dial(t)
	p := n.pod(t, r, "eater", func(_ *runtime.SandboxConfig, c *runtime.ContainerConfig) {
		c.Resources = runtime.Resources{MemoryBytes: 32 << 20, CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, OOMScoreAdj: 900}
	}, "eat")
	if c := awaitExit(t, r, p.container); c.Reason != "OOMKilled" || c.ExitCode != 137 {
		t.Errorf("after eating all memory: %+v", c)
	}
}

func TestContainerdIsReplacedAndContainersStay(t *testing.T) {
	n := newNode(t)
	stop := n.run(t)
	r := n.dial(t)
	p := n.pod(t, r, "steady", nil, "serve")
	pid := n.pid(t, p.container)

	// Killed: the stream of events says so, and the next containerd finds all.
	killed, lost := false, false
	for _, err := range r.Events(t.Context()) {
		if err != nil {
			lost = kind.Is(err, kind.Unavailable)
			break
		}
		if !killed {
			killed = true
			if err := syscall.Kill(n.containerdPid(t), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !lost {
		t.Error("the end of containerd did not end the events with kind unavailable")
	}
	n.still(t, r, p, pid)

	// Ended and started by us.
	stop()
	if err := r.Check(t.Context()); !kind.Is(err, kind.Unavailable) {
		t.Errorf("without containerd: %v, want unavailable", err)
	}
	stop = n.run(t)
	n.still(t, r, p, pid)
	stop()

	// Left behind by a killed predecessor.
	left := exec.Command(bundle()+"/containerd", "--config", n.root+"/containerd/config.toml")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	stop = n.run(t)
	defer stop()
	if err := left.Wait(); err != nil {
		t.Logf("the predecessor ended: %v", err)
	}
	n.still(t, r, p, pid)
	if err := r.StopContainer(t.Context(), p.container, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if c := awaitExit(t, r, p.container); c.ExitCode != 0 {
		t.Errorf("stopped by a later containerd: %+v", c)
	}
}

// still checks that the pod runs as before, waiting for containerd first.
func (n *node) still(t *testing.T, r runtime.Runtime, p pod, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := waitAnswer(ctx, r); err != nil {
		t.Fatal(err)
	}
	all, err := r.List(ctx)
	if err != nil || len(all) != 1 || !all[0].Ready || len(all[0].Containers) != 1 || all[0].Containers[0].State != runtime.Running {
		t.Fatalf("listed %+v, %v; want the pod running", all, err)
	}
	if now := n.pid(t, p.container); now != pid {
		t.Errorf("process %d, was %d", now, pid)
	}
	if out, _, _, err := r.ExecSync(ctx, p.container, []string{runtimetest.Prog, "print", "here"}, time.Minute); err != nil || string(out) != "here\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
}

func TestTeardownLeavesNothing(t *testing.T) { eachDriver(t, testTeardownLeavesNothing) }

func testTeardownLeavesNothing(t *testing.T, n *node) {
	stop := n.run(t)
	r := n.dial(t)
	n.pod(t, r, "polite", nil, "serve")
	n.pod(t, r, "stubborn", func(s *runtime.SandboxConfig, _ *runtime.ContainerConfig) { s.ShareProcesses = true }, "stubborn")
	n.pod(t, r, "host", func(s *runtime.SandboxConfig, _ *runtime.ContainerConfig) { s.HostNetwork, s.HostPID = true, true }, "serve")
	n.quit()
	stop()                                                   // containerd is gone, as after the end of the agent
	shims := map[string]int{"cri": 3, "native": 1}[n.driver] // one a pod, or one for all
	if got := n.below(t); len(got) != shims {
		t.Fatalf("processes while pods run: %q, want %d shims", got, shims)
	}
	for range 2 {
		if err := containerd.Teardown(t.Context(), n.root); err != nil {
			t.Fatal(err)
		}
		n.clean(t)
	}

	// The next start finds the pods' records, not their processes.
	defer n.run(t)()
	r = n.dial(t)
	all, err := r.List(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("listed %+v, %v; want three sandboxes", all, err)
	}
	for _, s := range all {
		if s.Ready || slices.ContainsFunc(s.Containers, func(c runtime.Container) bool { return c.State == runtime.Running }) {
			t.Errorf("after Teardown: %+v", s)
		}
		if err := r.RemoveSandbox(t.Context(), s.ID); err != nil {
			t.Error(err)
		}
	}
	n.pod(t, r, "polite", nil, "serve") // and runs pods again
}

// clean checks that no process, mount or cgroup of the node is left.
func (n *node) clean(t *testing.T) {
	t.Helper()
	if got := n.below(t); len(got) > 0 {
		t.Errorf("processes are left: %q", got)
	}
	progs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range progs {
		if b, err := os.ReadFile(p); err == nil && bytes.HasPrefix(b, []byte(runtimetest.Prog+"\x00")) {
			t.Errorf("a container's process is left: %s: %q", p, b)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), n.root+"/") {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		if left, _ := filepath.Glob(pattern + "/" + os.Getenv("TRIREME_TEST_CGROUP")); len(left) > 0 {
			t.Errorf("cgroups are left: %v", left)
		}
	}
}

// TestTeardownInTheMiddle takes a node down while pods are being made.
func TestTeardownInTheMiddle(t *testing.T) {
	n := newNode(t)
	stop := n.run(t)
	r := n.dial(t)
	ran := make(chan string, 100)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for attempt := uint32(0); ; attempt++ { // until containerd is gone
				s := &runtime.SandboxConfig{
					Name: "pod-" + itoa(i), Namespace: "default", UID: types.UID("uid-" + itoa(i)), Attempt: attempt,
					LogDir: n.root + "/logs/" + itoa(i), CgroupParent: cgroup(),
				}
				sid, err := r.RunSandbox(t.Context(), s)
				if err != nil {
					return
				}
				cid, err := r.CreateContainer(t.Context(), sid, s, &runtime.ContainerConfig{
					Name: "main", Image: testImage, Command: []string{runtimetest.Prog, "serve"}, LogPath: "main.log",
				})
				if err != nil || r.StartContainer(t.Context(), cid) != nil {
					return
				}
				ran <- cid
			}
		})
	}
	for range 3 {
		<-ran
	}
	if err := syscall.Kill(n.containerdPid(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := containerd.Teardown(t.Context(), n.root); err != nil {
		t.Fatal(err)
	}
	n.clean(t)
	all.Wait()
}
