package runtime

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"trireme/internal/kind"
)

// Pull brings an image unless the script calls it missing.
func (f *Fake) Pull(ctx context.Context, ref string, _ []Credentials, _ *SandboxConfig) (string, error) {
	if err := f.call(ctx, "Pull", ref, f.cfg.PullDelay); err != nil {
		return "", err
	}
	if slices.Contains(f.cfg.Missing, ref) {
		return "", notFound("pulling image", ref)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.images[ref] == nil {
		f.images[ref] = fakeImage(ref)
	}
	return f.images[ref].ID, nil
}

// Image returns the image that a reference or ID names.
func (f *Fake) Image(ctx context.Context, ref string) (*Image, error) {
	if err := f.call(ctx, "Image", ref, 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImageLocked(ref)
	if img == nil {
		return nil, notFound("looking for image", ref)
	}
	one := *img
	return &one, nil
}

// ListImages returns all images, sorted by ID.
func (f *Fake) ListImages(ctx context.Context) ([]Image, error) {
	if err := f.call(ctx, "ListImages", "", 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Image, 0, len(f.images))
	for _, img := range f.images {
		out = append(out, *img)
	}
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// RemoveImage removes the image of an ID or reference.
func (f *Fake) RemoveImage(ctx context.Context, id string) error {
	if err := f.call(ctx, "RemoveImage", id, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for ref, img := range f.images {
		if img.ID == id || ref == id {
			delete(f.images, ref)
		}
	}
	return nil
}

// Import reads one name a line: the fake's own archive format.
func (f *Fake) Import(ctx context.Context, archive io.Reader) ([]string, error) {
	if err := f.call(ctx, "Import", "", 0); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(archive)
	if err != nil {
		return nil, fmt.Errorf("importing images: %w", err)
	}
	names := strings.Fields(string(b))
	if len(names) == 0 {
		return nil, kind.New(kind.Invalid, "importing images: an empty archive")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range names {
		f.images[ref] = fakeImage(ref)
		f.images[ref].Digests = nil // no registry gave it one
	}
	return names, nil
}

// Tag gives a fake image another name.
func (f *Fake) Tag(ctx context.Context, ref, as string) error {
	if err := f.call(ctx, "Tag", ref, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImageLocked(ref)
	if img == nil {
		return notFound("looking for image", ref)
	}
	f.images[as] = img
	return nil
}

// Untag takes a fake image's name away.
func (f *Fake) Untag(ctx context.Context, ref string) error {
	if err := f.call(ctx, "Untag", ref, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.images[ref] == nil {
		return notFound("looking for image", ref)
	}
	delete(f.images, ref)
	return nil
}

// Descriptor returns that of the fake image of the name.
func (f *Fake) Descriptor(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	if err := f.call(ctx, "Descriptor", ref, 0); err != nil {
		return ocispec.Descriptor{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImageLocked(ref)
	if img == nil {
		return ocispec.Descriptor{}, notFound("looking for image", ref)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(img.ID), Size: int64(len(ref))}, nil
}

// Content returns a fake image's configuration, which its ID is the digest of.
func (f *Fake) Content(ctx context.Context, dgst string, offset int64) (io.ReadCloser, int64, error) {
	if err := f.call(ctx, "Content", dgst, 0); err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImageLocked(dgst)
	if img == nil {
		return nil, 0, notFound("looking for content", dgst)
	}
	text := fakeImageConfig(img.Names[0])
	if offset > int64(len(text)) {
		return nil, 0, notFound("looking for content", dgst)
	}
	return io.NopCloser(strings.NewReader(text[offset:])), int64(len(text)), nil
}

// HoldLayers returns a folder that is not there: nothing is unpacked.
func (f *Fake) HoldLayers(ctx context.Context, ref, _ string) ([]string, error) {
	if _, err := f.Image(ctx, ref); err != nil {
		return nil, err
	}
	return []string{"/nonexistent/" + ref}, nil
}

// ReleaseLayers does nothing.
func (f *Fake) ReleaseLayers(context.Context, string) error { return nil }

// fakeImageBytes is the size of every fake image.
const fakeImageBytes = 10 << 20

// ImageFS returns the script's capacity and 10 MiB for each image.
func (f *Fake) ImageFS(ctx context.Context) (capacity, used int64, err error) {
	if err := f.call(ctx, "ImageFS", "", 0); err != nil {
		return 0, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	capacity = f.cfg.CapacityBytes
	if capacity == 0 {
		capacity = 100 << 30
	}
	return capacity, int64(len(f.images)) * fakeImageBytes, nil
}

func (f *Fake) findImageLocked(ref string) *Image {
	if img := f.images[ref]; img != nil {
		return img
	}
	for _, img := range f.images {
		if img.ID == ref {
			return img
		}
	}
	return nil
}

func fakeImageConfig(ref string) string { return fmt.Sprintf(`{"author": %q}`, ref) }

func fakeImage(ref string) *Image {
	id := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(fakeImageConfig(ref))))
	return &Image{ID: id, Names: []string{ref}, Digests: []string{ref + "@" + id}, SizeBytes: fakeImageBytes}
}
