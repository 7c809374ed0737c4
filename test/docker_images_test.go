package test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerImages: docker's client pulls, lists, inspects, names, pushes, saves, loads and
// removes images of the manager's machine; a service passes on what it takes to pull its
// image, whose digest the client has written into the spec.
func TestDockerImages(t *testing.T) {
	h := machine(t)
	d := newDocker(t, h)
	reg, at := lockedRegistry(t, h, "one:1", "two:1")
	d.env = append(d.env, "DOCKER_CONFIG="+t.TempDir())
	one, mine := at+"/one:1", at+"/mine:2"
	for _, name := range []string{one, mine} {
		t.Cleanup(func() { _, _ = d.run("rmi", "--force", name) })
	}
	t.Cleanup(func() { d.quietly("service", "rm", "dlocked") })

	d.refused("no basic auth credentials", "pull", one)
	d.refused("nauthorized", "login", "--username", registryUser, "--password", "wrong", at)
	if out := d.must("login", "--username", registryUser, "--password", registryPassword, at); !strings.Contains(out, "Login Succeeded") {
		t.Errorf("docker login: %s", out)
	}
	if out := d.must("pull", one); !strings.Contains(out, "Digest: sha256:") {
		t.Errorf("docker pull: %s", out)
	}
	if out := d.must("images", "--format", "{{.Repository}}:{{.Tag}}", one); out != one {
		t.Errorf("docker images: %s", out)
	}
	if out := d.must("image", "inspect", one, "--format", "{{.Os}} {{len .RootFS.Layers}}"); out != "linux 1" {
		t.Errorf("docker image inspect: %s", out)
	}
	d.must("history", one)
	d.must("tag", one, mine)
	if out := d.must("push", mine); !strings.Contains(out, "2: digest: sha256:") {
		t.Errorf("docker push: %s", out)
	}
	if out := d.must("rmi", mine); !strings.Contains(out, "Untagged: "+mine) || strings.Contains(out, "Deleted") {
		t.Errorf("docker rmi of a name: %s", out)
	}
	if out := d.must("manifest", "inspect", "--insecure", mine); !strings.Contains(out, "layers") {
		t.Errorf("what was pushed: %s", out)
	}
	archive := filepath.Join(t.TempDir(), "one.tar")
	d.must("save", "--output", archive, one)
	d.must("rmi", "--force", one)
	d.refused("No such image", "image", "inspect", at+"/one:none")
	if out := d.must("load", "--input", archive); !strings.Contains(out, "Loaded image: "+one) {
		t.Errorf("docker load: %s", out)
	}
	d.refused("", "load", "--input", badArchive(t))
	if out := d.must("system", "df", "--format", "{{.Type}}"); !strings.Contains(out, "Images") {
		t.Errorf("docker system df: %s", out)
	}

	out := d.must("service", "create", "--name", "dlocked", "--with-registry-auth", "--update-monitor", "1s", "--stop-grace-period", "1s", at+"/two:1", "sleep", "1000")
	if !strings.Contains(out, "converged") {
		t.Errorf("docker service create: %s", out)
	}
	if out := d.must("service", "inspect", "dlocked", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}"); !strings.HasPrefix(out, at+"/two:1@sha256:") {
		t.Errorf("the image is not pinned: %s", out)
	}
	if turns := reg.turns(); turns[len(turns)-1] != "two" {
		t.Errorf("the registry gave %v", turns)
	}
	d.must("service", "rm", "dlocked")
}

// badArchive writes an archive that leads out of where it is unpacked.
func badArchive(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "bad.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, header := range []tar.Header{
		{Name: "../../../../etc/bad", Mode: 0o644, Size: 3, Typeflag: tar.TypeReg}, {Name: "manifest.json", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink},
		{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8},
	} {
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("bad")[:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
