package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"trireme/internal/kind"
)

// blob answers with a layer or a configuration.
func (m *Mirror) blob(w http.ResponseWriter, r *http.Request, name, dgst string) error {
	if err := digest.Digest(dgst).Validate(); err != nil {
		return &kind.Error{Kind: kind.Invalid, Op: "reading digest", Object: dgst, Err: err}
	}
	peers, known := m.sources(name)
	if !known {
		return kind.New(kind.NotFound, "the cluster holds no image %s", name)
	}
	offset := offsetOf(r.Header.Get("Range"))
	for _, p := range peers {
		body, size, err := m.fromPeer(r.Context(), p, dgst, offset)
		if err != nil {
			m.cfg.Log.Debug("asking another agent for a part of an image", "agent", p, "digest", dgst, "err", err)
			if !kind.Is(err, kind.NotFound) {
				m.avoid(p)
			}
			continue
		}
		if err := send(w, r, part{body, dgst, offset, size}); err != nil {
			m.cfg.Log.Warn("another agent failed to send a part of an image", "agent", p, "digest", dgst, "err", err)
			m.avoid(p)
			panic(http.ErrAbortHandler) // the runtime asks again, and this agent is left out
		}
		return nil
	}
	body, size, err := m.cfg.Source.Content(r.Context(), dgst, offset)
	if err != nil {
		return err
	}
	if err := send(w, r, part{body, dgst, offset, size}); err != nil {
		m.cfg.Log.Warn("the manager failed to send a part of an image", "digest", dgst, "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (m *Mirror) avoid(peer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bad[peer] = time.Now().Add(badFor)
}

func (m *Mirror) fromPeer(ctx context.Context, peer, dgst string, offset int64) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+peer+"/images/content/"+dgst+"?offset="+strconv.FormatInt(offset, 10), nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusOK && resp.ContentLength >= 0 {
		return resp.Body, offset + resp.ContentLength, nil
	}
	resp.Body.Close()
	k := kind.Unavailable
	if resp.StatusCode == http.StatusNotFound {
		k = kind.NotFound
	}
	return nil, 0, kind.New(k, "%s says %s", peer, resp.Status)
}

// offsetOf returns where a range such as "bytes=100-" begins. Others are answered
// with all, as RFC 9110, section 14.2, lets us.
func offsetOf(header string) int64 {
	from, ok := strings.CutPrefix(header, "bytes=")
	if from, ok2 := strings.CutSuffix(from, "-"); ok && ok2 {
		if n, err := strconv.ParseInt(from, 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

// part is a blob from an offset to its end, both in bytes.
type part struct {
	body         io.ReadCloser
	digest       string
	offset, size int64 // size of the whole
}

// send copies the blob out and checks it on the way; a part of one is checked by
// who puts it together.
func send(w http.ResponseWriter, r *http.Request, p part) error {
	defer p.body.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", p.digest)
	h.Set("Content-Length", strconv.FormatInt(p.size-p.offset, 10))
	if p.offset > 0 {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.offset, p.size-1, p.size))
		w.WriteHeader(http.StatusPartialContent)
	}
	if r.Method == http.MethodHead {
		return nil
	}
	var sum hash.Hash
	var want string
	var out io.Writer = w
	if digits, ok := strings.CutPrefix(p.digest, "sha256:"); ok && p.offset == 0 {
		sum, want = sha256.New(), digits
		out = io.MultiWriter(sum, w)
	}
	n, err := io.Copy(out, p.body)
	switch {
	case r.Context().Err() != nil:
		return nil // nobody reads any more: no one's fault
	case err != nil:
		return err
	case n != p.size-p.offset:
		return fmt.Errorf("%d bytes of %d came", n, p.size-p.offset)
	case sum != nil && hex.EncodeToString(sum.Sum(nil)) != want:
		return errors.New("it has another digest")
	}
	return nil
}
