package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/config"
	"trireme/internal/agent/image"
	"trireme/internal/agent/volume"
	"trireme/internal/kind"
	"trireme/internal/runtime"
)

const reasonConfig = config.ReasonConfig

// hashAnnotation holds the image that a container was made from, as its spec
// named it: another one means another container.
const hashAnnotation = "trireme.dev/spec-image"

// prepare makes the pod's directories, control group and volumes.
func (w *worker) prepare(ctx context.Context) {
	w.o.preparing = true
	pod := w.pod
	w.op(ctx, func() func() {
		volumes, err := w.a.prepare(pod)
		return func() {
			w.o.preparing = false
			if err != nil {
				w.log.Warn("preparing the pod", "err", err)
				w.event(corev1.EventTypeWarning, "FailedMount", err.Error(), "")
				w.o.prepareRetry = w.o.prepareRetry.again(time.Now(), retryMax)
				return
			}
			w.volumes, w.o.prepared, w.o.prepareRetry = volumes, true, retry{}
		}
	})
}

// prepare is what must be there before a pod's sandbox.
func (a *Agent) prepare(pod *corev1.Pod) (map[string]volume.Volume, error) {
	if err := os.MkdirAll(a.logDir(pod), 0o755); err != nil {
		return nil, fmt.Errorf("making the log directory: %w", err)
	}
	if err := os.MkdirAll(a.volumes.PodDir(pod.UID), 0o750); err != nil {
		return nil, fmt.Errorf("making the pod's directory: %w", err)
	}
	if err := a.cgroups.Create(pod); err != nil {
		return nil, err
	}
	return a.volumes.Setup(pod)
}

func (a *Agent) logDir(pod *corev1.Pod) string {
	return filepath.Join(a.cfg.Root, "logs", "pods", pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// sandboxConfig returns the sandbox of the attempt.
func (w *worker) sandboxConfig(attempt uint32) (*runtime.SandboxConfig, error) {
	in := config.SandboxInput{
		Pod: w.pod, Attempt: attempt, LogDir: w.a.logDir(w.pod), CgroupParent: w.a.cgroups.Parent(w.pod),
	}
	if c := w.pod.Spec.RuntimeClassName; c != nil {
		in.RuntimeHandler = *c
	}
	cfg, err := w.a.node().Sandbox(in)
	if err != nil {
		return nil, err
	}
	cfg.Resources = cgroup.Pod(w.pod)
	return cfg, nil
}

// makeSandbox makes the pod's sandbox, the old one taken away first, and looks
// for the first images meanwhile.
func (w *worker) makeSandbox(ctx context.Context) {
	sb := &w.o.sandbox
	sb.busy = true
	old, attempt := sb.id, sb.attempt
	if sb.made {
		attempt++
	}
	if old != "" {
		w.event(corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", "")
	}
	opCtx, cancel := context.WithCancel(ctx)
	w.starts["\x00sandbox"] = cancel
	cfg, err := w.sandboxConfig(attempt)
	if err == nil {
		w.prefetch(opCtx, cfg)
	}
	w.op(ctx, func() func() {
		defer cancel()
		var id string
		if err == nil {
			id, err = w.a.runSandbox(opCtx, cfg, old)
		}
		if err != nil && opCtx.Err() != nil {
			err = opCtx.Err()
		}
		return func() { w.sandboxMade(cfg, id, attempt, err) }
	})
}

func (a *Agent) runSandbox(ctx context.Context, cfg *runtime.SandboxConfig, old string) (string, error) {
	release, err := a.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if old != "" {
		if err := a.cfg.Runtime.StopSandbox(ctx, old); err != nil {
			return "", err
		}
		if err := a.cfg.Runtime.RemoveSandbox(ctx, old); err != nil {
			return "", err
		}
	}
	return a.cfg.Runtime.RunSandbox(ctx, cfg)
}

func (w *worker) sandboxMade(cfg *runtime.SandboxConfig, id string, attempt uint32, err error) {
	sb := &w.o.sandbox
	sb.busy = false
	for _, c := range w.o.containers {
		c.lost(time.Now())
		if c.waitReason == config.ReasonCreate { // for want of a sandbox, most likely
			c.notBefore = time.Time{}
		}
	}
	w.o.initialized = false
	if err != nil {
		sb.id, sb.ready = "", false
		if kind.Is(err, kind.Exists) { // an agent before this one made it and died: next
			sb.attempt, sb.made = attempt, true
		}
		if !errors.Is(err, context.Canceled) {
			w.log.Warn("making the sandbox", "err", err)
			w.event(corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error(), "")
		}
		sb.retry = sb.retry.again(time.Now(), retryMax)
		return
	}
	*sb = sandboxState{id: id, attempt: attempt, made: true, ready: true}
	w.sandbox = cfg
}

// lost notes that the container's sandbox is not there any more.
func (c *containerState) lost(now time.Time) {
	c.current, c.oldID = false, ""
	if c.made && c.full.State != runtime.Exited {
		c.full.State, c.full.ExitCode, c.full.Reason, c.full.Finished = runtime.Exited, 137, "ContainerStatusUnknown", now
		c.full.Message = "The container could not be located when the pod was terminated"
		c.crashed()
	}
}

// prefetch asks for the images that start first while the sandbox is made.
func (w *worker) prefetch(ctx context.Context, cfg *runtime.SandboxConfig) {
	for _, c := range wanted(w.pod, &w.o) {
		if c.spec.ImagePullPolicy == corev1.PullAlways || time.Now().Before(c.notBefore) {
			continue // start asks again anyway
		}
		r := w.imageRequest(c, cfg)
		r.Policy = corev1.PullNever // only a look: start pulls, and says so
		w.ops.Go(func() {
			if _, err := w.a.images.Ensure(ctx, r); err != nil {
				return // start asks again, and reports
			}
		})
	}
}

func (w *worker) imageRequest(c *containerState, sandbox *runtime.SandboxConfig) image.Request {
	return image.Request{
		Ref: c.spec.Image, Policy: c.spec.ImagePullPolicy, Sandbox: sandbox,
		Credentials: w.a.credentials(w.pod, c.spec.Image),
	}
}

// start brings a container up: image, configuration, create, start.
func (w *worker) start(ctx context.Context, c *containerState) {
	c.busy = true
	attempt := c.attempt
	if c.made || c.ran {
		attempt++
	}
	opCtx, cancel := context.WithCancel(ctx)
	w.starts[c.spec.Name] = cancel
	if c.exited() && c.waitReason == reasonCrashLoop {
		c.waitReason, c.waitMessage = "", ""
	}
	job := startJob{
		w: w, pod: w.pod, c: c.spec, attempt: attempt, sandboxID: w.o.sandbox.id, sandbox: w.sandbox,
		volumes: w.volumes, image: w.imageRequest(c, w.sandbox), oldID: c.oldID,
	}
	if t := w.o.containers[c.target]; t != nil && t.running() {
		job.targetID = t.full.ID
	}
	job.target = c.target
	job.image.Tell = w.teller(ctx, c.spec.Name)
	w.op(ctx, func() func() {
		defer cancel()
		res := job.run(opCtx)
		if res.err != nil && opCtx.Err() != nil {
			res.err = opCtx.Err() // however the runtime words it
		}
		return func() { w.startDone(c, res) }
	})
}

// startJob is all that starting a container needs: the worker's state is not
// touched from beside.
type startJob struct {
	w         *worker
	pod       *corev1.Pod
	c         *corev1.Container
	attempt   uint32
	sandboxID string
	sandbox   *runtime.SandboxConfig
	volumes   map[string]volume.Volume
	image     image.Request
	oldID     string
	// target is the container whose processes this one sees, targetID the one of
	// that name that runs; empty: none.
	target, targetID string
}

// startResult is how a start went.
type startResult struct {
	made    bool
	full    runtime.Container
	attempt uint32
	err     error
	reason  string // the waiting reason of err
	after   time.Time
}

func (j *startJob) run(ctx context.Context) startResult {
	img, err := j.w.a.images.Ensure(ctx, j.image)
	if err != nil {
		res := startResult{err: err, reason: image.ReasonPull}
		var e *image.Error
		if errors.As(err, &e) {
			res.reason, res.after = e.Reason, e.NotBefore
		}
		return res
	}
	release, err := j.w.a.slot(ctx)
	if err != nil {
		return startResult{err: err}
	}
	defer release()
	id, err := j.create(ctx, img)
	if err != nil {
		res := startResult{err: err, reason: config.ReasonCreate}
		var e *config.Error
		switch {
		case errors.As(err, &e):
			res.reason = e.Reason
		case kind.Is(err, kind.NotFound):
			j.w.a.images.Forget(j.c.Image)
		case kind.Is(err, kind.Exists):
			res.attempt = j.attempt
		}
		return res
	}
	return j.startMade(ctx, id, img)
}

func (j *startJob) startMade(ctx context.Context, id string, img *runtime.Image) startResult {
	rt := j.w.a.cfg.Runtime
	res := startResult{made: true, attempt: j.attempt, full: runtime.Container{
		ID: id, Name: j.c.Name, Attempt: j.attempt, State: runtime.Running, ImageID: img.ID, ImageRef: j.c.Image, Created: time.Now(),
	}}
	if err := rt.StartContainer(ctx, id); err != nil {
		res.err, res.reason = err, config.ReasonRun
		res.full.State, res.full.ExitCode, res.full.Reason = runtime.Exited, 128, "StartError"
		res.full.Message, res.full.Finished = err.Error(), time.Now()
		return res
	}
	res.full.Started = time.Now()
	if j.oldID != "" {
		if err := rt.RemoveContainer(ctx, j.oldID); err != nil {
			j.w.log.Warn("removing an old container", "container", j.c.Name, "err", err)
		}
	}
	return res
}

func (j *startJob) create(ctx context.Context, img *runtime.Image) (string, error) {
	a, pod := j.w.a, j.pod
	if j.target != "" && j.targetID == "" {
		return "", &config.Error{Reason: reasonConfig, Err: fmt.Errorf("unable to find target container %q: it does not run", j.target)}
	}
	if err := os.MkdirAll(filepath.Join(a.logDir(pod), j.c.Name), 0o755); err != nil {
		return "", err
	}
	message, err := a.messageFile(pod, j.c.Name, j.attempt)
	if err != nil {
		return "", err
	}
	hosts, err := a.hostsFile(pod)
	if err != nil {
		return "", err
	}
	cfg, err := a.node().Container(config.ContainerInput{
		Pod: pod, Container: j.c, Attempt: j.attempt, Image: img, Objects: a.objects, Mount: j.mount,
		HostsFile: hosts, MessageFile: message, LogPath: filepath.Join(j.c.Name, strconv.Itoa(int(j.attempt))+".log"),
		Resources: cgroup.Container(pod, j.c, a.memoryBytes), Annotations: map[string]string{hashAnnotation: j.c.Image},
	})
	if err != nil {
		return "", err
	}
	cfg.TargetID = j.targetID
	return a.cfg.Runtime.CreateContainer(ctx, j.sandboxID, j.sandbox, cfg)
}

func (j *startJob) mount(i int, sub string) (string, bool, error) {
	m := &j.c.VolumeMounts[i]
	v, ok := j.volumes[m.Name]
	if !ok {
		return "", false, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, j.c.Name)
	}
	if sub == "" {
		return v.Path, v.ReadOnly, nil
	}
	path, err := j.w.a.volumes.Mount(volume.SubPath{
		Pod: j.pod, Volume: m.Name, Base: v.Path, Container: j.c.Name, Index: i, Path: sub,
	})
	return path, v.ReadOnly, err
}

// startDone takes over how a start went.
func (w *worker) startDone(c *containerState, res startResult) {
	c.busy = false
	delete(w.starts, c.spec.Name)
	if res.made {
		w.startMade(c, res)
	}
	if res.err == nil {
		return
	}
	if errors.Is(res.err, context.Canceled) {
		return
	}
	if !res.made && res.attempt > 0 {
		c.attempt, c.ran = res.attempt, true // the name is taken: the next attempt has another
	}
	first := c.waitReason != res.reason
	if c.waitReason != reasonCrashLoop { // then its last state says why
		c.waitReason, c.waitMessage = res.reason, res.err.Error()
	}
	switch {
	case !res.after.IsZero() && res.reason == image.ReasonPull:
		c.notBefore = time.Now().Add(time.Second) // then it says that it backs off
	case !res.after.IsZero():
		c.notBefore = res.after
	case !res.made:
		c.notBefore = time.Now().Add(w.a.cfg.BackOffMin)
	}
	if first || res.made {
		w.log.Warn("starting a container", "container", c.spec.Name, "reason", res.reason, "err", res.err)
	}
	switch res.reason {
	case image.ReasonPull, image.ReasonNever, image.ReasonName:
	case image.ReasonBackOff:
		w.event(corev1.EventTypeWarning, "Failed", "Error: "+res.reason, c.spec.Name)
	default:
		w.event(corev1.EventTypeWarning, "Failed", "Error: "+res.err.Error(), c.spec.Name)
		w.a.relistSoon() // the sandbox may have died
	}
}

// startMade takes over a container that now exists.
func (w *worker) startMade(c *containerState, res startResult) {
	again := c.made || c.ran
	if c.made {
		if c.exited() {
			c.previous = terminated(&c.full)
		}
		if c.current {
			c.oldID = c.full.ID
		}
	}
	c.made, c.ran, c.current, c.attempt, c.full, c.imageRef = true, true, true, res.attempt, res.full, c.spec.Image
	c.waitReason, c.waitMessage, c.kill, c.preStopped = "", "", nil, false
	c.hooked = c.spec.Lifecycle == nil || c.spec.Lifecycle.PostStart == nil
	c.started = c.spec.StartupProbe == nil
	c.ready = c.started && c.spec.ReadinessProbe == nil
	if again {
		c.restarted(w.a.cfg.BackOffMin)
	}
	w.event(corev1.EventTypeNormal, "Created", "Container created", c.spec.Name)
	if c.running() {
		w.event(corev1.EventTypeNormal, "Started", "Container started", c.spec.Name)
		return
	}
	w.afterExit(c)
}
