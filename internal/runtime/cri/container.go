package cri

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// CreateContainer makes a container in a running sandbox.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, sandbox *runtime.SandboxConfig, cfg *runtime.ContainerConfig) (string, error) {
	if err := unable(cfg); err != nil {
		return "", &kind.Error{Kind: kind.Invalid, Op: "creating container", Object: sandbox.Namespace + "/" + sandbox.Name, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	res, err := r.calls.CreateContainer(ctx, &criv1.CreateContainerRequest{
		PodSandboxId:  sandboxID,
		SandboxConfig: r.sandboxConfig(sandbox),
		Config:        r.containerConfig(sandbox, cfg),
	})
	if err != nil {
		return "", classify(err, "creating container", sandbox.Namespace+"/"+sandbox.Name+"/"+cfg.Name)
	}
	return res.ContainerId, nil
}

// StartContainer starts a created container; one that runs is left alone.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	slow, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	_, err := r.calls.StartContainer(slow, &criv1.StartContainerRequest{ContainerId: id})
	if err == nil {
		return nil
	}
	if c, statusErr := r.Container(ctx, id); statusErr == nil && c.State == runtime.Running {
		return nil
	}
	return classify(err, "starting container", id)
}

// UpdateContainer changes the limits of a running container.
func (r *Runtime) UpdateContainer(ctx context.Context, id string, limits runtime.Resources) error {
	const op = "changing the limits of container"
	slow, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	c, err := r.Container(ctx, id)
	if err != nil {
		return err
	}
	if c.State != runtime.Running { // containerd would note it and say nothing
		return &kind.Error{Kind: kind.NotFound, Op: op, Object: id}
	}
	_, err = r.calls.UpdateContainerResources(slow, &criv1.UpdateContainerResourcesRequest{ContainerId: id, Linux: resources(limits)})
	return classify(err, op, id)
}

// StopContainer sends the stop signal and kills after grace, which is rounded
// up to whole seconds; zero kills at once.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+slowTimeout)
	defer cancel()
	_, err := r.calls.StopContainer(ctx, &criv1.StopContainerRequest{ContainerId: id, Timeout: seconds(grace)})
	if gone(err) {
		return nil
	}
	return classify(err, "stopping container", id)
}

// RemoveContainer removes a container, killing it if it runs.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	_, err := r.calls.RemoveContainer(ctx, &criv1.RemoveContainerRequest{ContainerId: id})
	if gone(err) {
		return nil
	}
	return classify(err, "removing container", id)
}

func (r *Runtime) containerConfig(sandbox *runtime.SandboxConfig, cfg *runtime.ContainerConfig) *criv1.ContainerConfig {
	out := &criv1.ContainerConfig{
		Metadata:    &criv1.ContainerMetadata{Name: cfg.Name, Attempt: cfg.Attempt},
		Image:       &criv1.ImageSpec{Image: cfg.Image, UserSpecifiedImage: cfg.ImageRef, RuntimeHandler: sandbox.RuntimeHandler},
		Command:     cfg.Command,
		Args:        cfg.Args,
		WorkingDir:  cfg.WorkingDir,
		LogPath:     cfg.LogPath,
		Labels:      r.label(cfg.Labels, pod(sandbox), sandbox.UID, cfg.Name),
		Annotations: cfg.Annotations,
		Stdin:       cfg.Stdin, StdinOnce: cfg.StdinOnce, Tty: cfg.TTY,
		Linux: &criv1.LinuxContainerConfig{
			Resources:       resources(cfg.Resources),
			SecurityContext: r.containerSecurity(sandbox, cfg),
		},
	}
	out.StopSignal, _ = stopSignal(cfg.StopSignal) // unable refuses others
	for _, e := range cfg.Env {
		out.Envs = append(out.Envs, &criv1.KeyValue{Key: e.Key, Value: []byte(e.Value)})
	}
	for _, m := range cfg.Mounts {
		out.Mounts = append(out.Mounts, &criv1.Mount{
			HostPath: m.HostPath, ContainerPath: m.Path, Readonly: m.ReadOnly, Propagation: propagation(m.Propagation),
		})
	}
	for _, d := range cfg.Devices {
		out.Devices = append(out.Devices, &criv1.Device{HostPath: d.HostPath, ContainerPath: d.Path, Permissions: d.Permissions})
	}
	return out
}

func propagation(mode corev1.MountPropagationMode) criv1.MountPropagation {
	switch mode {
	case corev1.MountPropagationBidirectional:
		return criv1.MountPropagation_PROPAGATION_BIDIRECTIONAL
	case corev1.MountPropagationHostToContainer:
		return criv1.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	}
	return criv1.MountPropagation_PROPAGATION_PRIVATE
}

func resources(r runtime.Resources) *criv1.LinuxContainerResources {
	var huge []*criv1.HugepageLimit
	for _, size := range slices.Sorted(maps.Keys(r.HugePages)) {
		huge = append(huge, &criv1.HugepageLimit{PageSize: size, Limit: uint64(r.HugePages[size])})
	}
	return &criv1.LinuxContainerResources{
		CpuShares:              r.CPUShares,
		CpuQuota:               r.CPUQuota,
		CpuPeriod:              r.CPUPeriod,
		MemoryLimitInBytes:     r.MemoryBytes,
		CpusetCpus:             r.CPUs,
		HugepageLimits:         huge,
		MemorySwapLimitInBytes: together(r),
		OomScoreAdj:            r.OOMScoreAdj,
		Unified:                r.Unified,
	}
}

// together returns the limit of memory and swap. Runtimes leave it out where the kernel
// does not account swap.
func together(r runtime.Resources) int64 {
	if r.MemoryBytes <= 0 {
		return 0
	}
	return r.MemoryBytes + r.SwapBytes
}

func isZero(r runtime.Resources) bool {
	return r.CPUShares == 0 && r.CPUQuota == 0 && r.CPUPeriod == 0 && r.MemoryBytes == 0 && len(r.Unified) == 0
}

func pod(s *runtime.SandboxConfig) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// seconds rounds up: a grace of 300 ms is not a grace of none.
func seconds(d time.Duration) int64 { return int64(math.Ceil(max(d, 0).Seconds())) }
