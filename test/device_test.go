package test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"trireme/test/cluster"
)

// toys is a device plugin with two devices, which are all /dev/null.
type toys struct {
	pluginapi.UnimplementedDevicePluginServer

	end chan struct{}
}

func (p toys) ListAndWatch(_ *pluginapi.Empty, s grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	if err := s.Send(&pluginapi.ListAndWatchResponse{Devices: []*pluginapi.Device{{ID: "red", Health: pluginapi.Healthy}, {ID: "blue", Health: pluginapi.Healthy}}}); err != nil {
		return err
	}
	<-p.end
	return errors.New("the plugin ends")
}

func (toys) Allocate(_ context.Context, r *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	return &pluginapi.AllocateResponse{ContainerResponses: []*pluginapi.ContainerAllocateResponse{{
		Envs:    map[string]string{"TOY": strings.Join(r.ContainerRequests[0].DevicesIds, ",")},
		Devices: []*pluginapi.DeviceSpec{{HostPath: "/dev/null", ContainerPath: "/dev/toy", Permissions: "rw"}},
	}}}, nil
}

// plugged registers the toys with the node's agent, as devices of the resource.
func plugged(t *testing.T, h *cluster.Host, resource string) toys {
	t.Helper()
	dir := filepath.Join(h.Root, "device-plugins")
	l, err := net.Listen("unix", filepath.Join(dir, "toys.sock"))
	if err != nil {
		t.Fatal(err)
	}
	p, s := toys{end: make(chan struct{})}, grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(s, p)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("unix:"+filepath.Join(dir, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := pluginapi.NewRegistrationClient(conn).Register(ctx, &pluginapi.RegisterRequest{Version: pluginapi.Version, Endpoint: "toys.sock", ResourceName: resource}); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDevicePlugin: a plugin's devices are the node's, a pod that asks for one has it
// to itself, and nobody gets any once the plugin is gone.
func TestDevicePlugin(t *testing.T) {
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	k := newClient(t, h)
	p := plugged(t, h, "example.com/toy")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	k.must("wait", `--for=jsonpath={.status.allocatable.example\.com/toy}=2`, "node/"+h.Name, "--timeout=30s")
	pod := func(name, n string) {
		k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  containers: [{name: c, image: \"" + busybox +
			"\", imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"], resources: {limits: {example.com/toy: " + n + "}}}]\n")
	}
	pod("one", "1")
	pod("two", "1")
	k.must("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=60s")
	one, two := k.must("exec", "one", "--", "sh", "-c", "echo $TOY"), k.must("exec", "two", "--", "sh", "-c", "echo $TOY")
	if one == two || !strings.Contains("red blue", strings.TrimSpace(one)) || !strings.Contains("red blue", strings.TrimSpace(two)) {
		t.Errorf("the pods have %q and %q", one, two)
	}
	k.must("exec", "one", "--", "sh", "-c", "test -c /dev/toy && echo words > /dev/toy")
	pod("more", "1")
	k.must("wait", "--for=condition=PodScheduled=False", "pod/more", "--timeout=30s")
	if out := k.must("get", "pod", "more", "-o", `jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}`); !strings.Contains(out, "Insufficient example.com/toy") {
		t.Errorf("why it waits: %s", out)
	}
	k.must("delete", "pod", "one", "--grace-period=1")
	k.must("wait", "--for=condition=Ready", "pod/more", "--timeout=60s")
	if got := k.must("exec", "more", "--", "sh", "-c", "echo $TOY"); got != one {
		t.Errorf("the next pod has %q, want %q, which was given back", got, one)
	}
	tellsWhoHas(ctx, t, h, map[string]string{"more": one, "two": two})
	close(p.end)
	k.must("wait", `--for=jsonpath={.status.allocatable.example\.com/toy}=0`, "node/"+h.Name, "--timeout=30s")
	if out := k.must("get", "pod", "two", "-o", "jsonpath={.status.phase}"); out != "Running" {
		t.Errorf("a pod with a device is %s without its plugin", out)
	}
	k.must("delete", "pod", "--all", "--grace-period=1")
}

// tellsWhoHas asks the node's pod-resources socket as a monitor does.
func tellsWhoHas(ctx context.Context, t *testing.T, h *cluster.Host, want map[string]string) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+filepath.Join(h.Root, "pod-resources", "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := podresources.NewPodResourcesListerClient(conn)
	toys := func(p *podresources.PodResources) string {
		for _, c := range p.Containers {
			for _, d := range c.Devices {
				return c.Name + " " + d.ResourceName + " " + strings.Join(d.DeviceIds, ",")
			}
		}
		return ""
	}
	list, err := client.List(ctx, &podresources.ListPodResourcesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, p := range list.PodResources {
		if got := toys(p); got != "" {
			told[p.Name] = got
		}
	}
	for pod, toy := range want {
		wanted := "c example.com/toy " + toy
		one, err := client.Get(ctx, &podresources.GetPodResourcesRequest{PodNamespace: "testdeviceplugin", PodName: pod})
		if err != nil || toys(one.PodResources) != wanted || told[pod] != wanted || len(told) != len(want) {
			t.Errorf("%s has %q, Get says %+v (%v), List %v", pod, wanted, one, err, told)
		}
	}
	if _, err := client.Get(ctx, &podresources.GetPodResourcesRequest{PodNamespace: "default", PodName: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("a pod that is not there: %v", err)
	}
	all, err := client.GetAllocatableResources(ctx, &podresources.AllocatableResourcesRequest{})
	if err != nil || len(all.Devices) != 1 || strings.Join(all.Devices[0].DeviceIds, ",") != "blue,red" || len(all.CpuIds) != 0 {
		t.Errorf("what there is to have: %v, %v", all, err)
	}
}
