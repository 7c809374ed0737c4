package agent

import (
	"context"
	"errors"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/cpus"
	"trireme/internal/agent/device"
	"trireme/internal/agent/host"
	"trireme/internal/runtime"
)

// openDevices reads who has which devices.
func (a *Agent) openDevices() (err error) {
	a.devices, err = device.Open(device.Config{
		Dir: a.cfg.DevicePlugins, Path: a.path("agent", "devices"), Log: a.cfg.Log,
		Changed: func() { a.refreshNode(a.runContext()) },
	})
	return err
}

// use adds to a container's configuration what it needs for its devices.
func (j *startJob) use(ctx context.Context, cfg *runtime.ContainerConfig) error {
	given, err := j.w.a.devices.Give(ctx, j.pod.UID, j.c)
	if err != nil {
		return err
	}
	cfg.Env, cfg.Mounts, cfg.Devices = append(cfg.Env, given.Env...), append(cfg.Mounts, given.Mounts...), append(cfg.Devices, given.Devices...)
	maps.Copy(cfg.Annotations, given.Annotations)
	return nil
}

// openCPUs reads who has which CPUs, where the node gives any.
func (a *Agent) openCPUs() (err error) {
	if !a.cfg.ExclusiveCPUs {
		return nil
	}
	reserved := a.cfg.Reserved[corev1.ResourceCPU]
	a.cpus, err = cpus.OpenNode(a.path("agent", "cpus"), int((reserved.MilliValue()+999)/1000))
	return err
}

// openSwap settles whether pods swap.
func (a *Agent) openSwap() (err error) {
	a.swap, err = a.cgroups.AllowSwap(a.cfg.LimitedSwap)
	return err
}

// limits returns what limits a container of the pod.
func (a *Agent) limits(pod *corev1.Pod, c *corev1.Container) runtime.Resources {
	swap := a.swap
	swap.Bytes = host.Swap().Capacity
	r := cgroup.Container(pod, c, cgroup.Node{MemoryBytes: a.memoryBytes, Swap: swap})
	r.CPUs = a.cpus.Of(pod.UID, c.Name)
	return r
}

// pin notes the CPUs that the pod's containers should run on.
func (w *worker) pin() {
	for name, c := range w.o.Containers {
		c.Pin = w.a.cpus.Of(w.uid, name)
	}
}

// releaseHardware gives the others what the pod had to itself.
func (a *Agent) releaseHardware(uid types.UID) {
	changed, err := a.cpus.Release(uid)
	if err := errors.Join(err, a.devices.Keep(func(other types.UID) bool { return other != uid })); err != nil {
		a.cfg.Log.Error("giving CPUs and devices back", "err", err)
	}
	if changed {
		a.repinSoon()
	}
}

// repinLoop has the workers bring their containers to the CPUs they should run on.
func (a *Agent) repinLoop(ctx context.Context) error {
	for {
		select {
		case <-a.repin:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, w := range a.allWorkers() {
			w.tell(ctx, func() {}) // a turn looks
		}
	}
}

// repinSoon has every worker look at its CPUs again, now.
func (a *Agent) repinSoon() {
	select {
	case a.repin <- struct{}{}:
	default:
	}
}
