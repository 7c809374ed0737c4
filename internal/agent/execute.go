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
	nodev1 "k8s.io/api/node/v1"

	"trireme/internal/agent/assigned"
	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/config"
	"trireme/internal/agent/image"
	"trireme/internal/agent/machine"
	"trireme/internal/agent/podfiles"
	"trireme/internal/agent/volume"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/sandbox"
	"trireme/internal/runtime"
)

const reasonConfig = config.ReasonConfig

// hashAnnotation holds the image that a container was made from, as its spec
// named it: another one means another container.
const hashAnnotation = "trireme.dev/spec-image"

// prepare makes the pod's directories, control group and volumes.
func (w *worker) prepare(ctx context.Context) {
	w.o.Preparing = true
	pod := w.pod
	opCtx, cancel := context.WithCancel(ctx)
	w.starts["\x00prepare"] = cancel
	w.op(ctx, func() func() {
		defer cancel()
		volumes, err := w.a.prepare(opCtx, pod)
		going := err != nil && opCtx.Err() != nil
		return func() {
			w.o.Preparing = false
			if errors.As(err, &fetchError{}) {
				w.o.Failure = &machine.Failure{Reason: sandbox.ReasonFetch, Message: err.Error()}
				w.event(corev1.EventTypeWarning, sandbox.ReasonFetch, err.Error(), "")
				return
			}
			if going {
				return
			}
			if err != nil {
				w.log.Warn("preparing the pod", "err", err)
				w.event(corev1.EventTypeWarning, "FailedMount", err.Error(), "")
				w.o.PrepareRetry = w.o.PrepareRetry.Again(time.Now(), machine.RetryMax)
				return
			}
			w.volumes, w.o.Prepared, w.o.PrepareRetry = volumes, true, machine.Retry{}
			w.rewriteStale(ctx)
			w.expand(ctx) // what grew while the agent was away
		}
	})
}

// prepare is what must be there before a pod's sandbox.
func (a *Agent) prepare(ctx context.Context, pod *corev1.Pod) (map[string]volume.Volume, error) {
	if err := os.MkdirAll(a.logDir(pod), 0o755); err != nil {
		return nil, fmt.Errorf("making the log directory: %w", err)
	}
	if err := os.MkdirAll(a.volumes.PodDir(pod.UID), 0o750); err != nil {
		return nil, fmt.Errorf("making the pod's directory: %w", err)
	}
	if err := a.cgroups.Create(pod); err != nil {
		return nil, err
	}
	volumes, err := a.volumes.Setup(pod)
	if err != nil {
		return nil, err
	}
	if v, ok := volumes[sandbox.Volume]; ok {
		err = a.fetch(ctx, pod, v.Path)
	}
	return volumes, err
}

func (a *Agent) logDir(pod *corev1.Pod) string {
	return filepath.Join(a.cfg.Root, "logs", "pods", pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// sandboxConfig returns the sandbox of the attempt.
func (w *worker) sandboxConfig(attempt uint32) (*runtime.SandboxConfig, error) {
	in := config.SandboxInput{
		Pod: w.pod, Attempt: attempt, LogDir: w.a.logDir(w.pod), CgroupParent: w.a.cgroups.Parent(w.pod),
	}
	if c := w.pod.Spec.RuntimeClassName; c != nil && *c != "" {
		class, ok := assigned.Get[*nodev1.RuntimeClass](w.a.objects, "runtimeclasses", object.Key{Name: *c})
		if !ok {
			return nil, fmt.Errorf("runtimeclass.node.k8s.io %q not found", *c)
		}
		in.RuntimeHandler = class.Handler
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
	sb := &w.o.Sandbox
	sb.Busy = true
	old, attempt := sb.ID, sb.Attempt
	if sb.Made {
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
		if err := a.removeSandbox(ctx, old); err != nil {
			return "", err
		}
	}
	id, err := a.cfg.Runtime.RunSandbox(ctx, cfg)
	if err != nil {
		return "", err
	}
	if err := a.attached(ctx, cfg, id); err != nil {
		return "", errors.Join(err, a.removeSandbox(context.WithoutCancel(ctx), id))
	}
	return id, nil
}

func (w *worker) sandboxMade(cfg *runtime.SandboxConfig, id string, attempt uint32, err error) {
	sb := &w.o.Sandbox
	sb.Busy = false
	for _, c := range w.o.Containers {
		c.Lost(time.Now())
		if c.WaitReason == config.ReasonCreate { // for want of a sandbox, most likely
			c.NotBefore = time.Time{}
		}
	}
	w.o.Initialized = false
	if err != nil {
		sb.ID, sb.Ready = "", false
		if kind.Is(err, kind.Exists) { // an agent before this one made it and died: next
			sb.Attempt, sb.Made = attempt, true
		}
		if !errors.Is(err, context.Canceled) {
			w.log.Warn("making the sandbox", "err", err)
			w.event(corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error(), "")
		}
		sb.Retry = sb.Retry.Again(time.Now(), machine.RetryMax)
		return
	}
	*sb = machine.Sandbox{ID: id, Attempt: attempt, Made: true, Ready: true}
	w.sandbox, w.pod = cfg, w.a.addressed(w.pod)
}

// prefetch asks for the images that start first while the sandbox is made.
func (w *worker) prefetch(ctx context.Context, cfg *runtime.SandboxConfig) {
	for _, c := range machine.Wanted(w.pod, &w.o) {
		if c.Spec.ImagePullPolicy == corev1.PullAlways || time.Now().Before(c.NotBefore) {
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

func (w *worker) imageRequest(c *machine.Container, sandbox *runtime.SandboxConfig) image.Request {
	r := w.a.pull(w.pod, c.Spec.Image, c.Spec.ImagePullPolicy)
	r.Sandbox = sandbox
	return r
}

// start brings a container up: image, configuration, create, start.
func (w *worker) start(ctx context.Context, c *machine.Container) {
	c.Busy = true
	attempt := c.Attempt
	if c.Made || c.Ran {
		attempt++
	}
	opCtx, cancel := context.WithCancel(ctx)
	w.starts[c.Spec.Name] = cancel
	if c.Exited() && c.WaitReason == machine.ReasonCrashLoop {
		c.WaitReason, c.WaitMessage = "", ""
	}
	job := startJob{
		w: w, pod: w.pod, c: c.Spec, attempt: attempt, sandboxID: w.o.Sandbox.ID, sandbox: w.sandbox,
		volumes: w.volumes, image: w.imageRequest(c, w.sandbox), oldID: c.OldID,
	}
	if t := w.o.Containers[c.Target]; t != nil && t.Running() {
		job.targetID = t.Full.ID
	}
	job.target = c.Target
	job.image.Tell = w.teller(ctx, c.Spec.Name)
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
	cpus      string // that it was made with
	// target is the container whose processes this one sees, targetID the one of
	// that name that runs; empty: none.
	target, targetID string
}

// startResult is how a start went.
type startResult struct {
	made    bool
	full    runtime.Container
	attempt uint32
	limits  corev1.ResourceRequirements
	cpus    string
	health  *machine.Probes // of the image
	unread  error           // why these are not known
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
	res := startResult{made: true, attempt: j.attempt, limits: j.c.Resources, cpus: j.cpus, full: runtime.Container{
		ID: id, Name: j.c.Name, Attempt: j.attempt, State: runtime.Running, ImageID: img.ID, ImageRef: j.c.Image, Created: time.Now(),
	}}
	if err := rt.StartContainer(ctx, id); err != nil {
		res.err, res.reason = err, config.ReasonRun
		res.full.State, res.full.ExitCode, res.full.Reason = runtime.Exited, 128, "StartError"
		res.full.Message, res.full.Finished = err.Error(), time.Now()
		return res
	}
	res.full.Started = time.Now()
	res.health, res.unread = j.w.a.healths.Probes(ctx, j.pod, j.c.Name, img.ID)
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
	message, err := podfiles.MakeMessage(a.volumes.PodDir(pod.UID), j.c.Name, j.attempt)
	if err != nil {
		return "", err
	}
	hosts, err := podfiles.MakeHosts(a.volumes.PodDir(pod.UID), pod.Spec.HostNetwork, func(node []byte) []byte { return a.node().Hosts(pod, node) })
	if err != nil {
		return "", err
	}
	if err := a.volumes.Fill(pod, j.c, j.volumes); err != nil {
		return "", err
	}
	cfg, err := a.node().Container(config.ContainerInput{
		Pod: pod, Container: j.c, Attempt: j.attempt, Image: img, Objects: a.objects, Mount: j.mount, Device: j.device,
		HostsFile: hosts, MessageFile: message, LogPath: filepath.Join(j.c.Name, strconv.Itoa(int(j.attempt))+".log"),
		Resources: a.limits(pod, j.c), Annotations: map[string]string{hashAnnotation: j.c.Image},
	})
	if err != nil {
		return "", err
	}
	if err := j.use(ctx, cfg); err != nil {
		return "", err
	}
	if err := j.sandboxed(cfg); err != nil {
		return "", err
	}
	cfg.TargetID, j.cpus = j.targetID, cfg.Resources.CPUs
	return a.cfg.Runtime.CreateContainer(ctx, j.sandboxID, j.sandbox, cfg)
}

func (j *startJob) mount(i int, sub string) (string, bool, error) {
	m := &j.c.VolumeMounts[i]
	v, ok := j.volumes[m.Name]
	switch {
	case !ok:
		return "", false, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, j.c.Name)
	case v.Device:
		return "", false, fmt.Errorf("volume %s has volumeMode Block, but is specified in volumeMounts: name it in volumeDevices", m.Name)
	}
	if sub == "" {
		return v.Path, v.ReadOnly, nil
	}
	path, err := j.w.a.volumes.Mount(volume.SubPath{
		Pod: j.pod, Volume: m.Name, Base: v.Path, Container: j.c.Name, Index: i, Path: sub,
	})
	return path, v.ReadOnly, err
}

// device is where the i-th volume device of the container lies on the node.
func (j *startJob) device(i int) (string, bool, error) {
	name := j.c.VolumeDevices[i].Name
	v, ok := j.volumes[name]
	switch {
	case !ok:
		return "", false, fmt.Errorf("cannot find volume %q to pass into container %q", name, j.c.Name)
	case !v.Device:
		return "", false, fmt.Errorf("volume %s has volumeMode Filesystem, but is specified in volumeDevices: name it in volumeMounts", name)
	}
	return v.Path, v.ReadOnly, nil
}

// startDone takes over how a start went.
func (w *worker) startDone(c *machine.Container, res startResult) {
	c.Busy = false
	delete(w.starts, c.Spec.Name)
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
		c.Attempt, c.Ran = res.attempt, true // the name is taken: the next attempt has another
	}
	first := c.WaitReason != res.reason
	if c.WaitReason != machine.ReasonCrashLoop { // then its last state says why
		c.WaitReason, c.WaitMessage = res.reason, res.err.Error()
	}
	switch {
	case !res.after.IsZero() && res.reason == image.ReasonPull:
		c.NotBefore = time.Now().Add(time.Second) // then it says that it backs off
	case !res.after.IsZero():
		c.NotBefore = res.after
	case !res.made:
		c.NotBefore = time.Now().Add(w.a.cfg.BackOffMin)
	}
	if first || res.made {
		w.log.Warn("starting a container", "container", c.Spec.Name, "reason", res.reason, "err", res.err)
	}
	switch res.reason {
	case image.ReasonPull, image.ReasonNever, image.ReasonName:
	case image.ReasonBackOff:
		w.event(corev1.EventTypeWarning, "Failed", "Error: "+res.reason, c.Spec.Name)
	default:
		w.event(corev1.EventTypeWarning, "Failed", "Error: "+res.err.Error(), c.Spec.Name)
		w.a.relistSoon() // the sandbox may have died
	}
}

// startMade takes over a container that now exists.
func (w *worker) startMade(c *machine.Container, res startResult) {
	again := c.Made || c.Ran
	if c.Made {
		if c.Exited() {
			c.Previous = machine.Terminated(&c.Full)
		}
		if c.Current {
			c.OldID = c.Full.ID
		}
	}
	c.Made, c.Ran, c.Current, c.Attempt, c.Full, c.ImageRef = true, true, true, res.attempt, res.full, c.Spec.Image
	c.WaitReason, c.WaitMessage, c.Kill, c.PreStopped = "", "", nil, false
	if res.unread != nil {
		w.event(corev1.EventTypeWarning, "ImageHealthUnknown", "The container runs without its image's health check: "+res.unread.Error(), c.Spec.Name)
	}
	c.Image, c.Spec = res.health, res.health.Of(c.Spec)
	c.Hooked = c.Spec.Lifecycle == nil || c.Spec.Lifecycle.PostStart == nil
	c.Started = c.Spec.StartupProbe == nil
	c.Ready = c.Started && c.Spec.ReadinessProbe == nil
	if again && !c.Renew {
		c.Restarted(w.a.cfg.BackOffMin)
	}
	c.Renew, c.Limits, c.CPUs = false, res.limits, res.cpus
	w.event(corev1.EventTypeNormal, "Created", "Container created", c.Spec.Name)
	if c.Running() {
		w.event(corev1.EventTypeNormal, "Started", "Container started", c.Spec.Name)
		return
	}
	w.afterExit(c)
}
