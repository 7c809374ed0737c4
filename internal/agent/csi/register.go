package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	scanEvery       = time.Second
	registerTimeout = 10 * time.Second
	pathMax         = 107 // bytes of a socket's path, unix(7)
)

// socket is a plug-in's socket in the registry.
type socket struct {
	id     fileID
	driver string // that it registered; empty: none yet
	said   string // the last error, so that it is told once
}

// fileID tells a file from another of its name.
type fileID struct {
	inode uint64
	made  time.Time
}

// Run registers drivers as they come and go, until ctx ends.
func (d *Drivers) Run(ctx context.Context) error {
	for _, dir := range d.cfg.Home.dirs() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making a directory for drivers: %w", err)
		}
	}
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for {
		if d.scan(ctx) {
			d.cfg.Changed()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// scan compares the registry with what is known, and reports whether a driver came
// or went.
func (d *Drivers) scan(ctx context.Context) (changed bool) {
	found, err := d.inRegistry()
	if err != nil {
		d.cfg.Log.Error("looking for drivers", "err", err)
		return false
	}
	for name, s := range d.sockets {
		if id, ok := found[name]; !ok || id != s.id {
			changed = d.forget(s) || changed
			delete(d.sockets, name)
		}
	}
	for name, id := range found {
		s := d.sockets[name]
		if s == nil {
			s = &socket{id: id}
			d.sockets[name] = s
		}
		if s.driver != "" {
			continue
		}
		err := d.register(ctx, filepath.Join(d.cfg.Home.registry(), name), s)
		switch {
		case err == nil:
			s.said, changed = "", true
		case err.Error() != s.said && ctx.Err() == nil:
			s.said = err.Error()
			d.cfg.Log.Warn("registering a driver", "socket", name, "err", err)
		}
	}
	return changed
}

// inRegistry returns the sockets that are in the registry now.
func (d *Drivers) inRegistry() (map[string]fileID, error) {
	entries, err := os.ReadDir(d.cfg.Home.registry())
	if err != nil {
		return nil, err
	}
	found := map[string]fileID{}
	for _, e := range entries {
		if e.Type()&fs.ModeSocket == 0 || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		st, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		found[e.Name()] = fileID{inode(st), st.ModTime()}
	}
	return found, nil
}

// forget takes a driver off the list unless it has registered anew elsewhere.
func (d *Drivers) forget(s *socket) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.drivers[s.driver]
	if one == nil || one.from != s {
		return false
	}
	delete(d.drivers, s.driver)
	one.conn.Close()
	d.cfg.Log.Info("a CSI driver is gone", "driver", s.driver)
	return true
}

// register asks the plug-in behind a socket who it is, and tells it how that went.
func (d *Drivers) register(ctx context.Context, path string, s *socket) error {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	conn, err := dial(path)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := registration.NewRegistrationClient(conn)
	info, err := client.GetInfo(ctx, &registration.InfoRequest{})
	if err != nil {
		return fmt.Errorf("asking the plug-in behind %s: %w", path, err)
	}
	err = d.accept(ctx, info, s)
	status := &registration.RegistrationStatus{PluginRegistered: err == nil}
	if err != nil {
		status.Error = err.Error()
	}
	if _, told := client.NotifyRegistrationStatus(ctx, status); told != nil {
		d.cfg.Log.Warn("telling a driver that it is registered", "driver", info.Name, "err", told)
	}
	return err
}

// accept takes a driver in once it has said what it can and what it calls this node.
func (d *Drivers) accept(ctx context.Context, info *registration.PluginInfo, s *socket) error {
	if info.Type != registration.CSIPlugin {
		return fmt.Errorf("plug-in %s is of type %q: this node takes %s", info.Name, info.Type, registration.CSIPlugin)
	}
	if !speaks(info.SupportedVersions) {
		return fmt.Errorf("driver %s speaks the versions %q of CSI: this node speaks 1", info.Name, info.SupportedVersions)
	}
	conn, err := dial(d.cfg.Home.Here(info.Endpoint))
	if err != nil {
		return err
	}
	one, err := ask(ctx, conn, info.Name)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.drivers[info.Name]; old != nil {
		old.conn.Close()
	}
	s.driver, one.from = info.Name, s
	d.drivers[info.Name] = one
	d.cfg.Log.Info("a CSI driver has registered", "driver", info.Name, "node", one.info.NodeId)
	return nil
}

// ask asks a driver about itself.
func ask(ctx context.Context, conn *grpc.ClientConn, name string) (*driver, error) {
	one := &driver{name: name, conn: conn, node: csi.NewNodeClient(conn), can: map[csi.NodeServiceCapability_RPC_Type]bool{}}
	info, err := one.node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err != nil {
		return nil, fmt.Errorf("driver %s: NodeGetInfo: %w", name, err)
	}
	if info.NodeId == "" {
		return nil, fmt.Errorf("driver %s: NodeGetInfo names no node", name)
	}
	caps, err := one.node.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
	if err != nil {
		return nil, fmt.Errorf("driver %s: NodeGetCapabilities: %w", name, err)
	}
	for _, c := range caps.Capabilities {
		one.can[c.GetRpc().GetType()] = true
	}
	one.info = info
	return one, nil
}

func speaks(versions []string) bool {
	for _, v := range versions {
		if major, _, _ := strings.Cut(strings.TrimPrefix(v, "v"), "."); major == "1" {
			return true
		}
	}
	return false
}

func dial(path string) (*grpc.ClientConn, error) {
	if len(path) > pathMax {
		return nil, fmt.Errorf("the path of the socket %s has %d bytes, %d at most: use a shorter --root", path, len(path), pathMax)
	}
	return grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
