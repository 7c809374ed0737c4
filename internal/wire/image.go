package wire

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trireme/internal/chunk"
	"trireme/internal/kind"
)

// Image returns what the cluster's registry holds under a whole reference, and
// the agents (host:port of their HTTPS) that have it too.
func (c *Client) Image(ctx context.Context, ref string) (ocispec.Descriptor, []string, error) {
	conn := c.manager.Load()
	if conn == nil {
		return ocispec.Descriptor{}, nil, errNoSession
	}
	r, err := NewAgentsClient(conn).Image(ctx, &ImageRequest{Reference: ref})
	if err != nil {
		return ocispec.Descriptor{}, nil, fromStatus(err)
	}
	return ocispec.Descriptor{MediaType: r.MediaType, Digest: digest.Digest(r.Digest), Size: r.Size}, r.Peers, nil
}

// Content opens what the cluster's registry holds under a digest, from an offset
// in bytes, and returns the size of the whole.
func (c *Client) Content(ctx context.Context, dgst string, offset int64) (io.ReadCloser, int64, error) {
	conn := c.manager.Load()
	if conn == nil {
		return nil, 0, errNoSession
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := NewAgentsClient(conn).Content(ctx, &ContentRequest{Digest: dgst, Offset: offset})
	if err != nil {
		cancel()
		return nil, 0, fromStatus(err)
	}
	first, err := stream.Recv()
	if err != nil {
		cancel()
		return nil, 0, fromStatus(err)
	}
	data := first.Data
	return chunk.NewReader(func() ([]byte, error) {
		if b := data; b != nil {
			data = nil
			return b, nil
		}
		m, err := stream.Recv()
		return m.GetData(), err
	}, cancel), first.Size, nil
}

// fromStatus tells what is not there from what cannot be asked for now.
func fromStatus(err error) error {
	k := kind.Unavailable
	if status.Code(err) == codes.NotFound {
		k = kind.NotFound
	}
	return &kind.Error{Kind: k, Err: err}
}
