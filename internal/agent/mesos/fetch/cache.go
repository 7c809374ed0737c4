package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// cache keeps downloads that several tasks may want, the least recently used going first.
type cache struct {
	dir string
	max int64 // bytes

	mu   sync.Mutex
	busy map[string]*filling
}

// filling is a download under way; done is closed after err is set.
type filling struct {
	done chan struct{}
	err  error
}

// cacheKey tells apart who may reach what: a task that may not reach an address does not get
// what another had from there.
func cacheKey(uri string, loopback bool) string {
	sum := sha256.Sum256([]byte(strconv.FormatBool(loopback) + " " + uri))
	return hex.EncodeToString(sum[:])
}

// open opens what get downloads, once for all who ask at a time and later.
func (c *cache) open(ctx context.Context, key string, get func(context.Context) (io.ReadCloser, error), fileMax int64) (io.ReadCloser, error) {
	name := filepath.Join(c.dir, key)
	for {
		c.mu.Lock()
		if f, err := os.Open(name); err == nil {
			c.mu.Unlock()
			now := time.Now()
			return f, os.Chtimes(name, now, now) // it was used now
		}
		other := c.busy[key]
		if other == nil {
			mine := &filling{done: make(chan struct{})}
			c.busy[key] = mine
			c.mu.Unlock()
			mine.err = c.fill(ctx, name, get, fileMax)
			c.mu.Lock()
			delete(c.busy, key)
			c.mu.Unlock()
			close(mine.done)
			if mine.err != nil {
				return nil, mine.err
			}
			continue
		}
		c.mu.Unlock()
		select {
		case <-other.done:
			if other.err != nil && !errors.Is(other.err, context.Canceled) {
				return nil, other.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *cache) fill(ctx context.Context, name string, get func(context.Context) (io.ReadCloser, error), fileMax int64) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	from, err := get(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	tmp, err := os.CreateTemp(c.dir, "new-*")
	if err != nil {
		return err
	}
	size, err := io.Copy(tmp, &capped{from: from, left: fileMax, what: "the file"})
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = errors.Join(c.makeRoom(size), os.Rename(tmp.Name(), name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// makeRoom removes what was not used for longest until so many bytes more fit. One file that
// is larger than the cache stays alone in it.
func (c *cache) makeRoom(more int64) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kept []fs.FileInfo
	for _, e := range entries {
		if st, err := e.Info(); err == nil && len(e.Name()) == 2*sha256.Size {
			kept = append(kept, st)
			more += st.Size()
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, st := range kept {
		if more <= c.max {
			break
		}
		if err := os.Remove(filepath.Join(c.dir, st.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		more -= st.Size()
	}
	return nil
}

// Reclaim empties the cache: the node runs short of disk. What is being downloaded goes on.
func (f *Fetcher) Reclaim() error {
	entries, err := os.ReadDir(f.cache.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		if len(e.Name()) == 2*sha256.Size {
			errs = append(errs, os.Remove(filepath.Join(f.cache.dir, e.Name())))
		}
	}
	return errors.Join(append(errs, err)...)
}

// Prepare removes the halves of downloads that an agent before this one left.
func (f *Fetcher) Prepare() error {
	halves, err := filepath.Glob(filepath.Join(f.cache.dir, "new-*"))
	for _, name := range halves {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
