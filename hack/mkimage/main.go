// Command mkimage makes a small OCI image, in docker's archive format, from
// files of this machine: there is no registry to build on.
//
//	mkimage -name trireme.local/web:1 -o web.tar -entrypoint /web -env A=B web=/web
//	mkimage -name trireme.local/busybox:1 -o busybox.tar -busybox
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	var env, entrypoint, cmd list
	ref := flag.String("name", "", "the image's name")
	out := flag.String("o", "", "file to write")
	user := flag.String("user", "", "user the image runs as")
	busybox := flag.Bool("busybox", false, "an image of this machine's static busybox with all its applets")
	flag.Var(&env, "env", "KEY=VALUE")
	flag.Var(&entrypoint, "entrypoint", "one word of the entrypoint")
	flag.Var(&cmd, "cmd", "one word of what runs, or of the entrypoint's arguments, where a pod says nothing else")
	flag.Parse()
	if err := run(*ref, *out, *busybox, flag.Args(), v1.Config{Env: env, Entrypoint: entrypoint, Cmd: cmd, User: *user}); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ref, out string, busybox bool, files []string, config v1.Config) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := &layerWriter{tar.NewWriter(&layer)}
	if err := w.skeleton(); err != nil {
		return err
	}
	if busybox {
		if len(config.Cmd)+len(config.Entrypoint) == 0 {
			config.Cmd = []string{"/bin/sh"}
		}
		config.Env = append(config.Env, "PATH=/usr/bin:/bin")
		err = w.busybox()
	}
	for _, f := range files {
		from, to, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("%q is not FILE=/PATH", f)
		}
		if err == nil {
			err = w.file(from, to)
		}
	}
	if err != nil {
		return err
	}
	if err := w.tar.Close(); err != nil {
		return err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, img)
}

// layerWriter writes files with no trace of the machine or the moment.
type layerWriter struct{ tar *tar.Writer }

func (w *layerWriter) header(name string, mode int64, typ byte, size int64, link string) error {
	return w.tar.WriteHeader(&tar.Header{
		Name: strings.TrimPrefix(name, "/"), Mode: mode, Typeflag: typ, Size: size, Linkname: link, ModTime: time.Unix(0, 0),
	})
}

func (w *layerWriter) skeleton() error {
	for _, d := range []string{"bin/", "dev/", "etc/", "proc/", "sys/", "root/", "var/"} {
		if err := w.header(d, 0o755, tar.TypeDir, 0, ""); err != nil {
			return err
		}
	}
	if err := w.header("tmp/", 0o1777, tar.TypeDir, 0, ""); err != nil {
		return err
	}
	if err := w.text("etc/group", "root:x:0:\nnogroup:x:65534:\n"); err != nil {
		return err
	}
	return w.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
}

func (w *layerWriter) text(name, text string) error {
	if err := w.header(name, 0o644, tar.TypeReg, int64(len(text)), ""); err != nil {
		return err
	}
	_, err := io.WriteString(w.tar, text)
	return err
}

func (w *layerWriter) file(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	mode := int64(0o755)
	if st, err := os.Stat(from); err == nil && st.Mode()&os.ModeSetuid != 0 {
		mode |= 0o4000
	}
	if err := w.header(to, mode, tar.TypeReg, int64(len(b)), ""); err != nil {
		return err
	}
	_, err = w.tar.Write(b)
	return err
}

func (w *layerWriter) busybox() error {
	const host = "/bin/busybox"
	out, err := exec.Command(host, "--list").Output()
	if err != nil {
		return fmt.Errorf("%w: apt-get install busybox-static", err)
	}
	if err := w.file(host, "/bin/busybox"); err != nil {
		return err
	}
	for _, applet := range strings.Fields(string(out)) {
		if applet == "busybox" {
			continue
		}
		if err := w.header(path.Join("bin", applet), 0o777, tar.TypeSymlink, 0, "busybox"); err != nil {
			return err
		}
	}
	return nil
}
