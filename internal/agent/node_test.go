package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/machine"
	"trireme/internal/agent/volume"
	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/runtime"
	"trireme/internal/runtime/containerd"
	"trireme/internal/runtime/cri"
	"trireme/internal/runtime/runtimetest"
	"trireme/internal/wire"
)

// realNode is an agent on a containerd of its own: everything but the network
// and the manager is real.
type realNode struct {
	*rig
	rt      *cri.Runtime
	changed chan struct{} // something was reported
}

func (r *realNode) ReportPod(p wire.PodReport) {
	r.rig.ReportPod(p)
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// await waits until the pod's report fits.
func (r *realNode) await(t *testing.T, uid types.UID, fits func(wire.PodReport) bool) wire.PodReport {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		r.mu.Lock()
		p := r.reports[uid]
		r.mu.Unlock()
		if fits(p) {
			return p
		}
		select {
		case <-r.changed:
		case <-limit:
			t.Fatalf("waiting for pod %s: %+v", uid, p.Status)
		}
	}
}

const testImage = "docker.io/trireme/test:1"

func newRealNode(t *testing.T) *realNode {
	t.Helper()
	bin, err := filepath.Abs("../../build/bundle/bin")
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("TRIREME_BUNDLE"); dir != "" {
		bin = dir
	}
	if _, err := os.Stat(bin + "/containerd"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and the bundle: run make build")
	}
	root, err := os.MkdirTemp("/tmp", "tra")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		t.Skipf("mounts cannot be made here: %v", err)
	}
	t.Cleanup(func() {
		err := errors.Join(containerd.Teardown(context.WithoutCancel(t.Context()), root), volume.Teardown(root), cgroup.Teardown(root),
			syscall.Unmount(root, 0), os.Remove(root))
		if err != nil {
			t.Errorf("taking the node down: %v", err)
		}
	})
	rt := startContainerd(t, root, bin)
	r := &realNode{rig: &rig{t: t, root: root, reports: map[types.UID]wire.PodReport{}, phases: map[types.UID][]corev1.PodPhase{}}, rt: rt, changed: make(chan struct{}, 1)}
	a, err := New(Config{
		Node: "n1", Root: root, NodeIPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Runtime: rt, Network: r, ClusterDomain: "cluster.local",
		BackOffMin: time.Second, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		session: func(assign func(context.Context, bool, []wire.Item) error) session { r.assign = assign; return r },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.agent = a
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return r
}

func startContainerd(t *testing.T, root, bin string) *cri.Runtime {
	t.Helper()
	prog := runtimetest.BuildProg(t)
	write := func(name string, b []byte, mode os.FileMode) string {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b, err := os.ReadFile(prog)
	if err != nil {
		t.Fatal(err)
	}
	write("cni/bin/testnet", b, 0o755)
	write("cni/conf/10-test.conflist", []byte(`{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"testnet"}]}`), 0o644)
	const pause = "docker.io/trireme/pause:1"
	c, err := containerd.New(containerd.Config{
		Root: root, BinDir: bin, CNIBinDirs: []string{root + "/cni/bin"}, CNIConfDir: root + "/cni/conf", PauseImage: pause,
		Images: []string{
			write("pause.tar", runtimetest.Archive(t, pause, prog, "", "serve"), 0o644),
			write("test.tar", runtimetest.Archive(t, testImage, prog, "", "serve"), 0o644),
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("containerd: %v", err)
		}
	})
	ready, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	if err := c.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
	rt, err := cri.New(cri.Config{Endpoint: c.Endpoint(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close() })
	return rt
}

func (r *realNode) give(t *testing.T, full bool, items ...wire.Item) {
	t.Helper()
	if err := r.assign(t.Context(), full, items); err != nil {
		t.Fatal(err)
	}
}

func item(table string, o object.Key, obj any) wire.Item {
	it := wire.Item{Table: table, Key: o}
	switch obj := obj.(type) {
	case *corev1.Pod:
		it.Object = obj
	case *corev1.ConfigMap:
		it.Object = obj
	}
	return it
}

func running(p wire.PodReport) bool {
	return p.Status != nil && p.Status.Phase == corev1.PodRunning && p.Status.ContainerStatuses[0].State.Running != nil
}

func TestRealPod(t *testing.T) {
	r := newRealNode(t)
	r.awaitAgent(t)
	cm := &corev1.ConfigMap{Data: map[string]string{"f": "from a volume"}}
	cm.Name, cm.Namespace = "m", "ns"
	grace := int64(1)
	p := pod("real", func(p *corev1.Pod) {
		p.Spec.TerminationGracePeriodSeconds = &grace
		c := &p.Spec.Containers[0]
		c.Image, c.Command = testImage, []string{runtimetest.Prog, "serve"}
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
		c.Resources.Requests = c.Resources.Limits
		p.Spec.Volumes = []corev1.Volume{
			{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}}},
			{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory"}}},
		}
		c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}, {Name: "e", MountPath: "/e"}, {Name: "e", MountPath: "/sub", SubPath: "a/b"}}
	})
	r.give(t, true, item("configmaps", object.KeyOf(cm), cm), item("pods", object.KeyOf(p), p))
	st := r.await(t, p.UID, running).Status
	id := strings.TrimPrefix(st.ContainerStatuses[0].ContainerID, machine.RuntimeScheme)
	in := r.rootOf(t, p)
	if b, err := os.ReadFile(in + "/v/f"); err != nil || string(b) != "from a volume" {
		t.Errorf("the volume in the container: %q %v", b, err)
	}
	if b, err := os.ReadFile(in + "/etc/hosts"); err != nil || !strings.Contains(string(b), "10.128.0.5\treal") {
		t.Errorf("/etc/hosts: %q %v", b, err)
	}
	if err := os.WriteFile(in+"/sub/x", []byte("1"), 0o600); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(in + "/e/a/b/x"); err != nil || string(b) != "1" {
		t.Errorf("the sub path is not in its volume: %q %v", b, err)
	}
	if b := r.limitOf(t, p); b != "67108864" {
		t.Errorf("the pod's memory limit is %q", b)
	}

	// Killed from outside: restarted, at once the first time.
	if err := r.rt.StopContainer(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	again := r.await(t, p.UID, func(p wire.PodReport) bool { return running(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if l := again.Status.ContainerStatuses[0].LastTerminationState.Terminated; l == nil || l.ExitCode != 137 {
		t.Errorf("last state %+v", l)
	}

	r.give(t, false, item("pods", object.KeyOf(p), deleted(p, 1)))
	r.await(t, p.UID, func(p wire.PodReport) bool { return p.Gone })
	if list, err := r.rt.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("the runtime still has %v %v", list, err)
	}
	if left, err := filepath.Glob(r.root + "/pods/*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// groups are the directories of the pod's memory group and what is in it.
func (r *realNode) groups(t *testing.T, p *corev1.Pod) []string {
	t.Helper()
	var out []string
	for _, top := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		err := filepath.WalkDir(top+r.agent.cgroups.Parent(p), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) == 0 {
		t.Fatal("the pod has no memory group")
	}
	return out
}

func (r *realNode) limitOf(t *testing.T, p *corev1.Pod) string {
	t.Helper()
	for _, f := range []string{"memory.limit_in_bytes", "memory.max"} {
		if s := textIn(filepath.Join(r.groups(t, p)[0], f)); s != "" {
			return s
		}
	}
	return ""
}

func textIn(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// rootOf is the root directory of the pod's container, as the kernel shows it.
func (r *realNode) rootOf(t *testing.T, p *corev1.Pod) string {
	t.Helper()
	for _, dir := range r.groups(t, p) {
		for _, pid := range strings.Fields(textIn(dir + "/cgroup.procs")) {
			if _, err := os.Stat("/proc/" + pid + "/root/v"); err == nil {
				return "/proc/" + pid + "/root"
			}
		}
	}
	t.Fatal("no process in the pod's group has the volume")
	return ""
}

// awaitAgent waits until the agent takes assignments.
func (r *realNode) awaitAgent(t *testing.T) {
	t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		ready := r.node != nil
		r.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the agent does not come up")
		}
	}
}

// TestRealPodStartAgainstCRI prints what a pod's start costs beside the bare
// calls. It fails only where the agent is far off: it is no benchmark.
func TestRealPodStartAgainstCRI(t *testing.T) {
	r := newRealNode(t)
	r.awaitAgent(t)
	const rounds = 9
	var bare, ours []time.Duration
	for i := range rounds {
		bare = append(bare, r.bareStart(t, fmt.Sprintf("bare%d", i)))
		p := pod(fmt.Sprintf("p%d", i), func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = testImage, []string{runtimetest.Prog, "serve"}
		})
		began := time.Now()
		r.give(t, false, item("pods", object.KeyOf(p), p))
		r.await(t, p.UID, running)
		ours = append(ours, time.Since(began))
		r.give(t, false, item("pods", object.KeyOf(p), deleted(p, 0)))
		r.await(t, p.UID, func(p wire.PodReport) bool { return p.Gone })
	}
	slices.Sort(bare)
	slices.Sort(ours)
	t.Logf("p50 bare CRI %s, agent %s: %.2f", bare[rounds/2], ours[rounds/2], float64(ours[rounds/2])/float64(bare[rounds/2]))
	if ours[rounds/2] > 3*bare[rounds/2] {
		t.Error("a pod's start costs more than three times the bare calls")
	}
}

func (r *realNode) bareStart(t *testing.T, name string) time.Duration {
	t.Helper()
	ctx := t.Context()
	cfg := &runtime.SandboxConfig{Name: name, Namespace: "bare", UID: types.UID(name), Hostname: name, LogDir: r.root + "/logs/" + name, CgroupParent: "/" + filepath.Base(r.root)}
	defer func() {
		if err := cgroup.Teardown(r.root); err != nil {
			t.Error(err)
		}
	}()
	cfg.CgroupParent = r.agent.cgroups.Parent(pod(name))
	began := time.Now()
	sb, err := r.rt.RunSandbox(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	img, err := r.rt.Image(ctx, testImage)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.rt.CreateContainer(ctx, sb, cfg, &runtime.ContainerConfig{Name: "c", Image: img.ID, ImageRef: testImage, Command: []string{runtimetest.Prog, "serve"}, LogPath: "c.log", MaskedPaths: true})
	if err == nil {
		err = r.rt.StartContainer(ctx, id)
	}
	took := time.Since(began)
	if err := errors.Join(err, r.rt.StopSandbox(ctx, sb), r.rt.RemoveSandbox(ctx, sb)); err != nil {
		t.Fatal(err)
	}
	return took
}

// A node that is not to answer for ingresses says so; the others take it back.
func TestHelloIngress(t *testing.T) {
	for ingress, want := range map[bool]string{false: route.ClosedAll, true: ""} {
		a := &Agent{cfg: Config{Node: "n1", Network: &rig{}, Ingress: ingress}}
		if got := a.hello().Annotations[route.ClosedAnnotation]; got != want {
			t.Errorf("ingress %v: %s is %q, want %q", ingress, route.ClosedAnnotation, got, want)
		}
	}
}
