package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"trireme/internal/kind"
	"trireme/internal/runtime/cri"
)

// imported remembers an archive that was read, so that a start with nothing new
// reads none.
type imported struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Names    []string  `json:"names"`
}

func (c *Containerd) importImages(ctx context.Context, r *cri.Runtime) error {
	seen := map[string]imported{}
	if b, err := os.ReadFile(c.dirs.imports()); err == nil {
		// A damaged record only means reading the archives again.
		_ = json.Unmarshal(b, &seen)
	}
	changed := false
	for _, path := range c.cfg.Images {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("importing images: %w", err)
		}
		was := seen[path]
		if was.Size == info.Size() && was.Modified.Equal(info.ModTime()) && allThere(ctx, r, was.Names) {
			continue
		}
		names, err := importArchive(ctx, r, path)
		if err != nil {
			return err
		}
		c.cfg.Log.Info("imported images", "archive", path, "names", names)
		seen[path] = imported{Size: info.Size(), Modified: info.ModTime(), Names: names}
		changed = true
	}
	if !changed {
		return nil
	}
	b, err := json.Marshal(seen)
	if err != nil {
		return fmt.Errorf("noting imported images: %w", err)
	}
	return os.WriteFile(c.dirs.imports(), b, 0o600)
}

func importArchive(ctx context.Context, r *cri.Runtime, path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("importing images: %w", err)
	}
	defer f.Close()
	names, err := r.Import(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return names, nil
}

func allThere(ctx context.Context, r *cri.Runtime, names []string) bool {
	for _, n := range names {
		if _, err := r.Image(ctx, n); kind.Is(err, kind.NotFound) {
			return false
		}
	}
	return len(names) > 0
}
