package device

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"trireme/internal/object"
)

// socketName is where plugins look for whom to register at.
const socketName = "kubelet.sock"

// Run serves plugins until ctx ends. Sockets that are left in the directory are
// removed: plugins see that, and register again.
func (m *Manager) Run(ctx context.Context) error {
	if err := os.MkdirAll(m.cfg.Dir, 0o750); err != nil {
		return fmt.Errorf("making the folder of device plugins: %w", err)
	}
	path := filepath.Join(m.cfg.Dir, socketName)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("serving device plugins: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("serving device plugins: %w", err)
	}
	s := grpc.NewServer()
	pluginapi.RegisterRegistrationServer(s, registry{m: m})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		s.Stop()
		return ctx.Err()
	})
	g.Go(func() error {
		for {
			select {
			case f := <-m.late:
				g.Go(func() error {
					f(ctx)
					return nil
				})
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	g.Go(func() error { return s.Serve(l) })
	return g.Wait()
}

// registry is what plugins register at.
type registry struct {
	pluginapi.UnimplementedRegistrationServer

	m *Manager
}

// Register implements pluginapi.RegistrationServer.
func (r registry) Register(ctx context.Context, q *pluginapi.RegisterRequest) (*pluginapi.Empty, error) {
	name := corev1.ResourceName(q.ResourceName)
	switch {
	case q.Version != pluginapi.Version:
		return nil, status.Errorf(codes.InvalidArgument, "requested API version %q is not supported by this node: %s is", q.Version, pluginapi.Version)
	case !object.Extended(name) || len(validation.IsQualifiedName(q.ResourceName)) > 0:
		return nil, status.Errorf(codes.InvalidArgument, "the ResourceName %q is invalid: it is DOMAIN/NAME of a domain of your own", q.ResourceName)
	case q.Endpoint == "" || filepath.Base(q.Endpoint) != q.Endpoint || q.Endpoint == socketName:
		return nil, status.Errorf(codes.InvalidArgument, "the Endpoint %q is invalid: it is the name of a socket beside %s", q.Endpoint, socketName)
	}
	conn, err := grpc.NewClient("unix:"+filepath.Join(r.m.cfg.Dir, q.Endpoint), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "dialling %s: %v", q.Endpoint, err)
	}
	p := &plugin{client: pluginapi.NewDevicePluginClient(conn), preStart: q.Options.GetPreStartRequired()}
	select {
	case r.m.late <- func(ctx context.Context) { r.m.follow(ctx, q.ResourceName, p, conn) }:
	case <-ctx.Done():
		_ = conn.Close()
		return nil, ctx.Err()
	}
	return &pluginapi.Empty{}, nil
}

// follow takes the plugin's devices over until it goes away.
func (m *Manager) follow(ctx context.Context, name string, p *plugin, conn *grpc.ClientConn) {
	defer conn.Close()
	err := m.watch(ctx, name, p)
	if ctx.Err() != nil {
		return
	}
	m.cfg.Log.Warn("a device plugin went away", "resource", name, "err", err)
	m.mu.Lock()
	if m.plugins[name] == p { // no newer one
		m.plugins[name] = &plugin{}
	}
	m.mu.Unlock()
	m.cfg.Changed()
}

func (m *Manager) watch(ctx context.Context, name string, p *plugin) error {
	stream, err := p.client.ListAndWatch(ctx, &pluginapi.Empty{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		list, err := stream.Recv()
		if err != nil {
			return err
		}
		devices := map[string]bool{}
		for _, d := range list.Devices {
			devices[d.ID] = d.Health == pluginapi.Healthy
		}
		m.mu.Lock()
		p.healthy = devices
		if first {
			m.plugins[name] = p
			err = m.saveLocked()
		}
		m.mu.Unlock()
		if err != nil {
			return err
		}
		m.cfg.Changed()
	}
}
