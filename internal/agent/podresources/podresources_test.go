package podresources

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"

	"trireme/internal/agent/device"
)

type hardware struct{}

func (hardware) Own(uid types.UID, container string) []int {
	return map[string][]int{"1/side": {2}, "1/main": {3, 4}}[string(uid)+"/"+container]
}

func (hardware) Givable() []int { return []int{1, 2, 3, 4} }

func (hardware) Held(uid types.UID, container string) []device.Holding {
	return map[string][]device.Holding{"1/main": {{Resource: "a.com/toy", Devices: []string{"x"}}}}[string(uid)+"/"+container]
}

func (hardware) Healthy() []device.Holding {
	return []device.Holding{{Resource: "a.com/toy", Devices: []string{"x", "y"}}}
}

// TestLister asks through the socket: of pods that run, containers that stay are told.
func TestLister(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	mine := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "mine", UID: "1"}, Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "first"}, {Name: "side", RestartPolicy: &always}}, Containers: []corev1.Container{{Name: "main"}},
	}}
	ended := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ended", UID: "2"}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}
	l := &Lister{Socket: filepath.Join(t.TempDir(), "d", "kubelet.sock"), CPUs: hardware{}, Devices: hardware{}, Pods: func() []*corev1.Pod { return []*corev1.Pod{ended, mine} }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	conn, err := grpc.NewClient("unix:"+l.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := api.NewPodResourcesListerClient(conn)
	want := &api.PodResources{Name: "mine", Namespace: "ns", Containers: []*api.ContainerResources{
		{Name: "side", CpuIds: []int64{2}},
		{Name: "main", CpuIds: []int64{3, 4}, Devices: []*api.ContainerDevices{{ResourceName: "a.com/toy", DeviceIds: []string{"x"}}}},
	}}
	list, err := client.List(ctx, &api.ListPodResourcesRequest{}, grpc.WaitForReady(true))
	if err != nil || len(list.PodResources) != 1 || !proto.Equal(list.PodResources[0], want) {
		t.Errorf("List: %v, %v, want %v", list, err, want)
	}
	one, err := client.Get(ctx, &api.GetPodResourcesRequest{PodNamespace: "ns", PodName: "mine"})
	if err != nil || !proto.Equal(one.PodResources, want) {
		t.Errorf("Get: %v, %v, want %v", one, err, want)
	}
	if _, err := client.Get(ctx, &api.GetPodResourcesRequest{PodNamespace: "ns", PodName: "ended"}); err == nil {
		t.Error("a pod that has ended has resources")
	}
	all, err := client.GetAllocatableResources(ctx, &api.AllocatableResourcesRequest{})
	if err != nil || len(all.CpuIds) != 4 || len(all.Devices) != 1 || len(all.Devices[0].DeviceIds) != 2 {
		t.Errorf("GetAllocatableResources: %v, %v", all, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}
