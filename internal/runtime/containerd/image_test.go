package containerd_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/runtimetest"
)

func TestImagesOfTheNode(t *testing.T) {
	n := newNode(t)
	stop := n.run(t)
	r := n.dial(t)
	pause, err := r.Image(t.Context(), pauseImage)
	if err != nil || !pause.Pinned {
		t.Errorf("the pause image: %+v, %v; want it pinned", pause, err)
	}
	test, err := r.Image(t.Context(), testImage)
	if err != nil || test.Pinned || test.User != "worker" {
		t.Errorf("the test image: %+v, %v", test, err)
	}
	all, err := r.ListImages(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("images: %+v, %v; want the two imported", all, err)
	}

	// An archive is read again when one of its images went away, and only then.
	if err := r.RemoveImage(t.Context(), test.ID); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, want := range []int{1, 0} {
		var log bytes.Buffer
		n.cfg.Log = logTo(&log)
		stop = n.run(t)
		if _, err := r.Image(t.Context(), testImage); err != nil {
			t.Error(err)
		}
		stop()
		if got := strings.Count(log.String(), "imported images"); got != want {
			t.Errorf("%d archives were imported, want %d:\n%s", got, want, log.String())
		}
	}
}

func TestImport(t *testing.T) {
	n := newNode(t)
	defer n.run(t)()
	r := n.dial(t)
	archive := runtimetest.Archive(t, importedTo, n.prog, "", "serve")

	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := r.Import(t.Context(), &packed); err != nil || !slices.Equal(names, []string{importedTo}) {
		t.Errorf("a compressed archive: %v, %v", names, err)
	}

	broken := errors.New("the disk is on fire")
	_, err := r.Import(t.Context(), io.MultiReader(bytes.NewReader(archive[:len(archive)/2]), failing{broken}))
	if !errors.Is(err, broken) {
		t.Errorf("an archive that cannot be read: %v, want the reader's error", err)
	}
	for name, bad := range map[string][]byte{
		"truncated": archive[:len(archive)/2], "garbage": []byte(strings.Repeat("not a tar\n", 1000)), "empty": nil,
	} {
		if names, err := r.Import(t.Context(), bytes.NewReader(bad)); !kind.Is(err, kind.Invalid) {
			t.Errorf("%s: %v, %v, want invalid", name, names, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestPull(t *testing.T) {
	n := newNode(t)
	defer n.run(t)()
	r := n.dial(t)
	images := registry.New(registry.Logger(quietLog()))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		if req.Method == http.MethodGet || req.Method == http.MethodHead {
			if user != "reader" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
				return
			}
		}
		images.ServeHTTP(w, req)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ref := host + "/team/app:1"
	good := runtime.Credentials{Username: "reader", Password: "secret"}
	push(t, ref, runtimetest.Archive(t, ref, n.prog, "", "print", "pulled"), images)

	for name, creds := range map[string][]runtime.Credentials{
		"without credentials": nil, "with wrong ones": {{Username: "reader", Password: "guess"}},
	} {
		if _, err := r.Pull(t.Context(), ref, creds, nil); !kind.Is(err, kind.Denied) {
			t.Errorf("%s: %v, want denied", name, err)
		}
	}
	if _, err := r.Pull(t.Context(), host+"/team/app:2", []runtime.Credentials{good}, nil); !kind.Is(err, kind.NotFound) {
		t.Errorf("a tag that is not there: %v, want not found", err)
	}
	if _, err := r.Pull(t.Context(), "127.0.0.1:1/app:1", nil, nil); !kind.Is(err, kind.Unavailable) {
		t.Errorf("a registry that is not there: %v, want unavailable", err)
	}
	if _, err := r.Pull(t.Context(), "UPPER//bad", nil, nil); !kind.Is(err, kind.Invalid) {
		t.Errorf("no reference at all: %v, want invalid", err)
	}

	// The second of two credentials is the right one.
	id, err := r.Pull(t.Context(), ref, []runtime.Credentials{{Username: "other", Password: "other"}, good}, nil)
	if err != nil {
		t.Fatal(err)
	}
	img, err := r.Image(t.Context(), ref)
	if err != nil || img.ID != id || !slices.Contains(img.Names, ref) || len(img.Digests) != 1 {
		t.Fatalf("pulled %s: %+v, %v", id, img, err)
	}
	p := n.pod(t, r, "pulled", func(_ *runtime.SandboxConfig, c *runtime.ContainerConfig) { c.Image, c.ImageRef = id, ref }, "exit", "7")
	if c := awaitExit(t, r, p.container); c.ExitCode != 7 || c.ImageRef != ref || c.ImageID != id {
		t.Errorf("a container of the pulled image: %+v", c)
	}
}

// push stores an archive's image in the registry, past its guard.
func push(t *testing.T, ref string, archive []byte, images http.Handler) {
	t.Helper()
	open := httptest.NewServer(images)
	defer open.Close()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(ref, "/")
	to, err := name.ParseReference(strings.TrimPrefix(open.URL, "http://")+"/"+rest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, img); err != nil {
		t.Fatal(err)
	}
}

// TestBundledImages imports what the bundle brings, as a node does at its start.
func TestBundledImages(t *testing.T) {
	n := newNode(t)
	archives, err := filepath.Glob(filepath.Join(bundle(), "..", "images", "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Skipf("no images are built beside %s: run make build", bundle())
	}
	n.cfg.Images = append(n.cfg.Images, archives...)
	defer n.run(t)()
	all, err := n.dial(t).ListImages(t.Context())
	if err != nil || len(all) != 2+len(archives) {
		t.Errorf("images: %+v, %v; want the test's two and %d of the bundle", all, err, len(archives))
	}
}
