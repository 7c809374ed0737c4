package dispatch

import (
	"context"
	"errors"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"trireme/internal/kind"
	"trireme/internal/wire"
)

// Registry is the cluster's own registry; registry.Registry is the real one.
type Registry interface {
	// Image returns what a whole reference names, and the agents (host:port) that
	// have it.
	Image(ref string) (desc ocispec.Descriptor, peers []string, err error)
	// Content opens what lies under a digest, and returns its size in bytes.
	Content(ctx context.Context, digest string) (io.ReadSeekCloser, int64, error)
}

var errNoRegistry = kind.New(kind.NotFound, "this manager keeps no images")

// Image answers a node that pulls.
func (v *service) Image(ctx context.Context, r *wire.ImageRequest) (*wire.ImageResponse, error) {
	if _, err := caller(ctx); err != nil {
		return nil, toStatus(err)
	}
	if v.d.cfg.Registry == nil {
		return nil, toStatus(errNoRegistry)
	}
	desc, peers, err := v.d.cfg.Registry.Image(r.Reference)
	if err != nil {
		return nil, toStatus(err)
	}
	return &wire.ImageResponse{MediaType: desc.MediaType, Digest: string(desc.Digest), Size: desc.Size, Peers: peers}, nil
}

// contentChunk is how many bytes travel at a time: gRPC encodes what is over
// 32 KiB into a buffer of 1 MiB.
const contentChunk = 24 << 10

// Content sends a node a part of an image.
func (v *service) Content(r *wire.ContentRequest, stream grpc.ServerStreamingServer[wire.ContentChunk]) error {
	if _, err := caller(stream.Context()); err != nil {
		return toStatus(err)
	}
	if v.d.cfg.Registry == nil {
		return toStatus(errNoRegistry)
	}
	body, size, err := v.d.cfg.Registry.Content(stream.Context(), r.Digest)
	if err != nil {
		return toStatus(err)
	}
	defer body.Close()
	if _, err := body.Seek(r.Offset, io.SeekStart); err != nil {
		return toStatus(kind.New(kind.Invalid, "offset %d: %w", r.Offset, err))
	}
	for first := true; ; first = false {
		buf := make([]byte, contentChunk) // gRPC may keep what it was handed
		n, err := io.ReadFull(body, buf)
		if n > 0 || first {
			c := &wire.ContentChunk{Data: buf[:n]}
			if first {
				c.Size = size
			}
			if err := stream.Send(c); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return toStatus(err)
		}
	}
}
