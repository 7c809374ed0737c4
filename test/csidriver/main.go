// Command csidriver is a driver of the Container Storage Interface for tests: all
// machines of a test share one folder, which is its array of disks. A volume is a folder
// there, a block volume a file that a loop device shows. It holds callers to the
// specification: a volume that is not attached to a node cannot be staged there, and one
// that is attached cannot be deleted.
//
// It registers with the node itself, in place of node-driver-registrar.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const name = "disks.csi.trireme.test"

func main() {
	socket := flag.String("socket", "", "where to serve")
	registry := flag.String("registry", "", "the socket to register by; empty: none, for the controller")
	named := flag.String("named", "", "how the node names -socket")
	state := flag.String("state", "", "the folder that is the array")
	node := flag.String("node", "", "the node's name")
	flag.Parse()
	if err := run(*socket, *registry, &driver{array: array{*state}, node: *node, named: *named}); err != nil {
		fmt.Fprintln(os.Stderr, "csidriver:", err)
		os.Exit(1)
	}
}

func run(socket, registry string, d *driver) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	s := grpc.NewServer(grpc.UnaryInterceptor(told))
	csi.RegisterIdentityServer(s, d)
	csi.RegisterControllerServer(s, d)
	csi.RegisterNodeServer(s, d)
	registration.RegisterRegistrationServer(s, d)
	var group errgroup.Group
	for _, path := range []string{socket, registry} { // the registry last: then the other answers
		if path == "" {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		group.Go(func() error { return s.Serve(l) })
	}
	<-ctx.Done()
	s.Stop() // removes the sockets
	return group.Wait()
}

// told writes every call and how it went to the log.
func told(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	res, err := next(ctx, req)
	fmt.Println(info.FullMethod, req, "→", res, err)
	return res, err
}

// driver serves the whole interface; who runs it decides which part is asked.
type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer

	array array
	node  string
	named string
}

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: name, Endpoint: d.named, SupportedVersions: []string{"1.0.0"}}, nil
}

func (d *driver) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	return &registration.RegistrationStatusResponse{}, nil
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: name, VendorVersion: "1"}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}}},
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE}}},
	}}, nil
}
