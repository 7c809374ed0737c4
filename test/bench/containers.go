package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/bundle"
	"trireme/internal/dataplane"
	"trireme/internal/runtime"
	"trireme/internal/runtime/cri"
	"trireme/internal/runtime/native"
	"trireme/test/cluster"
)

// containersAtOnce is how many containers are being started at any time.
const containersAtOnce = 16

// containers measures how many containers a second start, 16 at once, from an
// image that is here: through our own driver, through bare CRI calls to the same
// containerd, and by crun and runc alone. The first two make a pod each, with
// its network; the last two one container with namespaces of its own and a
// mounted overlay, without network set up in it. The variants take turns.
func containers(ctx context.Context, c *config) ([]line, error) {
	cl, err := cluster.New(ctx, cluster.Config{Hosts: 1, Binary: c.binary})
	if err != nil {
		return nil, err
	}
	h := cl.Hosts[0]
	self, err := os.Executable()
	if err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	arg, err := json.Marshal(baseline{Root: h.Root, Address: h.Address})
	if err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	cmd := h.Command(ctx, self, "containers", string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err = errors.Join(err, cl.Close()); err != nil {
		return nil, err
	}
	detail := map[string]any{}
	if err := json.Unmarshal(out, &detail); err != nil {
		return nil, err
	}
	ours, _ := detail["native_per_s"].(float64)
	bare, _ := detail["cri_per_s"].(float64)
	return []line{{"containers_per_s_vs_cri", ours / bare, "ratio", detail}}, nil
}

// The rounds of one variant: the first warms up.
const (
	containerRounds = 3
	perRound        = 32
)

// startContainers is the child: it measures all variants in turn and prints
// their medians.
func startContainers(arg string) error {
	var b baseline
	if err := json.Unmarshal([]byte(arg), &b); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
	defer cancel()
	s, err := newStarters(ctx, &b)
	if err != nil {
		return err
	}
	defer removeGroups()
	took := map[string][]time.Duration{}
	for round := range containerRounds + 1 {
		for _, v := range s.variants() {
			d, err := s.round(ctx, v)
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			if round > 0 {
				took[v.name] = append(took[v.name], d)
			}
		}
	}
	detail := map[string]any{"at_once": containersAtOnce, "containers": perRound, "rounds": containerRounds, "oci": s.native.OCI()}
	for name, all := range took {
		detail[name+"_per_s"] = perRound / median(all).Seconds()
	}
	return json.NewEncoder(os.Stdout).Encode(detail)
}

// removeGroups removes the control groups that the pods' own were in.
func removeGroups() {
	for _, pattern := range []string{"trireme-bench/*", "trireme-bench", "*/trireme-bench/*", "*/trireme-bench"} {
		left, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", pattern)) // the pattern is well formed
		for _, dir := range left {
			_ = syscall.Rmdir(dir) // files of a group are no directories; a group in use stays
		}
	}
}

// starters are what starts containers.
type starters struct {
	b      *baseline
	net    *dataplane.Dataplane
	cri    *cri.Runtime
	native *native.Runtime
	image  string
	config []byte   // of a container of ours: what crun and runc alone are given
	lower  []string // its layers
	dir    string
}

// variant is one way to start a container, and to take it away.
type variant struct {
	name  string
	start func(ctx context.Context, i int) (remove func() error, err error)
}

func newStarters(ctx context.Context, b *baseline) (*starters, error) {
	rt, net, err := b.runtime(ctx)
	if err != nil {
		return nil, err
	}
	s := &starters{b: b, net: net, cri: rt, dir: filepath.Join(b.Root, "alone")}
	img, err := rt.Image(ctx, webImage)
	if err != nil {
		return nil, err
	}
	s.image = img.ID
	files, err := bundle.Extract(ctx, filepath.Join(b.Root, "bundle"))
	if err != nil {
		return nil, err
	}
	cfg := native.Config{Root: b.Root, Images: rt, Network: net, BinDir: files.Bin, PauseImage: bundle.PauseImage, Log: quiet()}
	if s.native, err = native.New(cfg); err != nil {
		return nil, err
	}
	go s.native.Run(ctx)
	if err := s.native.WaitReady(ctx); err != nil {
		return nil, err
	}
	return s, s.sample(ctx, rt)
}

// sample keeps the configuration of one container of ours.
func (s *starters) sample(ctx context.Context, rt *cri.Runtime) error {
	t, err := rt.Template(ctx, s.image)
	if err != nil {
		return err
	}
	if s.lower, err = rt.Layers(ctx, t.Chain); err != nil {
		return err
	}
	pod := s.b.pod(0)
	if err := s.net.Apply(ctx, false, []dataplane.Change{{Object: pod}}); err != nil {
		return err
	}
	id, remove, err := s.pod(ctx, s.native, pod)
	if err != nil {
		return err
	}
	s.config, err = os.ReadFile(filepath.Join(s.b.Root, "native", "containers", id, "config.json"))
	return errors.Join(err, remove())
}

func (s *starters) variants() []variant {
	all := []variant{
		{"native", func(ctx context.Context, i int) (func() error, error) { return s.one(ctx, s.native, i) }},
		{"cri", func(ctx context.Context, i int) (func() error, error) { return s.one(ctx, s.cri, i) }},
		{"runc", func(ctx context.Context, i int) (func() error, error) {
			files, err := bundle.Extract(ctx, filepath.Join(s.b.Root, "bundle"))
			if err != nil {
				return nil, err
			}
			return s.alone(ctx, filepath.Join(files.Bin, "runc"), i)
		}},
	}
	if crun, err := exec.LookPath("crun"); err == nil {
		all = append(all, variant{"crun", func(ctx context.Context, i int) (func() error, error) { return s.alone(ctx, crun, i) }})
	} else {
		fmt.Fprintln(os.Stderr, "crun is not measured, and native uses runc: apt-get install crun")
	}
	return all
}

// round starts perRound containers and returns how long that took; then it
// takes them away.
func (s *starters) round(ctx context.Context, v variant) (time.Duration, error) {
	var changes []dataplane.Change
	for i := range perRound {
		changes = append(changes, dataplane.Change{Object: s.b.pod(i)})
	}
	if err := s.net.Apply(ctx, false, changes); err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var removes []func() error
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(containersAtOnce)
	begun := time.Now()
	for i := range perRound {
		g.Go(func() error {
			remove, err := v.start(inner, i)
			mu.Lock()
			defer mu.Unlock()
			if remove != nil {
				removes = append(removes, remove)
			}
			return err
		})
	}
	err := g.Wait()
	took := time.Since(begun)
	var away errgroup.Group
	away.SetLimit(containersAtOnce)
	for _, remove := range removes {
		away.Go(remove)
	}
	return took, errors.Join(err, away.Wait())
}

func (s *starters) one(ctx context.Context, rt runtime.Runtime, i int) (func() error, error) {
	_, remove, err := s.pod(ctx, rt, s.b.pod(i))
	return remove, err
}

// pod runs a pod of one container.
func (s *starters) pod(ctx context.Context, rt runtime.Runtime, pod *corev1.Pod) (id string, remove func() error, err error) {
	logs := filepath.Join(s.b.Root, "logs", pod.Name)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return "", nil, err
	}
	sandbox := &runtime.SandboxConfig{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, LogDir: logs, Hostname: pod.Name, CgroupParent: "/trireme-bench/" + pod.Name}
	sid, err := rt.RunSandbox(ctx, sandbox)
	if err != nil {
		return "", nil, err
	}
	remove = func() error {
		return errors.Join(rt.StopSandbox(context.WithoutCancel(ctx), sid), rt.RemoveSandbox(context.WithoutCancel(ctx), sid))
	}
	id, err = rt.CreateContainer(ctx, sid, sandbox, &runtime.ContainerConfig{Name: "web", Image: s.image, ImageRef: webImage, LogPath: "0.log", MaskedPaths: true})
	if err != nil {
		return "", remove, err
	}
	return id, remove, rt.StartContainer(ctx, id)
}

// alone starts a container by the OCI runtime's own command.
func (s *starters) alone(ctx context.Context, binary string, i int) (func() error, error) {
	id := filepath.Base(binary) + strconv.Itoa(i)
	dir, state := filepath.Join(s.dir, id), filepath.Join(s.dir, "state")
	for _, d := range []string{"rootfs", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := s.bundle(dir, id); err != nil {
		return nil, err
	}
	run := func(args ...string) error {
		cmd := exec.Command(binary, append([]string{"--root", state}, args...)...)
		if filepath.Base(binary) == "crun" {
			cmd = withoutUnified(cmd)
		}
		// Files, not pipes: the container keeps them, and nobody waits for their end.
		log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s: %w: %s", args[0], err, text)
		}
		return nil
	}
	remove := func() error {
		return errors.Join(run("delete", "--force", id), syscall.Unmount(filepath.Join(dir, "rootfs"), syscall.MNT_DETACH), os.RemoveAll(dir))
	}
	return remove, run("run", "--detach", "--bundle", dir, id)
}

// bundle writes an OCI bundle like the sample's, with namespaces of its own.
func (s *starters) bundle(dir, id string) error {
	var spec specs.Spec
	if err := json.Unmarshal(s.config, &spec); err != nil {
		return err
	}
	for i := range spec.Linux.Namespaces {
		spec.Linux.Namespaces[i].Path = ""
	}
	var mounts []specs.Mount
	for _, m := range spec.Mounts {
		if m.Type != "bind" {
			mounts = append(mounts, m)
		}
	}
	spec.Mounts = append(mounts, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}})
	spec.Root.Path = filepath.Join(dir, "rootfs")
	spec.Linux.CgroupsPath = "/trireme-bench/" + id
	options := "lowerdir=" + s.lower[0]
	for _, l := range s.lower[1:] {
		options += ":" + l
	}
	options += ",upperdir=" + filepath.Join(dir, "upper") + ",workdir=" + filepath.Join(dir, "work")
	if err := syscall.Mount("overlay", spec.Root.Path, "overlay", 0, options); err != nil {
		return &fs.PathError{Op: "mount", Path: spec.Root.Path, Err: err}
	}
	b, err := json.Marshal(&spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)
}

// withoutUnified hides the unused hierarchy of version 2 that crun refuses
// beside version 1: internal/runtime/shim does the same.
func withoutUnified(cmd *exec.Cmd) *exec.Cmd {
	b, err := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
	if err != nil || len(b) <= 1 {
		return cmd
	}
	script := `mount --make-private /sys/fs/cgroup && umount -l /sys/fs/cgroup/unified && exec "$@"`
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "unchanged", "sh", "-c", script, "sh"}, cmd.Args...)...)
}
