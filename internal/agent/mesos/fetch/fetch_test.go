package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trireme/internal/object/sandbox"
)

type entry struct {
	name, text string
	typ        byte // 0: a file
	link       string
	mode       int64
}

func tarred(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Linkname: e.link, Size: int64(len(e.text)), Mode: e.mode}
		if e.typ == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The same tar archive of one file "d/hello", compressed by xz and bzip2: Go writes neither.
var (
	txz  = unhex(`fd377a585a000004e6d6b4460200210116000000742fe5a3e027ff00625d00320bc9069422bbd552eb073635241ec067ace9e6782175bdfe172dda994baff9c906a28f50de89c76b143312f4833af44f663a550ab39acfcbb72653c916ae0bf45a3f94eaae1b4c568b4e1f11a0f143cdcc9ba6f3ab99cfc640214951139b9b190000000028d492d71096b9a300017e80500000005c079688b1c467fb020000000004595a`)
	tbz2 = unhex(`425a683931415926535979ef35bb000070fb84c99000444000f580002066449e00000080082000542524646803099327a824a9e53468d1a003414fbbc1dd0823001227944ce57584ea490304987a372f0494da84b1d366773c9cc212f4f16c5c2044beb6568aae4440fc5dc914e14241e7bcd6ec`)
)

func unhex(s string) []byte {
	var out []byte
	if _, err := fmt.Sscanf(s, "%x", &out); err != nil {
		panic(err)
	}
	return out
}

func zipped(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name}
		h.SetMode(0o755)
		if e.typ == tar.TypeSymlink {
			h.SetMode(0o777 | fs.ModeSymlink)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, e.text+e.link); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// served is a server of files by their paths.
func served(t *testing.T, files map[string][]byte) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if _, err := w.Write(b); err != nil {
			t.Log(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func fetched(t *testing.T, l Limits, u ...sandbox.URI) (dir string, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "sandbox")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := New(filepath.Join(filepath.Dir(dir), "cache"), l)
	return dir, f.Fetch(t.Context(), Request{Dir: dir, URIs: u, Loopback: true})
}

func want(t *testing.T, dir, name, text string, mode fs.FileMode) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(b) != text {
		t.Errorf("%s holds %q, %v, want %q", name, b, err, text)
		return
	}
	if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != mode {
		t.Errorf("%s has mode %v, %v, want %v", name, st.Mode(), err, mode)
	}
}

// TestFetch: files come under their names, and archives are unpacked beside themselves.
func TestFetch(t *testing.T) {
	hello := entry{name: "d/hello", text: "hello\n"}
	link := entry{name: "d/link", typ: tar.TypeSymlink, link: "hello"}
	url := served(t, map[string][]byte{
		"/plain": []byte("text"), "/run": []byte("#!"), "/a.tar": tarred(t, entry{name: "d", typ: tar.TypeDir, mode: 0o755}, hello, link),
		"/a.tgz": gzipped(t, tarred(t, hello)), "/a.tar.xz": txz, "/a.tar.bz2": tbz2, "/a.zip": zipped(t, hello, link), "/one.txt.gz": gzipped(t, []byte("one")),
	})
	no := false
	for name, tt := range map[string]struct {
		u          sandbox.URI
		file, text string
		mode       fs.FileMode
	}{
		"a file":             {sandbox.URI{Value: url + "/plain?x=1"}, "plain", "text", 0o644},
		"a program":          {sandbox.URI{Value: url + "/run", Executable: true}, "run", "#!", 0o755},
		"another name":       {sandbox.URI{Value: url + "/plain", OutputFile: "a/b/c"}, "a/b/c", "text", 0o644},
		"tar":                {sandbox.URI{Value: url + "/a.tar"}, "d/hello", "hello\n", 0o644},
		"a link":             {sandbox.URI{Value: url + "/a.tar"}, "d/link", "hello\n", 0o644},
		"tar in a folder":    {sandbox.URI{Value: url + "/a.tar", OutputFile: "x/a.tar"}, "x/d/hello", "hello\n", 0o644},
		"tgz":                {sandbox.URI{Value: url + "/a.tgz"}, "d/hello", "hello\n", 0o644},
		"xz":                 {sandbox.URI{Value: url + "/a.tar.xz"}, "d/hello", "hello\n", 0o644},
		"bzip2":              {sandbox.URI{Value: url + "/a.tar.bz2"}, "d/hello", "hello\n", 0o644},
		"zip":                {sandbox.URI{Value: url + "/a.zip"}, "d/hello", "hello\n", 0o755},
		"a link in a zip":    {sandbox.URI{Value: url + "/a.zip"}, "d/link", "hello\n", 0o755},
		"gz":                 {sandbox.URI{Value: url + "/one.txt.gz"}, "one.txt", "one", 0o644},
		"not to be unpacked": {sandbox.URI{Value: url + "/one.txt.gz", Extract: &no, OutputFile: "p"}, "p", string(gzipped(t, []byte("one"))), 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := fetched(t, Limits{}, tt.u)
			if err != nil {
				t.Fatal(err)
			}
			want(t, dir, tt.file, tt.text, tt.mode)
		})
	}
}

// TestRefuses: whatever would leave the sandbox, or grow beyond the limits, is refused by
// name, and nothing lies outside of it.
func TestRefuses(t *testing.T) {
	big := strings.Repeat("x", 5000)
	up, abs := entry{name: "../out", text: "x"}, entry{name: "/tmp/out", text: "x"}
	url := served(t, map[string][]byte{
		"/up.tar": tarred(t, up), "/abs.tar": tarred(t, abs), "/up.zip": zipped(t, up), "/deep.tgz": gzipped(t, tarred(t, entry{name: "a/../../out", text: "x"})),
		"/hard.tar": tarred(t, entry{name: "h", typ: tar.TypeLink, link: "/etc/passwd"}), "/dev.tar": tarred(t, entry{name: "null", typ: tar.TypeChar}),
		"/fifo.tar": tarred(t, entry{name: "f", typ: tar.TypeFifo}), "/linkup.tar": tarred(t, entry{name: "a", typ: tar.TypeSymlink, link: "../out"}),
		"/linkabs.tar": tarred(t, entry{name: "a", typ: tar.TypeSymlink, link: "/etc"}), "/linkup.zip": zipped(t, entry{name: "a", typ: tar.TypeSymlink, link: "b/../../x"}),
		"/bomb.tgz": gzipped(t, tarred(t, entry{name: "a", text: big}, entry{name: "b", text: big})), "/big": []byte(big + big),
		"/cut.tgz": gzipped(t, tarred(t, entry{name: "a", text: big}))[:40], "/no.zip": []byte("PK"), "/no.tar.xz": []byte("\xfd7zXZ\x00rubbish"),
		"/crowd.tar": tarred(t, entry{name: "1"}, entry{name: "2"}, entry{name: "3"}, entry{name: "4"}),
	})
	for value, says := range map[string]string{
		"/up.tar": `"../out" would leave`, "/abs.tar": `"/tmp/out" would leave`, "/up.zip": `"../out"`, "/deep.tgz": "would leave",
		"/hard.tar": `"h" is neither`, "/dev.tar": `"null" is neither`, "/fifo.tar": `"f" is neither`,
		"/linkup.tar": `link to "../out"`, "/linkabs.tar": `link to "/etc"`, "/linkup.zip": "out of the sandbox",
		"/bomb.tgz": "limit of 6000 bytes", "/big": "limit of 8000 bytes", "/crowd.tar": "limit of 3", "/cut.tgz": "unexpected EOF", "/no.zip": "zip", "/no.tar.xz": "xz",
		"/missing": "404", "/": "output_file", "/x/..": "folder",
	} {
		dir, err := fetched(t, Limits{FileBytes: 8000, UnpackedBytes: 6000, Entries: 3}, sandbox.URI{Value: url + value})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), url+value) {
			t.Errorf("%s: %v, want %q", value, err, says)
		}
		if _, err := os.Lstat(filepath.Join(filepath.Dir(dir), "out")); err == nil {
			t.Errorf("%s wrote outside of the sandbox", value)
		}
	}
	for _, u := range []sandbox.URI{
		{Value: url + "/up.tar", OutputFile: "../x"}, {Value: url + "/up.tar", OutputFile: "/x"}, {Value: "ftp://x/y"}, {Value: "relative/path"},
		{Value: "/etc/passwd"}, {Value: "file:///etc/passwd"}, {Value: "file://elsewhere/etc/passwd"}, {Value: "http://%zz"}, {Value: ""},
	} {
		if _, err := fetched(t, Limits{}, u); err == nil {
			t.Errorf("%+v was fetched", u)
		}
	}
}

// TestNoWayThroughLinks: an entry below a link of the same archive stays in the sandbox.
func TestNoWayThroughLinks(t *testing.T) {
	url := served(t, map[string][]byte{
		"/a.tar": tarred(t, entry{name: "in", typ: tar.TypeDir, mode: 0o755}, entry{name: "l", typ: tar.TypeSymlink, link: "in"}, entry{name: "l/x", text: "x"}),
		"/l":     []byte("text"),
	})
	dir, err := fetched(t, Limits{}, sandbox.URI{Value: url + "/a.tar"})
	if err != nil {
		t.Fatal(err)
	}
	want(t, dir, "in/x", "x", 0o644)
	// A link that a task, or another archive, left where a file is to be: it is replaced.
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errJoin(os.Remove(filepath.Join(dir, "l")), os.Symlink(outside, filepath.Join(dir, "l"))); err != nil {
		t.Fatal(err)
	}
	if err := New(t.TempDir(), Limits{}).Fetch(t.Context(), Request{Dir: dir, URIs: []sandbox.URI{{Value: url + "/l"}}, Loopback: true}); err != nil {
		t.Fatal(err)
	}
	want(t, dir, "l", "text", 0o644)
	if b, _ := os.ReadFile(outside); string(b) != "safe" {
		t.Errorf("the file behind the link holds %q", b)
	}
}

func errJoin(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestStalls: a server that sends nothing for the limit is given up, and so is one that is
// too slow altogether.
func TestStalls(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "some")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	u := sandbox.URI{Value: s.URL + "/x"}
	if _, err := fetched(t, Limits{Stall: 20 * time.Millisecond}, u); err == nil || !strings.Contains(err.Error(), "not a byte came for 20ms") {
		t.Errorf("a stall: %v", err)
	}
	if _, err := fetched(t, Limits{Total: 20 * time.Millisecond}, u); err == nil || !strings.Contains(err.Error(), "longer than 20ms") {
		t.Errorf("too slow: %v", err)
	}
}

// TestLoopback: a task that has a network of its own has nothing fetched from where only its
// node is.
func TestLoopback(t *testing.T) {
	url := served(t, map[string][]byte{"/x": []byte("secret")})
	err := New(t.TempDir(), Limits{}).Fetch(t.Context(), Request{Dir: t.TempDir(), URIs: []sandbox.URI{{Value: url + "/x"}}})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1 is an address of the node alone") {
		t.Errorf("it was fetched: %v", err)
	}
}

// TestCache: what many want at a time is fetched once, and again when it was pushed out; a
// failure is not kept.
func TestCache(t *testing.T) {
	var asked atomic.Int32
	broken := atomic.Bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if broken.Load() {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, strings.Repeat("x", 100)+r.URL.Path)
	}))
	defer s.Close()
	f := New(t.TempDir(), Limits{CacheBytes: 250})
	get := func(ctx context.Context, path string) error {
		dir := t.TempDir()
		if err := f.Fetch(ctx, Request{Dir: dir, URIs: []sandbox.URI{{Value: s.URL + path, Cache: true}}, Loopback: true}); err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
		if err == nil && !strings.HasSuffix(string(b), path) {
			err = fmt.Errorf("%s holds %q", path, b)
		}
		return err
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := get(t.Context(), "/a"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times, want 1", n)
	}
	for _, path := range []string{"/b", "/c"} { // the third pushes the first out
		if err := get(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	if err := get(t.Context(), "/a"); err != nil || asked.Load() != 4 {
		t.Errorf("%v, asked %d times, want 4", err, asked.Load())
	}
	broken.Store(true)
	if err := get(t.Context(), "/d"); err == nil {
		t.Error("an answer of 500 is no error")
	}
	broken.Store(false)
	if err := get(t.Context(), "/d"); err != nil {
		t.Error(err)
	}
	if err := f.Reclaim(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(f.cache.dir); err != nil || len(left) != 0 {
		t.Errorf("the emptied cache has %v, %v", left, err)
	}
}

// TestNodeFiles: a file of the node comes through what opens it for the task.
func TestNodeFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.txt")
	if err := os.WriteFile(file, []byte("node"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{file, "file://" + file, "file://localhost" + file} {
		dir := t.TempDir()
		err := New(t.TempDir(), Limits{}).Fetch(t.Context(), Request{Dir: dir, URIs: []sandbox.URI{{Value: value}}, Node: os.Open})
		if err != nil {
			t.Fatal(err)
		}
		want(t, dir, "f.txt", "node", 0o644)
	}
	err := New(t.TempDir(), Limits{}).Fetch(t.Context(), Request{Dir: t.TempDir(), URIs: []sandbox.URI{{Value: filepath.Dir(file)}}, Node: os.Open})
	if err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a folder: %v", err)
	}
}

// FuzzUnpack: no archive makes the fetcher panic, or write outside of the sandbox.
func FuzzUnpack(f *testing.F) {
	for i, b := range [][]byte{txz, tbz2, {0x1f, 0x8b}, []byte("PK\x03\x04")} {
		f.Add(uint8(i), b)
	}
	endings := []string{".tar.xz", ".tar.bz2", ".tgz", ".zip", ".tar", ".gz"}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "sandbox")
		name := "a" + endings[int(kind)%len(endings)]
		if err := errJoin(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, name), b, 0o644)); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := unpack(t.Context(), root, name, Limits{UnpackedBytes: 1 << 20, Entries: 100}.filled()); err != nil {
			t.Log(err)
		}
		if all, err := os.ReadDir(parent); err != nil || len(all) != 1 {
			t.Errorf("the parent holds %v, %v", all, err)
		}
	})
}
