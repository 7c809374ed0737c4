package image

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"trireme/internal/runtime"
)

// The thresholds of collection, in percent of the images' file system, and how
// often it is looked at (Kubernetes, "Garbage Collection").
const (
	highPercent  = 85
	lowPercent   = 80
	collectEvery = 5 * time.Minute
	ageMin       = 2 * time.Minute // younger images stay: their pod may be about to start
)

// Run collects images until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := m.Collect(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Error("collecting images", "err", err)
		}
	}
}

// Collect removes unused images if the file system is too full, and returns how
// many bytes they had. What came from an archive stays: it cannot be had again.
func (m *Manager) Collect(ctx context.Context) (freed int64, err error) {
	capacity, used, err := m.cfg.Runtime.ImageFS(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking the size of the images' file system: %w", err)
	}
	unused, err := m.listUnused(ctx)
	if err != nil || capacity <= 0 || used*100 < capacity*highPercent {
		return 0, err
	}
	unused = slices.DeleteFunc(unused, imported)
	want := used - capacity*lowPercent/100
	freed, err = m.free(ctx, unused, want)
	if freed < want {
		err = errors.Join(err, fmt.Errorf("failed to garbage collect required amount of images: wanted to free %d bytes, but freed %d bytes", want, freed))
	}
	return freed, err
}

// Reclaim removes every image that nobody uses, also those that came from an
// archive: the node is short of disk and would end pods next.
func (m *Manager) Reclaim(ctx context.Context) error {
	unused, err := m.listUnused(ctx)
	if err != nil {
		return err
	}
	_, err = m.free(ctx, unused, math.MaxInt64)
	return err
}

// imported says whether an image came from an archive: no registry gave it a digest.
func imported(img runtime.Image) bool { return len(img.Digests) == 0 }

func (m *Manager) listUnused(ctx context.Context) ([]runtime.Image, error) {
	images, err := m.cfg.Runtime.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	return m.unused(images, m.cfg.InUse()), nil
}

// free removes images until they were so many bytes.
func (m *Manager) free(ctx context.Context, unused []runtime.Image, want int64) (freed int64, err error) {
	var errs []error
	for _, img := range unused {
		if freed >= want {
			return freed, nil
		}
		if err := m.remove(ctx, img.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		m.cfg.Log.Info("image collected", "object", img.ID, "bytes", img.SizeBytes)
		freed += img.SizeBytes
	}
	return freed, errors.Join(errs...)
}

// unused notes what is in use now, and returns what may go, the least recently
// used first.
func (m *Manager) unused(images []runtime.Image, inUse map[string]bool) []runtime.Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, img := range images {
		if _, ok := m.lastUse[img.ID]; !ok || inUse[img.ID] {
			m.lastUse[img.ID] = now // new to us counts as used
		}
	}
	var out []runtime.Image
	for _, img := range images {
		if !img.Pinned && !slices.Contains(img.Names, m.cfg.Keep) && !inUse[img.ID] && now.Sub(m.lastUse[img.ID]) >= ageMin {
			out = append(out, img)
		}
	}
	slices.SortFunc(out, func(a, b runtime.Image) int { return m.lastUse[a.ID].Compare(m.lastUse[b.ID]) })
	return out
}
