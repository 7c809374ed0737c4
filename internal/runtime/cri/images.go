package cri

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// Pull brings an image and returns its ID. Credentials are tried in order; with
// none the pull is anonymous. It takes as long as the context lets it.
func (r *Runtime) Pull(ctx context.Context, ref string, creds []runtime.Credentials, sandbox *runtime.SandboxConfig) (string, error) {
	req := &criv1.PullImageRequest{Image: &criv1.ImageSpec{Image: ref}}
	if sandbox != nil {
		req.Image.RuntimeHandler = sandbox.RuntimeHandler
		req.SandboxConfig = r.sandboxConfig(sandbox)
	}
	if len(creds) == 0 {
		return r.pull(ctx, req)
	}
	var errs []error
	for _, c := range creds {
		// No ServerAddress, as from a kubelet: containerd keeps what does not name the
		// registry's very URL to itself.
		req.Auth = &criv1.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
		id, err := r.pull(ctx, req)
		if err == nil {
			return id, nil
		}
		if !kind.Is(err, kind.Denied) { // other credentials would not help
			return "", err
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func (r *Runtime) pull(ctx context.Context, req *criv1.PullImageRequest) (string, error) {
	res, err := r.images.PullImage(ctx, req)
	if err != nil {
		return "", classify(err, "pulling image", req.Image.Image)
	}
	return res.ImageRef, nil
}

// Image returns what ref names: a tag, a digest reference or an ID.
func (r *Runtime) Image(ctx context.Context, ref string) (*runtime.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.images.ImageStatus(ctx, &criv1.ImageStatusRequest{Image: &criv1.ImageSpec{Image: ref}})
	if err != nil {
		return nil, classify(err, "looking for image", ref)
	}
	if res.Image == nil {
		return nil, &kind.Error{Kind: kind.NotFound, Op: "looking for image", Object: ref}
	}
	img := image(res.Image)
	return &img, nil
}

// ListImages returns every image the runtime has, sorted by ID.
func (r *Runtime) ListImages(ctx context.Context) ([]runtime.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.images.ListImages(ctx, &criv1.ListImagesRequest{})
	if err != nil {
		return nil, classify(err, "listing images", "")
	}
	out := make([]runtime.Image, 0, len(res.Images))
	for _, i := range res.Images {
		out = append(out, image(i))
	}
	slices.SortFunc(out, func(a, b runtime.Image) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func image(i *criv1.Image) runtime.Image {
	out := runtime.Image{
		ID: i.Id, Names: i.RepoTags, Digests: i.RepoDigests, SizeBytes: int64(i.Size), User: i.Username, Pinned: i.Pinned,
	}
	if i.Uid != nil {
		out.User = strconv.FormatInt(i.Uid.Value, 10)
	}
	return out
}

// RemoveImage removes an image with all its names.
func (r *Runtime) RemoveImage(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	_, err := r.images.RemoveImage(ctx, &criv1.RemoveImageRequest{Image: &criv1.ImageSpec{Image: id}})
	if gone(err) {
		return nil
	}
	return classify(err, "removing image", id)
}

// ImageFS returns size and use in bytes of the file system images lie on;
// others may use it too.
func (r *Runtime) ImageFS(ctx context.Context) (capacity, used int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.images.ImageFsInfo(ctx, &criv1.ImageFsInfoRequest{})
	if err != nil {
		return 0, 0, classify(err, "asking about the images' file system", "")
	}
	if len(res.ImageFilesystems) == 0 || res.ImageFilesystems[0].GetFsId().GetMountpoint() == "" {
		return 0, 0, unavailable("the runtime does not say where images lie")
	}
	path := res.ImageFilesystems[0].FsId.Mountpoint
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, 0, fmt.Errorf("measuring the images' file system %s: %w", path, err)
	}
	capacity = int64(fs.Blocks) * fs.Bsize
	return capacity, capacity - int64(fs.Bavail)*fs.Bsize, nil
}
