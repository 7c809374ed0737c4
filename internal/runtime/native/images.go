package native

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"trireme/internal/runtime"
)

// Pull brings an image through containerd.
func (r *Runtime) Pull(ctx context.Context, ref string, creds []runtime.Credentials, _ *runtime.SandboxConfig) (string, error) {
	return r.cfg.Images.Pull(ctx, ref, creds, nil)
}

// Image returns what a reference names.
func (r *Runtime) Image(ctx context.Context, ref string) (*runtime.Image, error) {
	return r.cfg.Images.Image(ctx, ref)
}

// ListImages returns containerd's images.
func (r *Runtime) ListImages(ctx context.Context) ([]runtime.Image, error) {
	return r.cfg.Images.ListImages(ctx)
}

// RemoveImage removes an image; its layers stay until the last container of it
// is removed.
func (r *Runtime) RemoveImage(ctx context.Context, id string) error {
	if err := r.cfg.Images.RemoveImage(ctx, id); err != nil {
		return err
	}
	r.forgetImage(ctx, id)
	return nil
}

// Import reads an archive into containerd.
func (r *Runtime) Import(ctx context.Context, archive io.Reader) ([]string, error) {
	return r.cfg.Images.Import(ctx, archive)
}

// Tag gives an image another name.
func (r *Runtime) Tag(ctx context.Context, ref, as string) error {
	return r.cfg.Images.Tag(ctx, ref, as)
}

// Untag takes a name away.
func (r *Runtime) Untag(ctx context.Context, ref string) error {
	return r.cfg.Images.Untag(ctx, ref)
}

// Descriptor returns the manifest or index that a reference names.
func (r *Runtime) Descriptor(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	return r.cfg.Images.Descriptor(ctx, ref)
}

// Content opens what containerd's content store holds under a digest.
func (r *Runtime) Content(ctx context.Context, digest string, offset int64) (io.ReadCloser, int64, error) {
	return r.cfg.Images.Content(ctx, digest, offset)
}

// HoldLayers implements runtime.Images.
func (r *Runtime) HoldLayers(ctx context.Context, ref, holder string) ([]string, error) {
	return r.cfg.Images.HoldLayers(ctx, ref, holder)
}

// ReleaseLayers implements runtime.Images.
func (r *Runtime) ReleaseLayers(ctx context.Context, holder string) error {
	return r.cfg.Images.ReleaseLayers(ctx, holder)
}

// ImageFS returns the size of the images' file system, which the containers'
// writable layers share.
func (r *Runtime) ImageFS(ctx context.Context) (capacity, used int64, err error) {
	return r.cfg.Images.ImageFS(ctx)
}
