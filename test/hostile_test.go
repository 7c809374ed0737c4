package test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// box applies a pod with one container of busybox; spec and container are more fields
// of each, in JSON.
func (k *client) box(name, spec, container, script string) {
	k.t.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"terminationGracePeriodSeconds":0%s,
"containers":[{"name":"c","image":%q,"command":["sh","-c",%q]%s}]}}`, name, spec, busybox, script, container)
	if out, err := k.run(k.t.Context(), manifest, "apply", "-f", "-"); err != nil {
		k.t.Fatalf("%v: %s", err, out)
	}
}

// TestHostileVolumes: links in a volume, paths with .. and a host's files lead nowhere
// outside the pod.
func TestHostileVolumes(t *testing.T) {
	k := newClient(t, machine(t))
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20) + outside[1:]
	for i, link := range []string{outside, up} {
		pod := fmt.Sprintf("link-%d", i)
		k.box(pod, fmt.Sprintf(`,"volumes":[{"name":"v","emptyDir":{}}],"initContainers":[{"name":"lay","image":%q,
"command":["sh","-c","ln -s %s /v/evil"],"volumeMounts":[{"name":"v","mountPath":"/v"}]}]`, busybox, link),
			`,"volumeMounts":[{"name":"v","mountPath":"/mnt","subPath":"evil"}]`, "touch /mnt/written; ls -A /mnt; sleep 1000")
		var state string
		await(t, k.h, 30*time.Second, "the pod has run, or says why it does not", func() error {
			state = k.must("get", "pod", pod, "-o", `jsonpath={.status.containerStatuses[0].state}`)
			if strings.Contains(state, "running") || strings.Contains(state, "CreateContainerConfigError") {
				return nil
			}
			return fmt.Errorf("it is %s", state)
		})
		if strings.Contains(state, "running") {
			if out := k.must("exec", pod, "--", "ls", "-A", "/mnt"); strings.Contains(out, "secret") {
				t.Errorf("%s: the pod sees the host's files: %s", link, out)
			}
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("the host's folder was written to: %v %v", left, err)
	}
	for field, mount := range map[string]string{
		"volumeMounts[0].subPath":     `{"name":"v","mountPath":"/mnt","subPath":"a/../../b"}`,
		"volumeMounts[0].subPathExpr": `{"name":"v","mountPath":"/mnt","subPathExpr":"../b"}`,
	} {
		out, err := k.run(t.Context(), `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"no"},"spec":{"volumes":[{"name":"v","emptyDir":{}}],
"containers":[{"name":"c","image":"i","volumeMounts":[`+mount+`]}]}}`, "apply", "-f", "-")
		if err == nil || !strings.Contains(out, field) || !strings.Contains(out, "must not contain '..'") {
			t.Errorf("%s: %v %s", mount, err, out)
		}
	}
	out, err := k.run(t.Context(), `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"no"},"spec":{"containers":[{"name":"c","image":"i"}],
"volumes":[{"name":"v","hostPath":{"path":"/var/../etc"}}]}}`, "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "hostPath.path") || !strings.Contains(out, "must not contain '..'") {
		t.Errorf("a host path with ..: %v %s", err, out)
	}
	k.must("label", "namespace", k.namespace, "pod-security.kubernetes.io/enforce=restricted")
	out, err = k.run(t.Context(), `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"no"},"spec":{"containers":[{"name":"c","image":"i"}],
"volumes":[{"name":"v","hostPath":{"path":"/etc"}}]}}`, "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "restricted volume types") {
		t.Errorf("a host path in a restricted namespace: %v %s", err, out)
	}
}

// TestHostileDevices: a container that makes itself a device node cannot open it.
func TestHostileDevices(t *testing.T) {
	k := newClient(t, machine(t))
	k.box("maker", "", "", `mknod /tmp/mem c 1 1; head -c1 /tmp/mem; mknod /tmp/disk b 8 0; head -c1 /tmp/disk; echo done; sleep 1000`)
	k.must("wait", "--for=condition=Ready", "pod/maker", "--timeout=60s")
	var out string
	await(t, k.h, 20*time.Second, "the container has tried", func() error {
		if out = k.must("logs", "maker"); !strings.Contains(out, "done") {
			return fmt.Errorf("it wrote %q", out)
		}
		return nil
	})
	for _, device := range []string{"mem", "disk"} {
		if !strings.Contains(out, "/tmp/"+device+": Operation not permitted") {
			t.Errorf("%s was not refused:\n%s", device, out)
		}
	}
}

// TestHostileCopy: the answer of a pod's own tar stays below where it is copied to.
func TestHostileCopy(t *testing.T) {
	k := newClient(t, machine(t))
	k.box("thief", "", "", "sleep 1000")
	k.must("wait", "--for=condition=Ready", "pod/thief", "--timeout=60s")
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20) + outside[1:]
	const tool = `#!/bin/sh\ncat /evil/${3##*/}\n` // called as tar cf - PATH
	if out, err := k.run(t.Context(), "", "exec", "thief", "--", "sh", "-c", "mkdir /evil; rm -f /bin/tar; printf '"+tool+"' > /bin/tar; chmod 755 /bin/tar"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, evil := range map[string][]tar.Header{
		"up":       {{Name: up + "/written"}},
		"below":    {{Name: "below/" + up + "/written"}},
		"absolute": {{Name: outside + "/written"}},
		"link":     {{Name: "link/out", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "link/out/written"}},
		"relative": {{Name: "relative/out", Typeflag: tar.TypeSymlink, Linkname: up}, {Name: "relative/out/written"}},
		"self":     {{Name: "self", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "self/written"}},
		"file":     {{Name: "file/secret", Typeflag: tar.TypeSymlink, Linkname: secret}, {Name: "file/secret"}},
		"hard":     {{Name: "hard/secret", Typeflag: tar.TypeLink, Linkname: secret}, {Name: "hard/secret"}},
		"device":   {{Name: "device/mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}},
	} {
		if out, err := k.run(t.Context(), hostileTar(t, append([]tar.Header{{Name: name + "/good"}}, evil...)), "exec", "-i", "thief", "--", "sh", "-c", "cat > /evil/"+name+"; true"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, k.embedded = range []bool{false, true} {
			into := t.TempDir()
			out, err := k.run(t.Context(), "", "cp", "thief:/"+name, filepath.Join(into, name))
			t.Logf("%s, built in %v: %v: %s", name, k.embedded, err, out)
			if b, err := os.ReadFile(filepath.Join(into, name, "good")); err != nil || string(b) != "evil" {
				t.Errorf("%s, built in %v: the good file is %q, %v", name, k.embedded, b, err)
			}
			err = filepath.WalkDir(into, func(path string, e os.DirEntry, err error) error {
				if err == nil && !e.IsDir() && !e.Type().IsRegular() {
					t.Errorf("%s, built in %v: %s is %s", name, k.embedded, path, e.Type())
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
	left, err := os.ReadDir(outside)
	if b, readErr := os.ReadFile(secret); err != nil || readErr != nil || len(left) != 1 || string(b) != "host" {
		t.Errorf("the folder beside was written to: %v %v %q %v", left, err, b, readErr)
	}
}

// hostileTar writes an archive of entries; regular files say evil.
func hostileTar(t *testing.T, entries []tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Mode = 0o644; e.Typeflag == 0 {
			e.Typeflag, e.Size = tar.TypeReg, 4
		}
		if err := w.WriteHeader(&e); err != nil {
			t.Fatal(err)
		}
		if e.Size > 0 {
			if _, err := w.Write([]byte("evil")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestHostileTerminal: what a container writes cannot steer the terminal that shows it;
// a file has it as it was.
func TestHostileTerminal(t *testing.T) {
	k := newClient(t, machine(t))
	const written, shown = "\x1b]0;renamed\a\x1b[2J\x1b[31mred\x1b[0m\rover\u009b6n", "^[]0;renamed^G^[[2J\x1b[31mred\x1b[0m^Mover<U+009B>6n"
	k.box("painter", "", "", `printf '\033]0;renamed\a\033[2J\033[31mred\033[0m\rover\302\2336n\n'; sleep 1000`)
	k.must("wait", "--for=condition=Ready", "pod/painter", "--timeout=60s")
	logs := []string{binary(), "logs", "painter", "--namespace", k.namespace}
	await(t, k.h, 30*time.Second, "a file has all of it", func() error {
		out, err := k.h.Run(t.Context(), logs[0], logs[1:]...)
		if err != nil || strings.TrimSuffix(out, "\n") != written {
			return fmt.Errorf("%q, %v", out, err)
		}
		return nil
	})
	// script gives the command a terminal, and writes what that is sent.
	out, err := k.h.Run(t.Context(), "script", "-qec", strings.Join(logs, " "), "/dev/null")
	if err != nil || strings.TrimRight(out, "\r\n") != shown {
		t.Errorf("a terminal is sent %q, %v, want %q", out, err, shown)
	}
}

// TestHostileLogs: a line without end, and more followers than the kernel has watches.
func TestHostileLogs(t *testing.T) {
	k := newClient(t, machine(t))
	k.box("endless", "", "", `head -c 60000000 /dev/zero | tr '\0' x; sleep 1000`)
	k.must("wait", "--for=condition=Ready", "pod/endless", "--timeout=60s")
	if out := k.must("logs", "endless", "--limit-bytes=1000"); len(out) > 1000 {
		t.Errorf("%d bytes of a thousand", len(out))
	}
	k.must("delete", "pod", "endless", "--grace-period=0", "--force")

	k.box("told", "", "", `echo one; while [ ! -e /tmp/go ]; do sleep 0.2; done; echo two; sleep 1000`)
	k.must("wait", "--for=condition=Ready", "pod/told", "--timeout=60s")
	config, err := clientcmd.BuildConfigFromFlags("", k.h.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	const followers = 2000 // a user has 128 inotify instances, a process here 20,000 files
	web := http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, DialContext: k.h.Dial, ForceAttemptHTTP2: true, MaxConnsPerHost: 16}}
	defer web.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	first, second := make(chan error, followers), make(chan error, followers)
	var wg sync.WaitGroup
	for range followers {
		wg.Go(func() {
			first <- follow(ctx, &web, config.Host+"/api/v1/namespaces/"+k.namespace+"/pods/told/log?follow=true", second)
		})
	}
	for range followers {
		if err := <-first; err != nil {
			t.Fatal(err)
		}
	}
	k.must("exec", "told", "--", "touch", "/tmp/go")
	for range followers {
		if err := <-second; err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

// follow reads a log's first line, and sends what came of the second.
func follow(ctx context.Context, web *http.Client, url string, second chan<- error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	line := func(want string) error {
		b := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != want {
			return fmt.Errorf("%s: %q, want %q: %w", resp.Status, b, want, err)
		}
		return nil
	}
	if err := line("one\n"); err != nil {
		resp.Body.Close()
		return err
	}
	go func() {
		defer resp.Body.Close()
		second <- line("two\n")
	}()
	return nil
}

// TestHostileImage: the paths and links of an image's layers stay below its root.
func TestHostileImage(t *testing.T) {
	k := newClient(t, machine(t))
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20) + outside[1:]
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for i, evil := range []*tar.Header{
		{Name: up + "/written", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: outside + "/written", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "link/written", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "hard", Typeflag: tar.TypeLink, Linkname: up + "/secret"},
		{Name: "link/.wh.secret", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		image := fmt.Sprintf("trireme.local/hostile:%d", i)
		archive := hostileImage(t, image, box, &tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: outside}, evil)
		pod := fmt.Sprintf("evil-%d", i)
		out, err := k.h.Trireme(t.Context(), "image", "import", archive)
		if err != nil {
			t.Logf("%s: refused: %v %s", evil.Name, err, out)
			continue
		}
		k.must("run", pod, "--image="+image, "--image-pull-policy=Never", "--restart=Never", "--command", "--", "/bin/busybox", "cat", "/hard")
		var state string
		await(t, k.h, 30*time.Second, "the pod has ended, or says why it does not start", func() error {
			state = k.must("get", "pod", pod, "-o", `jsonpath={.status.containerStatuses[0].state}`)
			if strings.Contains(state, "terminated") || strings.Contains(state, "Error") {
				return nil
			}
			return fmt.Errorf("it is %s", state)
		})
		if log, err := k.run(t.Context(), "", "logs", pod); err == nil && strings.Contains(log, "host") {
			t.Errorf("%s: the container reads the host's file", evil.Name)
		}
		if _, err := k.h.Trireme(t.Context(), "image", "ls"); err != nil {
			t.Errorf("%s: the node's images: %v", evil.Name, err)
		}
	}
	left, err := os.ReadDir(outside)
	if b, readErr := os.ReadFile(filepath.Join(outside, "secret")); err != nil || readErr != nil || len(left) != 1 || string(b) != "host" {
		t.Errorf("the host's folder was written to: %v %v %v", left, err, readErr)
	}
	for what, content := range map[string][]byte{
		"nothing": nil, "no archive": []byte("not a tar"), "an empty tar": make([]byte, 1024), "zeros": make([]byte, 1<<20),
	} {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := k.h.Trireme(t.Context(), "image", "import", path); err == nil {
			t.Errorf("%s was imported: %s", what, out)
		}
	}
}

// hostileImage writes an image whose layer has busybox and the given entries.
func hostileImage(t *testing.T, ref string, box []byte, entries ...*tar.Header) string {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range append([]*tar.Header{{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(box))}}, entries...) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(box); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", "amd64", v1.Config{Env: []string{"PATH=/bin"}}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	return path
}
