package cri

import (
	"cmp"
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// List returns the sandboxes that carry our label with their containers, both
// oldest first. It costs two calls whatever the number.
func (r *Runtime) List(ctx context.Context) ([]runtime.Sandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	// Containers first: a sandbox that is made in between shows up empty, rather
	// than a container without its sandbox.
	cs, err := r.calls.ListContainers(ctx, &criv1.ListContainersRequest{Filter: &criv1.ContainerFilter{LabelSelector: r.ours()}})
	if err != nil {
		return nil, classify(err, "listing containers", "")
	}
	ss, err := r.calls.ListPodSandbox(ctx, &criv1.ListPodSandboxRequest{Filter: &criv1.PodSandboxFilter{LabelSelector: r.ours()}})
	if err != nil {
		return nil, classify(err, "listing sandboxes", "")
	}
	bySandbox := make(map[string][]runtime.Container, len(ss.Items))
	for _, c := range cs.Containers {
		bySandbox[c.PodSandboxId] = append(bySandbox[c.PodSandboxId], listed(c))
	}
	out := make([]runtime.Sandbox, 0, len(ss.Items))
	for _, s := range ss.Items {
		containers := bySandbox[s.Id]
		slices.SortFunc(containers, func(a, b runtime.Container) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		})
		out = append(out, runtime.Sandbox{
			ID:          s.Id,
			Name:        s.GetMetadata().GetName(),
			Namespace:   s.GetMetadata().GetNamespace(),
			UID:         types.UID(s.GetMetadata().GetUid()),
			Attempt:     s.GetMetadata().GetAttempt(),
			Ready:       s.State == criv1.PodSandboxState_SANDBOX_READY,
			Created:     moment(s.CreatedAt),
			Labels:      unlabel(s.Labels),
			Annotations: s.Annotations,
			Containers:  containers,
		})
	}
	slices.SortFunc(out, func(a, b runtime.Sandbox) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func listed(c *criv1.Container) runtime.Container {
	return runtime.Container{
		ID:          c.Id,
		Name:        c.GetMetadata().GetName(),
		Attempt:     c.GetMetadata().GetAttempt(),
		State:       state(c.State),
		ImageID:     cmp.Or(c.ImageId, c.ImageRef),
		ImageRef:    cmp.Or(c.GetImage().GetUserSpecifiedImage(), c.GetImage().GetImage()),
		Created:     moment(c.CreatedAt),
		Labels:      unlabel(c.Labels),
		Annotations: c.Annotations,
	}
}

// Container returns one container in full, kind.NotFound if it is gone.
func (r *Runtime) Container(ctx context.Context, id string) (*runtime.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.calls.ContainerStatus(ctx, &criv1.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return nil, classify(err, "asking the state of container", id)
	}
	s := res.GetStatus()
	return &runtime.Container{
		ID:          s.GetId(),
		Name:        s.GetMetadata().GetName(),
		Attempt:     s.GetMetadata().GetAttempt(),
		State:       state(s.GetState()),
		ImageID:     cmp.Or(s.GetImageId(), s.GetImageRef()),
		ImageRef:    cmp.Or(s.GetImage().GetUserSpecifiedImage(), s.GetImage().GetImage()),
		Created:     moment(s.GetCreatedAt()),
		Started:     moment(s.GetStartedAt()),
		Finished:    moment(s.GetFinishedAt()),
		ExitCode:    s.GetExitCode(),
		Reason:      s.GetReason(),
		Message:     s.GetMessage(),
		LogPath:     s.GetLogPath(),
		Labels:      unlabel(s.GetLabels()),
		Annotations: s.GetAnnotations(),
	}, nil
}

func state(s criv1.ContainerState) runtime.State {
	switch s {
	case criv1.ContainerState_CONTAINER_CREATED:
		return runtime.Created
	case criv1.ContainerState_CONTAINER_RUNNING:
		return runtime.Running
	case criv1.ContainerState_CONTAINER_EXITED:
		return runtime.Exited
	}
	return runtime.Unknown
}

// moment turns CRI's nanoseconds into a time; 0 is the zero time.
func moment(nanos int64) time.Time {
	if nanos <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// Stats returns the use of our running containers. A runtime that has no figure
// yet leaves the container out.
func (r *Runtime) Stats(ctx context.Context) ([]runtime.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	res, err := r.calls.ListContainerStats(ctx, &criv1.ListContainerStatsRequest{
		Filter: &criv1.ContainerStatsFilter{LabelSelector: r.ours()},
	})
	if err != nil {
		return nil, classify(err, "asking container statistics", "")
	}
	out := make([]runtime.Usage, 0, len(res.Stats))
	for _, s := range res.Stats {
		if s.GetCpu() == nil && s.GetMemory() == nil {
			continue // it does not run
		}
		labels := s.GetAttributes().GetLabels()
		out = append(out, runtime.Usage{
			ContainerID:   s.GetAttributes().GetId(),
			PodUID:        types.UID(labels[podUIDLabel]),
			Pod:           types.NamespacedName{Namespace: labels[podSpaceLabel], Name: labels[podNameLabel]},
			Container:     labels[containerLabel],
			CPUNanoTotal:  s.GetCpu().GetUsageCoreNanoSeconds().GetValue(),
			CPUNano:       s.GetCpu().GetUsageNanoCores().GetValue(),
			MemoryBytes:   s.GetMemory().GetWorkingSetBytes().GetValue(),
			DiskUsedBytes: s.GetWritableLayer().GetUsedBytes().GetValue(),
			Time:          moment(max(s.GetCpu().GetTimestamp(), s.GetMemory().GetTimestamp())),
		})
	}
	return out, nil
}

// unavailable says that the runtime went away for a reason that is no error of
// its own, such as the end of a stream.
func unavailable(what string) error { return kind.New(kind.Unavailable, "%s", what) }
