package cri

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/metadata"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/kind"
)

// Template is what a container of an image starts from.
type Template struct {
	ImageID string // "sha256:…"
	Chain   string // the identity of its unpacked layers (OCI image spec, "Layer ChainID")
	Config  ocispec.ImageConfig
}

// Template returns what the image that ref names says of its containers,
// kind.NotFound if it is not here.
func (r *Runtime) Template(ctx context.Context, ref string) (*Template, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	const op = "reading image"
	res, err := r.images.ImageStatus(ctx, &criv1.ImageStatusRequest{Image: &criv1.ImageSpec{Image: ref}, Verbose: true})
	if err != nil {
		return nil, classify(err, op, ref)
	}
	if res.Image == nil {
		return nil, &kind.Error{Kind: kind.NotFound, Op: op, Object: ref}
	}
	var info struct {
		Chain string        `json:"chainID"`
		Spec  ocispec.Image `json:"imageSpec"`
	}
	if err := json.Unmarshal([]byte(res.Info["info"]), &info); err != nil || info.Chain == "" {
		return nil, kind.New(kind.Invalid, "%s %s: the runtime does not say what its layers are (is it containerd?)", op, ref)
	}
	return &Template{ImageID: res.Image.Id, Chain: info.Chain, Config: info.Spec.Config}, nil
}

// The snapshotter that holds unpacked images, and how views of ours are named:
// one a chain and one a holder, kept from collection for as long as it is there.
const (
	snapshotter = "overlayfs"
	viewPrefix  = "trireme-view-"
	heldPrefix  = "trireme-held-"
	rootLabel   = "containerd.io/gc.root"
)

// Layers returns the folders of an image's unpacked layers, the top one first,
// as overlayfs wants them. They stay until DropLayers, whatever becomes of the
// image.
func (r *Runtime) Layers(ctx context.Context, chain string) ([]string, error) {
	return r.view(ctx, viewPrefix+chain, chain)
}

// HoldLayers implements runtime.Images.
func (r *Runtime) HoldLayers(ctx context.Context, ref, holder string) ([]string, error) {
	t, err := r.Template(ctx, ref)
	if err != nil {
		return nil, err
	}
	return r.view(ctx, heldPrefix+holder, t.Chain)
}

// ReleaseLayers implements runtime.Images.
func (r *Runtime) ReleaseLayers(ctx context.Context, holder string) error {
	return r.dropView(ctx, heldPrefix+holder)
}

// view returns the folders of a view of that name, which is made if it is not there.
func (r *Runtime) view(ctx context.Context, key, chain string) ([]string, error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), quickTimeout)
	defer cancel()
	calls := snapshots.NewSnapshotsClient(r.conn)
	made, err := calls.View(ctx, &snapshots.ViewSnapshotRequest{
		Snapshotter: snapshotter, Key: key, Parent: chain,
		Labels: map[string]string{rootLabel: time.Now().UTC().Format(time.RFC3339)},
	})
	if err == nil {
		return layersOf(made.Mounts)
	}
	if err := classify(err, "mounting image layers", chain); !kind.Is(err, kind.Exists) {
		return nil, err
	}
	there, err := calls.Mounts(ctx, &snapshots.MountsRequest{Snapshotter: snapshotter, Key: key})
	if err != nil {
		return nil, classify(err, "mounting image layers", chain)
	}
	return layersOf(there.Mounts)
}

// layersOf reads the folders out of a read-only mount: a bind of the only layer,
// or an overlay.
func layersOf(mounts []*types.Mount) ([]string, error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return []string{mounts[0].Source}, nil
	}
	if len(mounts) == 1 && mounts[0].Type == "overlay" {
		for _, o := range mounts[0].Options {
			if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
				return strings.Split(dirs, ":"), nil
			}
		}
	}
	return nil, kind.New(kind.Internal, "mounting image layers: %d mounts of a kind that is not known", len(mounts))
}

// DropLayers lets go of layers that no container uses; it is no error if there
// is no such view.
func (r *Runtime) DropLayers(ctx context.Context, chain string) error {
	return r.dropView(ctx, viewPrefix+chain)
}

func (r *Runtime) dropView(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), quickTimeout)
	defer cancel()
	_, err := snapshots.NewSnapshotsClient(r.conn).Remove(ctx, &snapshots.RemoveSnapshotRequest{Snapshotter: snapshotter, Key: key})
	if gone(err) {
		return nil
	}
	return classify(err, "letting go of image layers", key)
}

// HeldLayers returns the chains that Layers was asked for and that were not
// dropped.
func (r *Runtime) HeldLayers(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), quickTimeout)
	defer cancel()
	stream, err := snapshots.NewSnapshotsClient(r.conn).List(ctx, &snapshots.ListSnapshotsRequest{Snapshotter: snapshotter, Filters: []string{"kind==view"}})
	if err != nil {
		return nil, classify(err, "listing image layers", "")
	}
	var chains []string
	for {
		page, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return chains, nil
			}
			return nil, classify(err, "listing image layers", "")
		}
		for _, info := range page.Info {
			if chain, ok := strings.CutPrefix(info.Name, viewPrefix); ok {
				chains = append(chains, chain)
			}
		}
	}
}

func inNamespace(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", criNamespace)
}
