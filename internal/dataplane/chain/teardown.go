package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
)

// Use notes where the plugins are, for a Teardown of what containerd attached by them.
func (c *Chain) Use() error {
	b, err := json.Marshal(c.cfg.BinDirs)
	if err == nil {
		err = os.MkdirAll(c.cfg.Dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(usedFile(c.cfg.Dir), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting where CNI plugins are: %w", err)
	}
	return nil
}

func usedFile(dir string) string { return filepath.Join(dir, "bin-dirs.json") }

// Teardown takes down every attachment that was noted in the directory, and those that
// containerd made of namespaces below root, but for those whose plugins are there no more.
func Teardown(ctx context.Context, dir, root string) error {
	c := New(Config{Dir: dir})
	all, err := c.sandboxes()
	errs := []error{err}
	for _, id := range all {
		if a, err := c.recall(id); err == nil && callable(a.Network, a.BinDirs) {
			errs = append(errs, c.Del(ctx, id))
		}
	}
	return errors.Join(append(errs, release(ctx, dir, root))...)
}

// release takes down what containerd attached: libcni remembers it for the whole machine.
func release(ctx context.Context, dir, root string) error {
	var binDirs []string
	b, err := os.ReadFile(usedFile(dir))
	if err == nil {
		err = json.Unmarshal(b, &binDirs)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // then only our own plugin was used, whose links are gone
		return fmt.Errorf("reading where CNI plugins are: %w", err)
	}
	cni := libcni.NewCNIConfigWithCacheDir(binDirs, libcni.CacheDir, nil)
	all, err := cni.GetCachedAttachments("")
	errs := []error{err}
	for _, a := range all {
		if !strings.HasPrefix(a.NetNS, root+"/") {
			continue
		}
		if callable(a.Config, binDirs) {
			if err := detach(ctx, cni, a); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		cached := filepath.Join(libcni.CacheDir, "results", a.Network+"-"+a.ContainerID+"-"+a.IfName)
		if err := os.Remove(cached); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func detach(ctx context.Context, cni *libcni.CNIConfig, a *libcni.NetworkAttachment) error {
	list, err := libcni.NetworkConfFromBytes(a.Config)
	if err != nil {
		return err
	}
	rt := &libcni.RuntimeConf{ContainerID: a.ContainerID, NetNS: a.NetNS, IfName: a.IfName, Args: a.CniArgs, CapabilityArgs: a.CapabilityArgs}
	if !held(a.NetNS) {
		rt.NetNS = ""
	}
	if err := cni.DelNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("network %s of sandbox %s: %w", a.Network, a.ContainerID, err)
	}
	return nil
}

// callable reports whether all plugins of a network are there.
func callable(network []byte, binDirs []string) bool {
	list, err := libcni.NetworkConfFromBytes(network)
	if err != nil {
		return false
	}
	for _, p := range list.Plugins {
		if _, err := invoke.FindInPath(p.Network.Type, binDirs); err != nil {
			return false
		}
	}
	return true
}
