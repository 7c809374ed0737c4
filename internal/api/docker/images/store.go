package images

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"trireme/internal/api/docker/engine"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/tables"
)

// manifestMax bounds a manifest, an index or a configuration, in bytes.
const manifestMax = 8 << 20

// agent asks a node's agent as the caller, which takes a right to nodes/proxy.
func (c *call) agent(method, node, path string) *rest.Request {
	return c.Typed.CoreV1().RESTClient().Verb(method).Resource("nodes").Name(node).SubResource("proxy").Suffix(strings.Split(path, "/")...)
}

// fromAgent classifies what an agent said, in plain text, which the client of the
// Kubernetes door keeps beside a message of its own.
func fromAgent(err error) error {
	was := engine.FromKubernetes(err)
	var s apierrors.APIStatus
	if !errors.As(err, &s) || s.Status().Details == nil {
		return was
	}
	for _, cause := range s.Status().Details.Causes {
		if cause.Type == metav1.CauseTypeUnexpectedServerResponse && cause.Message != "" {
			return kind.New(kind.Of(was), "%s", strings.TrimSpace(cause.Message))
		}
	}
	return was
}

// stored is an image that an agent has, as package partial completes it.
type stored struct {
	c        *call
	node     string
	manifest []byte
	media    types.MediaType
}

// open returns the image, from the first node that has it.
func (c *call) open(h *held) (v1.Image, error) {
	s := &stored{c: c, node: h.nodes[0]}
	b, err := c.agent("GET", s.node, "images/descriptor").Param("ref", h.names[0]).DoRaw(c.Context())
	if err != nil {
		return nil, fromAgent(err)
	}
	var d ocispec.Descriptor
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, err
	}
	s.media = types.MediaType(d.MediaType)
	if s.manifest, err = s.read(d.Digest.String()); err != nil {
		return nil, err
	}
	if s.media.IsIndex() {
		if err := s.choose(); err != nil {
			return nil, err
		}
	}
	return partial.CompressedToImage(s)
}

// choose goes from the index to the manifest of the node's platform.
func (s *stored) choose() error {
	var index v1.IndexManifest
	if err := json.Unmarshal(s.manifest, &index); err != nil {
		return err
	}
	n, ok := tables.Nodes.Get(s.c.All, object.Key{Name: s.node})
	for _, m := range index.Manifests {
		if !m.MediaType.IsImage() || ok && m.Platform != nil && m.Platform.Architecture != n.Status.NodeInfo.Architecture {
			continue
		}
		b, err := s.read(m.Digest.String())
		if err != nil {
			continue // of a platform that was not pulled
		}
		s.manifest, s.media = b, m.MediaType
		return nil
	}
	return kind.New(kind.NotFound, "node %s has no part of this image for its own platform", s.node)
}

func (s *stored) stream(digest string) (io.ReadCloser, error) {
	body, err := s.c.agent("GET", s.node, "images/content/"+digest).Stream(s.c.Context())
	return body, fromAgent(err)
}

func (s *stored) read(digest string) ([]byte, error) {
	body, err := s.stream(digest)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, manifestMax))
}

// RawConfigFile implements partial.CompressedImageCore.
func (s *stored) RawConfigFile() ([]byte, error) {
	m, err := partial.Manifest(s)
	if err != nil {
		return nil, err
	}
	return s.read(m.Config.Digest.String())
}

// RawManifest implements partial.CompressedImageCore.
func (s *stored) RawManifest() ([]byte, error) { return s.manifest, nil }

// MediaType implements partial.CompressedImageCore.
func (s *stored) MediaType() (types.MediaType, error) { return s.media, nil }

// LayerByDigest implements partial.CompressedImageCore.
func (s *stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := partial.Manifest(s)
	if err != nil {
		return nil, err
	}
	if h == m.Config.Digest {
		return &storedLayer{s, m.Config}, nil
	}
	for _, l := range m.Layers {
		if l.Digest == h {
			return &storedLayer{s, l}, nil
		}
	}
	return nil, kind.New(kind.NotFound, "the image has no layer %s", h)
}

// storedLayer is one layer of it.
type storedLayer struct {
	s *stored
	d v1.Descriptor
}

// Digest implements partial.CompressedLayer.
func (l *storedLayer) Digest() (v1.Hash, error) { return l.d.Digest, nil }

// Compressed implements partial.CompressedLayer.
func (l *storedLayer) Compressed() (io.ReadCloser, error) { return l.s.stream(l.d.Digest.String()) }

// Size implements partial.CompressedLayer.
func (l *storedLayer) Size() (int64, error) { return l.d.Size, nil }

// MediaType implements partial.CompressedLayer.
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }
