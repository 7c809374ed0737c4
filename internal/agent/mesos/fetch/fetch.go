package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"trireme/internal/object/sandbox"
)

// Limits bound what one task may fetch. Zero values mean the default in brackets.
type Limits struct {
	FileBytes     int64         // of one download [8 GiB]
	UnpackedBytes int64         // of all that one archive holds [32 GiB]
	Entries       int           // of one archive [200,000]
	Stall         time.Duration // without a byte [1 min]
	Total         time.Duration // for everything [1 h]
	CacheBytes    int64         // that the cache keeps [2 GiB]
}

func (l Limits) filled() Limits {
	return Limits{
		FileBytes: cmp.Or(l.FileBytes, 8<<30), UnpackedBytes: cmp.Or(l.UnpackedBytes, 32<<30), Entries: cmp.Or(l.Entries, 200_000),
		Stall: cmp.Or(l.Stall, time.Minute), Total: cmp.Or(l.Total, time.Hour), CacheBytes: cmp.Or(l.CacheBytes, 2<<30),
	}
}

// Fetcher fetches for all tasks of a node.
type Fetcher struct {
	limits Limits
	cache  cache
}

// New returns a fetcher that keeps its cache in dir.
func New(dir string, limits Limits) *Fetcher {
	limits = limits.filled()
	return &Fetcher{limits: limits, cache: cache{dir: dir, max: limits.CacheBytes, busy: map[string]*filling{}}}
}

// Request is all that is fetched for one sandbox.
type Request struct {
	Dir  string // the sandbox: it is there
	URIs []sandbox.URI
	// Node opens a file of the node for the task, if the task may read it; nil: it may read
	// none.
	Node func(path string) (*os.File, error)
	// Loopback says that the task may reach the node's own loopback and link-local addresses.
	Loopback bool
}

// Fetch brings everything, one after the other. An error names the URI.
func (f *Fetcher) Fetch(ctx context.Context, r Request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.limits.Total, fmt.Errorf("everything together took longer than %s", f.limits.Total))
	defer cancel()
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return fmt.Errorf("opening the sandbox: %w", err)
	}
	defer root.Close()
	for i := range r.URIs {
		if err := f.one(ctx, root, &r, &r.URIs[i]); err != nil {
			return fmt.Errorf("fetching %s: %w", redacted(r.URIs[i].Value), err)
		}
	}
	return nil
}

func (f *Fetcher) one(ctx context.Context, root *os.Root, r *Request, u *sandbox.URI) error {
	name, err := fileName(u)
	if err != nil {
		return err
	}
	body, err := f.open(ctx, r, u)
	if err != nil {
		return err
	}
	defer body.Close()
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0o644)
	if u.Executable {
		mode = 0o755
	}
	if err := f.write(root, name, mode, body); err != nil {
		return err
	}
	if !u.Extracts() {
		return nil
	}
	return unpack(ctx, root, name, f.limits)
}

// open opens what the URI names, in the cache where it is to be kept there.
func (f *Fetcher) open(ctx context.Context, r *Request, u *sandbox.URI) (io.ReadCloser, error) {
	parsed, err := url.Parse(u.Value)
	if err != nil {
		return nil, fmt.Errorf("it is no URI: %w", errors.Unwrap(err))
	}
	switch parsed.Scheme {
	case "http", "https":
		get := func(ctx context.Context) (io.ReadCloser, error) { return download(ctx, u.Value, r.Loopback, f.limits) }
		if !u.Cache {
			return get(ctx)
		}
		return f.cache.open(ctx, cacheKey(u.Value, r.Loopback), get, f.limits.FileBytes)
	case "file", "":
		if parsed.Scheme == "file" && parsed.Host != "" && parsed.Host != "localhost" {
			return nil, fmt.Errorf("a file of host %s cannot be had: only the node's own", parsed.Host)
		}
		return nodeFile(r, parsed.Path)
	}
	return nil, fmt.Errorf("scheme %q is not known here: write http, https or file", parsed.Scheme)
}

func nodeFile(r *Request, name string) (io.ReadCloser, error) {
	if !filepath.IsAbs(name) {
		return nil, fmt.Errorf("path %q is not absolute", name)
	}
	if r.Node == nil {
		return nil, fmt.Errorf("the task may not read files of its node: it has none of its folders as a host path")
	}
	file, err := r.Node(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		file.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is not a file", name))
	}
	return file, nil
}

// fileName returns the name that the URI gets in the sandbox.
func fileName(u *sandbox.URI) (string, error) {
	if u.OutputFile != "" {
		if !filepath.IsLocal(u.OutputFile) || path.Clean(u.OutputFile) == "." {
			return "", fmt.Errorf("output_file: %q would leave the sandbox", u.OutputFile)
		}
		return path.Clean(u.OutputFile), nil
	}
	p := u.Value
	if parsed, err := url.Parse(u.Value); err == nil {
		p = parsed.Path
	}
	name := path.Base(p)
	if err := sandbox.CheckID("its file name", name); err != nil || name == "/" {
		return "", errors.Join(err, fmt.Errorf("it does not end with the name of a file: give it an output_file"))
	}
	return name, nil
}

// write writes the file into the sandbox, in the place of one that is there.
func (f *Fetcher) write(root *os.Root, name string, mode fs.FileMode, from io.Reader) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	to, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, &capped{from: from, left: f.limits.FileBytes, what: "the file"})
	return errors.Join(err, to.Chmod(mode), to.Close())
}

// capped is a reader that fails where there is more than may be.
type capped struct {
	from io.Reader
	left int64
	what string
	max  int64
}

func (c *capped) Read(b []byte) (int, error) {
	if c.max == 0 {
		c.max = c.left
	}
	n, err := c.from.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, fmt.Errorf("%s is larger than the limit of %d bytes", c.what, c.max)
	}
	return n, err
}

// redacted is a URI without its password.
func redacted(value string) string {
	if u, err := url.Parse(value); err == nil {
		return u.Redacted()
	}
	return strings.ToValidUTF8(value, "?")
}
