package device

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// fakePlugin has the devices that lists says, one after another.
type fakePlugin struct {
	pluginapi.UnimplementedDevicePluginServer

	lists chan []*pluginapi.Device
}

func (p fakePlugin) ListAndWatch(_ *pluginapi.Empty, s grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	for list := range p.lists {
		if err := s.Send(&pluginapi.ListAndWatchResponse{Devices: list}); err != nil {
			return err
		}
	}
	return errors.New("the plugin ends")
}

func (fakePlugin) Allocate(_ context.Context, r *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	ids := r.ContainerRequests[0].DevicesIds
	return &pluginapi.AllocateResponse{ContainerResponses: []*pluginapi.ContainerAllocateResponse{{
		Envs:    map[string]string{"WHICH": strings.Join(ids, ",")},
		Devices: []*pluginapi.DeviceSpec{{HostPath: "/dev/null", ContainerPath: "/dev/toy", Permissions: "rw"}},
		Mounts:  []*pluginapi.Mount{{HostPath: "/opt/toy", ContainerPath: "/toy", ReadOnly: true}},
	}}}, nil
}

func devices(words ...string) (out []*pluginapi.Device) {
	for _, w := range words {
		id, sick := strings.CutPrefix(w, "!")
		out = append(out, &pluginapi.Device{ID: id, Health: map[bool]string{true: pluginapi.Unhealthy, false: pluginapi.Healthy}[sick]})
	}
	return out
}

func TestPlugin(t *testing.T) {
	dir := t.TempDir()
	changed := make(chan struct{}, 99)
	cfg := Config{Dir: filepath.Join(dir, "d"), Path: filepath.Join(dir, "agent", "devices"), Changed: func() { changed <- struct{}{} }, Log: slog.New(slog.DiscardHandler)}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	p := fakePlugin{lists: make(chan []*pluginapi.Device, 9)}
	conn, err := grpc.NewClient("unix:"+filepath.Join(cfg.Dir, socketName), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	register := func(version, endpoint, name string) error {
		_, err := pluginapi.NewRegistrationClient(conn).Register(ctx, &pluginapi.RegisterRequest{Version: version, Endpoint: endpoint, ResourceName: name}, grpc.WaitForReady(true))
		return err
	}
	for _, tt := range []struct{ version, endpoint, name, want string }{
		{"v2", "toy.sock", "a.com/toy", `API version "v2" is not supported`},
		{"v1beta1", "toy.sock", "cpu", `ResourceName "cpu" is invalid`},
		{"v1beta1", "toy.sock", "kubernetes.io/toy", "is invalid"},
		{"v1beta1", "../toy.sock", "a.com/toy", `Endpoint "../toy.sock" is invalid`},
		{"v1beta1", "kubelet.sock", "a.com/toy", `Endpoint "kubelet.sock" is invalid`},
	} {
		if err := register(tt.version, tt.endpoint, tt.name); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(cfg.Dir, "toy.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(s, p)
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	if err := register("v1beta1", "toy.sock", "a.com/toy"); err != nil {
		t.Fatal(err)
	}
	has := func(all, healthy string) {
		t.Helper()
		<-changed
		capacity, allocatable := m.Resources()
		a, b := capacity["a.com/toy"], allocatable["a.com/toy"]
		if a.String() != all || b.String() != healthy {
			t.Errorf("the node has %s, %s healthy; want %s, %s", a.String(), b.String(), all, healthy)
		}
	}
	p.lists <- devices("x", "y", "!z")
	has("3", "2")
	c := &corev1.Container{Name: "c"}
	c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1"), "a.com/toy": resource.MustParse("1")}
	give := func(m *Manager, uid, want string) {
		t.Helper()
		got, err := m.Give(ctx, types.UID(uid), c)
		switch {
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("pod %s: %v, want %s", uid, err, want)
		case err == nil && (len(got.Env) != 1 || got.Env[0].Value != want || len(got.Devices) != 1 || got.Devices[0].Path != "/dev/toy" || !got.Mounts[0].ReadOnly):
			t.Errorf("pod %s was given %+v, want %s", uid, got, want)
		}
	}
	give(m, "a", "x")
	give(m, "a", "x") // its container is started again
	give(m, "b", "y")
	give(m, "c", "requested number of devices unavailable for a.com/toy. Requested: 1, Available: 0")
	if err := m.Keep(func(uid types.UID) bool { return uid != "a" }); err != nil {
		t.Fatal(err)
	}
	give(m, "c", "x")
	p.lists <- devices("x", "y", "z")
	has("3", "3")
	next, err := Open(cfg) // as the next agent does: nothing is there until the plugin is
	if err != nil {
		t.Fatal(err)
	}
	give(next, "c", "the device plugin of a.com/toy is not there")
	close(p.lists)
	has("0", "0")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}
