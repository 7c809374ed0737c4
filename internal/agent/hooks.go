package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/machine"
	"trireme/internal/agent/probe"
)

// postStart runs the hook of a container that just started.
func (w *worker) postStart(ctx context.Context, c *machine.Container) {
	c.Busy = true
	opCtx, cancel := context.WithCancel(ctx)
	w.starts[c.Spec.Name] = cancel
	hook, target := c.Spec.Lifecycle.PostStart, w.target(c)
	w.op(ctx, func() func() {
		defer cancel()
		// The API gives postStart no limit: the container's end is the limit.
		err := probe.Hook(opCtx, hook, target, time.Now().Add(24*time.Hour))
		return func() {
			c.Busy = false
			delete(w.starts, c.Spec.Name)
			switch {
			case errors.Is(err, context.Canceled):
			case err != nil:
				w.event(corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: "+err.Error(), c.Spec.Name)
				c.Hooked = true
				c.Kill = &machine.KillOrder{Message: "FailedPostStartHook", Grace: machine.GraceOf(w.pod)}
			default:
				c.Hooked = true
			}
		}
	})
}

// target is what probes and hooks of a container talk to.
func (w *worker) target(c *machine.Container) probe.Target {
	t := probe.Target{IP: w.pod.Status.PodIP, Ports: map[string]int32{}}
	if t.IP == "" && w.pod.Spec.HostNetwork {
		t.IP = w.a.cfg.NodeIPs[0].String()
	}
	for _, p := range c.Spec.Ports {
		if p.Name != "" {
			t.Ports[p.Name] = p.ContainerPort
		}
	}
	id := c.Full.ID
	t.Exec = func(ctx context.Context, cmd []string, timeout time.Duration) (string, int, error) {
		stdout, stderr, code, err := w.a.cfg.Runtime.ExecSync(ctx, id, cmd, timeout)
		return string(stdout) + string(stderr), code, err
	}
	return t
}

// keepProbes starts the probes of containers that run and stops the others'.
func (w *worker) keepProbes(ctx context.Context) {
	for name, c := range w.o.Containers {
		cancel, on := w.probes[name]
		should := c.Running() && c.Hooked && c.Kill == nil && w.o.Terminating == nil && hasProbe(c.Spec)
		switch {
		case on && !should:
			cancel()
			delete(w.probes, name)
		case !on && should:
			probeCtx, cancel := context.WithCancel(ctx)
			w.probes[name] = cancel
			w.probe(probeCtx, c)
		}
	}
}

func hasProbe(c *corev1.Container) bool {
	return c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil
}

func (w *worker) stopProbes() {
	for _, cancel := range w.probes {
		cancel()
	}
}

// probe runs a container's probes: startup alone until it succeeds, then the
// other two.
func (w *worker) probe(ctx context.Context, c *machine.Container) {
	spec, id, since, target, started := c.Spec, c.Full.ID, c.Full.Started, w.target(c), c.Started
	run := func(kind string, p *corev1.Probe, apply func(probe.Outcome)) func(until probe.Result) {
		return func(until probe.Result) {
			probe.Run(ctx, p, target, since, func(out probe.Outcome) bool {
				ok := w.tell(ctx, func() {
					if c.Full.ID != id || !c.Running() {
						return // of a container before this one
					}
					if out.Result == probe.Failure {
						w.event(corev1.EventTypeWarning, "Unhealthy", kind+" probe failed: "+out.Message, spec.Name)
					}
					if out.Counts {
						apply(out)
					}
				})
				return ok && !(out.Counts && out.Result == until)
			})
		}
	}
	startup := run("Startup", spec.StartupProbe, func(out probe.Outcome) {
		w.answer(c, "startup", spec.StartupProbe, out)
	})
	liveness := run("Liveness", spec.LivenessProbe, func(out probe.Outcome) {
		w.answer(c, "liveness", spec.LivenessProbe, out)
	})
	readiness := run("Readiness", spec.ReadinessProbe, func(out probe.Outcome) { c.Ready = out.Result == probe.Success })
	w.ops.Go(func() {
		if spec.StartupProbe != nil && !started {
			startup(probe.Success) // ends on success, or when the container is killed for it
		}
		if ctx.Err() != nil {
			return
		}
		if spec.ReadinessProbe != nil {
			w.ops.Go(func() { readiness(probe.Unknown) })
		}
		if spec.LivenessProbe != nil {
			liveness(probe.Failure)
		}
	})
}

// answer takes over what a startup or liveness probe found.
func (w *worker) answer(c *machine.Container, kind string, p *corev1.Probe, out probe.Outcome) {
	if out.Result == probe.Success {
		if kind == "startup" && !c.Started {
			c.Started = true
			c.Ready = c.Spec.ReadinessProbe == nil
		}
		return
	}
	grace := machine.GraceOf(w.pod)
	if p.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
	}
	c.Kill = &machine.KillOrder{Message: fmt.Sprintf("Container %s failed %s probe, will be restarted", c.Spec.Name, kind), Grace: grace}
}
