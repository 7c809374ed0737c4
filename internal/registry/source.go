package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"trireme/internal/kind"
)

// agents reads what agents have in their image stores.
type agents struct{ client *http.Client }

// answerWithin is how long an agent may take to begin to answer.
const answerWithin = 15 * time.Second

func newAgents(conf *tls.Config) *agents {
	return &agents{&http.Client{
		Transport:     &http.Transport{TLSClientConfig: conf, ResponseHeaderTimeout: answerWithin, TLSHandshakeTimeout: answerWithin, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// source is one agent as the source of a copy.
type source struct {
	*agents
	address string // host:port
}

var _ content.ReadOnlyStorage = source{}

// Descriptor returns what the agent has under a reference.
func (s source) Descriptor(ctx context.Context, ref string) (d ocispec.Descriptor, err error) {
	resp, err := s.ask(ctx, http.MethodGet, "/images/descriptor?ref="+url.QueryEscape(ref))
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&d); err != nil {
		return d, fmt.Errorf("reading the descriptor of %s: %w", ref, err)
	}
	return d, nil
}

// Fetch opens a blob of the agent's.
func (s source) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	resp, err := s.ask(ctx, http.MethodGet, contentPath(d))
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Exists asks whether the agent has a blob.
func (s source) Exists(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	resp, err := s.ask(ctx, http.MethodHead, contentPath(d))
	if kind.Is(err, kind.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, resp.Body.Close()
}

func contentPath(d ocispec.Descriptor) string { return "/images/content/" + string(d.Digest) }

func (s source) ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+s.address+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what can be read of it is enough
	k := kind.Unavailable
	if resp.StatusCode == http.StatusNotFound {
		k = kind.NotFound
	}
	return nil, kind.New(k, "GET %s: %s: %s", path, resp.Status, strings.TrimSpace(string(said)))
}

// here leaves out of an index the platforms that the agent does not have: a
// node keeps only what it can run.
func (s source) here(ctx context.Context, f content.Fetcher, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	all, err := content.Successors(ctx, f, d)
	if err != nil || !isIndex(d.MediaType) {
		return all, err
	}
	var have []ocispec.Descriptor
	for _, child := range all {
		ok, err := s.Exists(ctx, child)
		if err != nil {
			return nil, err
		}
		if ok {
			have = append(have, child)
		}
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("the node has the index %s and none of its images", d.Digest)
	}
	return have, nil
}

// dockerIndex is what docker calls an index.
const dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerIndex
}
