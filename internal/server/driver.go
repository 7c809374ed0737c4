package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sync/errgroup"

	"trireme/internal/bundle"
	"trireme/internal/dataplane"
	"trireme/internal/runtime"
	"trireme/internal/runtime/cri"
	"trireme/internal/runtime/native"
	"trireme/internal/runtime/shim"
)

// parts are what a runtime driver is made from.
type parts struct {
	endpoint string
	files    bundle.Paths
	network  *dataplane.Dataplane
}

// runtime returns the driver that was chosen, running. What the other one left
// is removed: it cannot be adopted, and pods make it anew.
func (n *node) runtime(ctx context.Context, g *errgroup.Group, p parts) (runtime.Runtime, error) {
	asking, err := cri.New(cri.Config{Endpoint: p.endpoint, Log: n.cfg.Log})
	if err != nil {
		return nil, err
	}
	if n.cfg.Agent.Runtime == RuntimeNative {
		if err := n.empty(ctx, asking); err != nil {
			return nil, err
		}
		return n.native(ctx, g, asking, p)
	}
	if _, err := os.Stat(shim.DirOf(n.cfg.Root).Sandbox("")); errors.Is(err, fs.ErrNotExist) {
		return asking, nil
	}
	return asking, n.leaveNative(ctx, asking, p)
}

func (n *node) native(ctx context.Context, g *errgroup.Group, images *cri.Runtime, p parts) (*native.Runtime, error) {
	r, err := native.New(native.Config{
		Root: n.cfg.Root, Images: images, Network: p.network, BinDir: p.files.Bin, PauseImage: bundle.PauseImage, Log: n.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	g.Go(func() error { return r.Run(ctx) })
	return r, r.WaitReady(ctx)
}

// leaveNative removes what the native driver left, its shim included.
func (n *node) leaveNative(ctx context.Context, images *cri.Runtime, p parts) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	g, inner := errgroup.WithContext(inner)
	r, err := n.native(inner, g, images, p)
	if err == nil {
		err = n.empty(inner, r)
	}
	cancel()
	if err = errors.Join(err, g.Wait()); err != nil || r == nil {
		return err
	}
	return r.Retire(ctx)
}

// empty stops and removes every sandbox of a driver.
func (n *node) empty(ctx context.Context, r runtime.Runtime) error {
	all, err := r.List(ctx)
	if err != nil {
		return fmt.Errorf("looking for what another runtime driver left: %w", err)
	}
	for _, s := range all {
		n.cfg.Log.Info("removing a sandbox of the runtime driver that is not used any more", "pod", s.Namespace+"/"+s.Name)
		err := r.StopSandbox(ctx, s.ID)
		if err == nil {
			err = r.RemoveSandbox(ctx, s.ID)
		}
		if err != nil {
			return fmt.Errorf("removing what another runtime driver left: %w", err)
		}
	}
	return nil
}
