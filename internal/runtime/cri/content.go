package cri

import (
	"context"
	"errors"
	"io"

	content "github.com/containerd/containerd/api/services/content/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trireme/internal/chunk"
	"trireme/internal/kind"
)

// Tag gives an image of containerd's store another name.
func (r *Runtime) Tag(ctx context.Context, ref, as string) error {
	from, err := r.Descriptor(ctx, ref)
	if err != nil {
		return err
	}
	named, err := reference.ParseDockerRef(as)
	if err != nil {
		return &kind.Error{Kind: kind.Invalid, Op: "reading image name", Object: as, Err: err}
	}
	made := &images.Image{
		Name: named.String(), Labels: map[string]string{managedLabel: "managed"},
		Target: &types.Descriptor{MediaType: from.MediaType, Digest: string(from.Digest), Size: from.Size},
	}
	quick, cancel := context.WithTimeout(inNamespace(ctx), quickTimeout)
	defer cancel()
	client := images.NewImagesClient(r.conn)
	_, err = client.Create(quick, &images.CreateImageRequest{Image: made})
	if status.Code(err) == codes.AlreadyExists {
		_, err = client.Update(quick, &images.UpdateImageRequest{Image: made})
	}
	if err != nil {
		return classify(err, "naming image", as)
	}
	return r.appear(ctx, []string{made.Name})
}

// Untag takes a name away from containerd's store.
func (r *Runtime) Untag(ctx context.Context, ref string) error {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return &kind.Error{Kind: kind.Invalid, Op: "reading image name", Object: ref, Err: err}
	}
	ctx, cancel := context.WithTimeout(inNamespace(ctx), quickTimeout)
	defer cancel()
	_, err = images.NewImagesClient(r.conn).Delete(ctx, &images.DeleteImageRequest{Name: named.String(), Sync: true})
	return classify(err, "removing image", ref)
}

// Descriptor returns the manifest or index that a reference names in
// containerd's image store.
func (r *Runtime) Descriptor(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return ocispec.Descriptor{}, &kind.Error{Kind: kind.Invalid, Op: "reading image name", Object: ref, Err: err}
	}
	ctx, cancel := context.WithTimeout(inNamespace(ctx), quickTimeout)
	defer cancel()
	res, err := images.NewImagesClient(r.conn).Get(ctx, &images.GetImageRequest{Name: named.String()})
	if err != nil {
		return ocispec.Descriptor{}, classify(err, "looking for image", ref)
	}
	t := res.Image.Target
	return ocispec.Descriptor{MediaType: t.MediaType, Digest: digest.Digest(t.Digest), Size: t.Size}, nil
}

// Content opens what containerd's content store holds under a digest.
func (r *Runtime) Content(ctx context.Context, dgst string, offset int64) (io.ReadCloser, int64, error) {
	if err := digest.Digest(dgst).Validate(); err != nil {
		return nil, 0, &kind.Error{Kind: kind.Invalid, Op: "reading digest", Object: dgst, Err: err}
	}
	ctx, cancel := context.WithCancel(inNamespace(ctx))
	client := content.NewContentClient(r.conn)
	info, err := client.Info(ctx, &content.InfoRequest{Digest: dgst})
	if err != nil {
		cancel()
		return nil, 0, classify(err, "looking for content", dgst)
	}
	stream, err := client.Read(ctx, &content.ReadContentRequest{Digest: dgst, Offset: offset})
	if err != nil {
		cancel()
		return nil, 0, classify(err, "reading content", dgst)
	}
	next := func() ([]byte, error) {
		m, err := stream.Recv()
		if err == nil || errors.Is(err, io.EOF) {
			return m.GetData(), err
		}
		return nil, classify(err, "reading content", dgst)
	}
	return chunk.NewReader(next, cancel), info.Info.Size, nil
}
