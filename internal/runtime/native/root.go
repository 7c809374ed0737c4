package native

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"trireme/internal/runtime/cri"
	"trireme/internal/runtime/overlay"
)

// template returns what the image says, from memory where it is known.
func (r *Runtime) template(ctx context.Context, image string) (*cri.Template, error) {
	r.layersMu.Lock()
	t := r.templates[image]
	r.layersMu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err := r.cfg.Images.Template(ctx, image)
	if err != nil {
		return nil, err
	}
	r.layersMu.Lock()
	defer r.layersMu.Unlock()
	r.templates[t.ImageID] = t // an ID is always the same image, a name is not
	return t, nil
}

// lower returns the folders of the layers.
func (r *Runtime) lower(ctx context.Context, chain string) ([]string, error) {
	r.layersMu.Lock()
	defer r.layersMu.Unlock() // held during the call: all who wait want the same
	if dirs, ok := r.layers[chain]; ok {
		return dirs, nil
	}
	dirs, err := r.cfg.Images.Layers(ctx, chain)
	if err != nil {
		return nil, err
	}
	r.layers[chain] = dirs
	delete(r.removed, chain)
	return dirs, nil
}

// forgetImage is called when an image was removed: its layers go when the last
// container does.
func (r *Runtime) forgetImage(ctx context.Context, id string) {
	r.layersMu.Lock()
	t := r.templates[id]
	if t != nil {
		delete(r.templates, id)
		r.removed[t.Chain] = true
		for _, other := range r.templates {
			if other.Chain == t.Chain {
				delete(r.removed, t.Chain)
			}
		}
	}
	r.layersMu.Unlock()
	if t != nil {
		r.releaseLayers(ctx, t.Chain)
	}
}

// releaseLayers lets go of layers whose image is gone and that no container uses.
func (r *Runtime) releaseLayers(ctx context.Context, chain string) {
	r.layersMu.Lock()
	defer r.layersMu.Unlock()
	if !r.removed[chain] || r.chainsInUse()[chain] {
		return
	}
	if err := r.cfg.Images.DropLayers(ctx, chain); err != nil {
		r.cfg.Log.Warn("letting go of image layers", "chain", chain, "err", err)
		return // tidyLayers does it at the next start
	}
	delete(r.layers, chain)
	delete(r.removed, chain)
}

func (r *Runtime) chainsInUse() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := map[string]bool{}
	for _, c := range r.containers {
		used[c.rec.Chain] = true
	}
	return used
}

// tidyLayers lets go of the layers that an earlier runtime held and no container
// uses; what is wanted again is asked for again.
func (r *Runtime) tidyLayers(ctx context.Context) {
	held, err := r.cfg.Images.HeldLayers(ctx)
	if err != nil {
		r.cfg.Log.Warn("looking for layers that are used no more", "err", err)
		return
	}
	r.layersMu.Lock()
	defer r.layersMu.Unlock()
	used := r.chainsInUse()
	for _, chain := range held {
		if _, known := r.layers[chain]; known || used[chain] {
			continue
		}
		if err := r.cfg.Images.DropLayers(ctx, chain); err != nil {
			r.cfg.Log.Warn("letting go of image layers", "chain", chain, "err", err)
		}
	}
}

// mountRoot mounts the container's root file system: its own layer over the
// image's.
func (r *Runtime) mountRoot(ctx context.Context, rec *containerRecord) error {
	lower, err := r.lower(ctx, rec.Chain)
	if err != nil {
		return err
	}
	for _, d := range []string{"upper", "work", "rootfs"} {
		if err := os.MkdirAll(r.dir.Container(rec.ID, d), 0o711); err != nil {
			return err
		}
	}
	// The root's mode is the image's: the upper layer's would hide it.
	if info, err := os.Stat(lower[0]); err == nil {
		if err := os.Chmod(r.dir.Container(rec.ID, "upper"), info.Mode().Perm()); err != nil {
			return err
		}
	}
	return overlay.Mount(overlay.Layers{
		Target: r.dir.Container(rec.ID, "rootfs"), Lower: lower, Upper: r.dir.Container(rec.ID, "upper"), Work: r.dir.Container(rec.ID, "work"),
	})
}

// openInRoot opens a file of the container's root as the container would: a
// link in it leads to no file of the node.
func openInRoot(root, path string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
