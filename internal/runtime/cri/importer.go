package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	goruntime "runtime"
	"time"

	streaming "github.com/containerd/containerd/api/services/streaming/v1"
	transfer "github.com/containerd/containerd/api/services/transfer/v1"
	"github.com/containerd/containerd/api/types"
	transfertypes "github.com/containerd/containerd/api/types/transfer"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"trireme/internal/kind"
)

// Where containerd keeps what CRI sees.
const (
	criNamespace = "k8s.io"
	managedLabel = "io.cri-containerd.image"
	// Images that an archive gives a tag only are stored under this name and the tag.
	importedName = "localhost/imported"
	chunkBytes   = 256 << 10
	appearMax    = 15 * time.Second
)

// Import reads a docker or OCI archive, plain or compressed, into containerd,
// unpacks it for this node's platform and returns the names it brought, which
// Image finds at once.
func (r *Runtime) Import(ctx context.Context, archive io.Reader) ([]string, error) {
	ctx, cancel := context.WithCancel(inNamespace(ctx))
	defer cancel() // ends what is left of the streams
	im := &importer{client: streaming.NewStreamingClient(r.conn), cancel: cancel}
	dataCtx, dataDone := context.WithCancel(ctx)
	defer dataDone()
	id := uuid.NewString()
	data, err := im.open(dataCtx, "data-"+id)
	if err != nil {
		return nil, classify(err, "importing images", "")
	}
	progress, err := im.open(ctx, "progress-"+id)
	if err != nil {
		return nil, classify(err, "importing images", "")
	}
	sent, saved := make(chan error, 1), make(chan []string, 1)
	go func() { sent <- im.send(data, archive) }()
	go func() { saved <- names(progress) }()

	_, err = transfer.NewTransferClient(r.conn).Transfer(ctx, importRequest(id))
	dataDone() // what follows the end of an archive is not asked for
	if sendErr := <-sent; errors.Is(sendErr, errRead) {
		return nil, fmt.Errorf("importing images: %w", sendErr)
	}
	if err != nil {
		return nil, badArchive(classify(err, "importing images", ""))
	}
	brought := <-saved
	if len(brought) == 0 {
		return nil, kind.New(kind.Invalid, "importing images: the archive names none for linux/%s", goruntime.GOARCH)
	}
	return brought, r.appear(ctx, brought)
}

// badArchive calls what containerd could not classify the archive's fault: it is
// the only input.
func badArchive(err error) error {
	if kind.Of(err) == kind.Internal || kind.Of(err) == kind.NotFound {
		return &kind.Error{Kind: kind.Invalid, Err: err}
	}
	return err
}

func importRequest(id string) *transfer.TransferRequest {
	platform := &types.Platform{OS: "linux", Architecture: goruntime.GOARCH}
	return &transfer.TransferRequest{
		Source: pack(&transfertypes.ImageImportStream{Stream: "data-" + id}),
		Destination: pack(&transfertypes.ImageStore{
			Labels:    map[string]string{managedLabel: "managed"},
			Platforms: []*types.Platform{platform},
			Unpacks:   []*transfertypes.UnpackConfiguration{{Platform: platform}},
			ExtraReferences: []*transfertypes.ImageReference{{
				Name: importedName, IsPrefix: true, AllowOverwrite: true,
			}},
		}),
		Options: &transfer.TransferOptions{ProgressStream: "progress-" + id},
	}
}

// appear waits until CRI shows the images: its plugin learns of them by
// containerd's events, a moment after the transfer ends.
func (r *Runtime) appear(ctx context.Context, brought []string) error {
	ctx, cancel := context.WithTimeout(ctx, appearMax)
	defer cancel()
	for _, name := range brought {
		for {
			_, err := r.Image(ctx, name)
			if err == nil {
				break
			}
			if !kind.Is(err, kind.NotFound) {
				return err
			}
			select {
			case <-ctx.Done():
				return kind.New(kind.Timeout, "importing images: %s was stored but CRI does not show it", name)
			case <-time.After(5 * time.Millisecond): // CRI has no event for images
			}
		}
	}
	return nil
}

// errRead marks a failure of the archive's reader.
var errRead = errors.New("reading the archive")

// importer speaks containerd's streaming protocol (api/services/streaming/v1):
// a stream is named by its first message and acknowledged; then the receiver
// grants windows of bytes and the sender keeps within them.
type importer struct {
	client streaming.StreamingClient
	cancel context.CancelFunc
}

func (im *importer) open(ctx context.Context, id string) (streaming.Streaming_StreamClient, error) {
	s, err := im.client.Stream(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Send(pack(&streaming.StreamInit{ID: id})); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if _, err := s.Recv(); err != nil {
		return nil, err
	}
	return s, nil
}

// send copies the archive into the stream. When the archive cannot be read it
// cancels the import: the protocol has no other way to say that the end is not
// the end.
func (im *importer) send(s streaming.Streaming_StreamClient, archive io.Reader) error {
	window := 0
	buf := make([]byte, chunkBytes)
	for {
		for window <= 0 {
			n, err := granted(s)
			if err != nil {
				return err
			}
			window += n
		}
		n, err := archive.Read(buf[:min(len(buf), window)])
		if n > 0 {
			window -= n
			if err := s.Send(pack(&transfertypes.Data{Data: buf[:n]})); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return s.CloseSend()
		}
		if err != nil {
			im.cancel()
			return fmt.Errorf("%w: %w", errRead, err)
		}
	}
}

func granted(s streaming.Streaming_StreamClient) (int, error) {
	msg, err := s.Recv()
	if err != nil {
		return 0, err
	}
	var w transfertypes.WindowUpdate
	if err := msg.UnmarshalTo(&w); err != nil {
		return 0, status.Errorf(codes.Internal, "streaming: %v", err)
	}
	return int(w.Update), nil
}

// names collects what the transfer reports as saved, until its stream ends.
func names(s streaming.Streaming_StreamClient) (saved []string) {
	for {
		msg, err := s.Recv()
		if err != nil {
			return saved
		}
		var p transfertypes.Progress
		if msg.UnmarshalTo(&p) == nil && p.Event == "saved" {
			saved = append(saved, p.Name)
		}
	}
}

// pack is anypb.New with the bare type name that containerd looks up.
func pack(m proto.Message) *anypb.Any {
	value, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", m, err)) // only invalid UTF-8 can do this, and we send none
	}
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: value}
}
