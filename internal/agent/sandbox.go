package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/sys/unix"

	"trireme/internal/agent/mesos/fetch"
	"trireme/internal/agent/mesos/workdir"
	"trireme/internal/object/sandbox"
	"trireme/internal/runtime"
)

// openSandboxes makes who keeps the sandboxes of Mesos' tasks, and fetches into them.
func (a *Agent) openSandboxes() error {
	a.sandboxes = workdir.New(workdir.Config{
		Dir: a.path("mesos"), Has: func(uid types.UID) bool { return a.worker(uid) != nil || a.objects.Pod(uid) }, Free: a.diskFree, Log: a.cfg.Log,
	})
	a.fetcher = fetch.New(a.path("mesos", "fetch"), fetch.Limits{})
	return a.fetcher.Prepare()
}

// diskFree returns how much of the disk that sandboxes lie on is free, 0 to 1.
func (a *Agent) diskFree() (float64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(a.cfg.Root, &st); err != nil || st.Blocks == 0 {
		return 0, err
	}
	return float64(st.Bavail) / float64(st.Blocks), nil
}

// emptyDir returns where an emptyDir volume of the pod lies.
func (a *Agent) emptyDir(pod *corev1.Pod, name string) string {
	if name == sandbox.Volume {
		if dir, ok, err := a.sandboxes.Dir(pod); ok && err == nil {
			return dir
		}
	}
	return a.volumes.EmptyDir(pod.UID, name)
}

// fetchError is why nothing of a pod will run.
type fetchError struct{ error }

// fetch brings what the pod asks for into its sandbox, once in its life.
func (a *Agent) fetch(ctx context.Context, pod *corev1.Pod, dir string) error {
	uris, err := sandbox.URIsOf(pod)
	if err != nil {
		return fetchError{err}
	}
	done := filepath.Join(a.volumes.PodDir(pod.UID), "fetched")
	if _, err := os.Stat(done); err == nil || len(uris) == 0 {
		return nil
	}
	for i := range uris {
		if err := a.fetchOne(ctx, pod, dir, uris[i]); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return fetchError{err}
		}
	}
	return os.WriteFile(done, nil, 0o600)
}

func (a *Agent) fetchOne(ctx context.Context, pod *corev1.Pod, dir string, u sandbox.URI) error {
	at := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		_, mounts := sandbox.DirOf(&c)
		return mounts && (u.Container == "" || u.Container == c.Name)
	})
	if at < 0 {
		return fmt.Errorf("fetching %s: no container %q has the sandbox", u.Value, u.Container)
	}
	c := &pod.Spec.Containers[at]
	if sub, _ := sandbox.DirOf(c); u.Container != "" && sub != "" {
		if err := workdir.MakeSubDir(dir, sub); err != nil {
			return err
		}
		dir = filepath.Join(dir, sub)
	}
	return a.fetcher.Fetch(ctx, fetch.Request{
		Dir: dir, URIs: []sandbox.URI{u}, Loopback: pod.Spec.HostNetwork,
		Node: func(path string) (*os.File, error) { return fetch.OpenFor(pod, c, path) },
	})
}

// sandboxed tells the container where its sandbox is. One on the node's root file system
// sees the node's mounts as they come and go, where the node's root lets it.
func (j *startJob) sandboxed(cfg *runtime.ContainerConfig) error {
	sub, ok := sandbox.DirOf(j.c)
	v, has := j.volumes[sandbox.Volume]
	if !ok || !has {
		return nil
	}
	place, _, err := sandbox.PlaceOf(j.pod)
	if err != nil {
		return err
	}
	dir := filepath.Join(v.Path, sub)
	inside := dir
	for _, m := range j.c.VolumeMounts {
		if m.Name == sandbox.Volume && !sandbox.OnHost(j.pod, j.c) {
			inside = m.MountPath
		}
	}
	setEnv(cfg, sandbox.PathVariable, inside)
	setEnv(cfg, sandbox.DirectoryVariable, dir)
	if place.Agent != "" {
		setEnv(cfg, "MESOS_SLAVE_ID", place.Agent)
	}
	for i := range cfg.Mounts {
		if m := &cfg.Mounts[i]; m.HostPath == "/" && m.Propagation == "" && sandbox.OnHost(j.pod, j.c) && workdir.RootShared() {
			m.Propagation = corev1.MountPropagationHostToContainer
		}
	}
	return j.executorEnv(cfg)
}

func setEnv(cfg *runtime.ContainerConfig, name, value string) {
	cfg.Env = slices.DeleteFunc(cfg.Env, func(e runtime.KeyValue) bool { return e.Key == name })
	cfg.Env = append(cfg.Env, runtime.KeyValue{Key: name, Value: value})
}

// followOutputs has what the pod's containers write in their sandboxes too.
func (w *worker) followOutputs(ctx context.Context) {
	dir, ok, err := w.a.sandboxes.Dir(w.pod)
	if !ok || err != nil {
		return
	}
	for name, c := range w.o.Containers {
		sub, mounts := sandbox.DirOf(c.Spec)
		if !mounts || !c.Made || c.Busy {
			continue
		}
		id := c.Full.ID
		w.a.sandboxes.Follow(ctx, workdir.Output{
			Pod: w.uid, ID: id, Sandbox: dir, Dir: sub, Log: filepath.Join(w.a.logDir(w.pod), name, strconv.Itoa(int(c.Attempt))+".log"),
			Running: func() bool { return w.runs(name, id) },
		})
	}
}

// runs reports whether the container still runs, as far as is known.
func (w *worker) runs(name, id string) bool {
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	c, ok := w.shown.containers[name]
	return ok && c.id == id && c.running
}

// leaveSandbox keeps the sandbox of a pod that goes, with the last words of its containers.
func (a *Agent) leaveSandbox(pod *corev1.Pod) {
	if err := a.sandboxes.Left(pod); err != nil {
		a.cfg.Log.Warn("leaving a sandbox", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}
