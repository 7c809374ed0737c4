// Package podresources answers monitors of the node that ask which container has which
// devices and CPUs, at a socket as a kubelet's (Kubernetes, "Monitoring device plugin
// resources", API podresources/v1).
//
//	Lister ──► agent/device, agent/cpus: who has what, and what there is
//	       ──► the agent: which pods are here
//
// It gives nothing away and keeps nothing. Memory nodes, topology and dynamic resources
// are not known here, and left out.
//
// To debug: grpcurl on the socket, as root.
package podresources

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/device"
	"trireme/internal/object"
)

// CPUs knows who has CPUs alone; *cpus.Manager is the real one.
type CPUs interface {
	// Own returns the CPUs that a container has to itself.
	Own(uid types.UID, container string) []int
	// Givable returns the CPUs that containers may have to themselves.
	Givable() []int
}

// Devices knows who has which devices; *device.Manager is the real one.
type Devices interface {
	// Held returns what a container has, by resource.
	Held(uid types.UID, container string) []device.Holding
	// Healthy returns what there is to have, by resource.
	Healthy() []device.Holding
}

// Lister answers; all fields are required.
type Lister struct {
	Socket  string               // its path
	Pods    func() []*corev1.Pod // that are here
	CPUs    CPUs
	Devices Devices

	api.UnimplementedPodResourcesListerServer
}

// Run serves until ctx ends.
func (l *Lister) Run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(l.Socket), 0o750); err != nil {
		return fmt.Errorf("making the folder of pods' resources: %w", err)
	}
	if err := os.Remove(l.Socket); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("serving pods' resources: %w", err)
	}
	listener, err := net.Listen("unix", l.Socket)
	if err != nil {
		return fmt.Errorf("serving pods' resources: %w", err)
	}
	s := grpc.NewServer()
	api.RegisterPodResourcesListerServer(s, l)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		s.Stop()
		return ctx.Err()
	})
	g.Go(func() error { return s.Serve(listener) })
	return g.Wait()
}

// List returns the pods that are here and have not ended, with what their containers
// have.
func (l *Lister) List(context.Context, *api.ListPodResourcesRequest) (*api.ListPodResourcesResponse, error) {
	out := &api.ListPodResourcesResponse{}
	for _, pod := range l.Pods() {
		if !object.PodEnded(pod) {
			out.PodResources = append(out.PodResources, l.of(pod))
		}
	}
	return out, nil
}

// Get returns the same of one pod.
func (l *Lister) Get(_ context.Context, r *api.GetPodResourcesRequest) (*api.GetPodResourcesResponse, error) {
	for _, pod := range l.Pods() {
		if pod.Name == r.PodName && pod.Namespace == r.PodNamespace && !object.PodEnded(pod) {
			return &api.GetPodResourcesResponse{PodResources: l.of(pod)}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "pod %s in namespace %s not found on this node", r.PodName, r.PodNamespace)
}

// GetAllocatableResources returns what there is to have.
func (l *Lister) GetAllocatableResources(context.Context, *api.AllocatableResourcesRequest) (*api.AllocatableResourcesResponse, error) {
	return &api.AllocatableResourcesResponse{Devices: devices(l.Devices.Healthy()), CpuIds: wide(l.CPUs.Givable())}, nil
}

// of returns what the containers have that stay: init containers have ended.
func (l *Lister) of(pod *corev1.Pod) *api.PodResources {
	out := &api.PodResources{Name: pod.Name, Namespace: pod.Namespace}
	add := func(c *corev1.Container) {
		out.Containers = append(out.Containers, &api.ContainerResources{
			Name: c.Name, Devices: devices(l.Devices.Held(pod.UID, c.Name)), CpuIds: wide(l.CPUs.Own(pod.UID, c.Name)),
		})
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; cgroup.Sidecar(c) {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

func devices(list []device.Holding) (out []*api.ContainerDevices) {
	for _, h := range list {
		out = append(out, &api.ContainerDevices{ResourceName: h.Resource, DeviceIds: slices.Clone(h.Devices)})
	}
	return out
}

func wide(list []int) (out []int64) {
	for _, n := range list {
		out = append(out, int64(n))
	}
	return out
}
