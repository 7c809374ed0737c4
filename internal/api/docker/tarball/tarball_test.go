package tarball

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func archive(t *testing.T, all ...tar.Header) *tar.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range all {
		if h.Typeflag == tar.TypeReg {
			h.Size = 1
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return tar.NewReader(&b)
}

func names(t *testing.T, b *bytes.Buffer) (out []string) {
	t.Helper()
	for r := tar.NewReader(b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.Name)
	}
}

// What a client sends is unpacked where it wants it, or not at all.
func TestCheck(t *testing.T) {
	var b bytes.Buffer
	err := Check(&b, archive(t, tar.Header{Name: "/a/", Typeflag: tar.TypeDir, Uid: 5}, tar.Header{Name: "a/b", Typeflag: tar.TypeReg},
		tar.Header{Name: "dev", Typeflag: tar.TypeBlock}, tar.Header{Name: "a/l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), false)
	if got := names(t, &b); err != nil || strings.Join(got, " ") != "a/ a/b a/l" {
		t.Errorf("%v, %v", got, err)
	}
	for want, all := range map[string][]tar.Header{
		"leads out of the folder": {{Name: "a/../../b", Typeflag: tar.TypeReg}},
		"outside of it":           {{Name: "b", Typeflag: tar.TypeLink, Linkname: "../c"}},
		"below its own link":      {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "l/passwd", Typeflag: tar.TypeReg}},
	} {
		if err := Check(io.Discard, archive(t, all...), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", all, err, want)
		}
	}
}

// What a container's own program sends has nothing but what was asked for.
func TestBelow(t *testing.T) {
	for text, h := range map[string]tar.Header{
		"":                 {Name: "./dir/file", Typeflag: tar.TypeReg},
		"not below dir":    {Name: "./other", Typeflag: tar.TypeReg},
		"is not below dir": {Name: "dir/../../up", Typeflag: tar.TypeReg},
		"outside of it":    {Name: "dir/h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
	} {
		r := archive(t, h)
		first, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := Below(&b, r, first, "dir"); text == "" && err != nil || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			t.Errorf("%s: %v; want %q", h.Name, err, text)
		}
	}
}

func TestSplit(t *testing.T) {
	for asked, want := range map[string][2]string{
		"/a/b": {"/a", "b"}, "a": {"/", "a"}, "/a/b/": {"/a/b", "."}, "/a/.": {"/a", "."}, "/": {"/", "."}, "/../a": {"/", "a"},
	} {
		if dir, base := Split(asked); dir != want[0] || base != want[1] {
			t.Errorf("%s is %s in %s; want %v", asked, base, dir, want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("not an archive"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = Check(io.Discard, tar.NewReader(bytes.NewReader(b)), true) // it ends
	})
}
