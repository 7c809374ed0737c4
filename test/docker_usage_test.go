package test

import (
	"archive/tar"
	"io"
	"strings"
	"testing"
)

// TestDockerUsage: docker system df counts containers and volumes too; docker export has a container's
// files without its volumes; what is not served says what to do instead.
func TestDockerUsage(t *testing.T) {
	d := newDocker(t, machine(t))
	d.dispose("dusage")
	t.Cleanup(func() { d.quietly("volume", "rm", "dusage") })
	d.must("volume", "create", "dusage")
	d.must("run", "-d", "--name", "dusage", "--mount", "type=volume,source=dusage,target=/kept", busybox, "sh", "-c", "echo said >/word; echo in >/kept/out; exec sleep 1000")
	d.says("Up", "ps", "--filter", "name=dusage", "--format", "{{.Status}}")

	out := d.must("system", "df", "--format", "{{.Type}}={{.TotalCount}},{{.Active}}")
	for _, of := range []string{"Images", "Containers", "Local Volumes"} {
		if !strings.Contains(out, of+"=") || strings.Contains(out, of+"=0") || strings.Contains(strings.SplitN(out, of+"=", 2)[1][:3], ",0") {
			t.Errorf("docker system df of %s:\n%s", of, out)
		}
	}
	if out := d.must("system", "df", "-v"); !strings.Contains(out, "dusage") {
		t.Errorf("docker system df -v:\n%s", out)
	}

	archive, errs, code := d.with("", "export", "dusage")
	files := map[string]string{}
	for r := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("docker export: %v, %s, exit code %d", err, errs, code)
		}
		b, err := io.ReadAll(io.LimitReader(r, 100))
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b)
	}
	if _, proc := files["proc/1/status"]; code != 0 || files["word"] != "said\n" || files["kept/out"] != "" || proc {
		t.Errorf("docker export: exit code %d, %q, %d files", code, files["word"], len(files))
	}

	for words, args := range map[string][]string{
		"no image is made of a container": {"commit", "dusage", "mine"},
		"no image is made of a file":      {"import", "http://x.example/y.tar"},
		"containers are not frozen":       {"pause", "dusage"},
		"are settled when it is made":     {"network", "connect", "bridge", "dusage"},
		"is not told apart":               {"diff", "dusage"},
		"docker's plugins have no place":  {"plugin", "install", "--grant-all-permissions", "x/y"},
	} {
		d.refused(words, args...)
	}
	if _, errs, code := d.with("FROM scratch\n", "build", "-"); code == 0 || !strings.Contains(errs, "build") {
		t.Errorf("docker build: exit code %d: %s", code, errs)
	}
	d.must("plugin", "ls")
}

// TestDockerRareFlags: flags of docker service create that others leave out.
func TestDockerRareFlags(t *testing.T) {
	d := newDocker(t, machine(t))
	t.Cleanup(func() { d.quietly("service", "rm", "drare") })
	d.refused("CredentialSpec", "service", "create", "--no-resolve-image", "--credential-spec", "file://x.json", busybox)
	d.refused("Isolation", "service", "create", "--no-resolve-image", "--isolation", "hyperv", busybox)
	d.must("service", "create", "--name", "drare", "--quiet", "--detach", "--no-resolve-image", "--mode", "replicated-job", "--replicas", "2", "--max-concurrent", "1", "--tty", "--log-driver", "json-file",
		"--log-opt", "max-size=1m", "--health-cmd", "true", "--health-start-interval", "1s", "--health-start-period", "1s", busybox, "sh", "-c", "test -t 1 && echo a terminal")
	d.says("2/2 completed", "service", "ls", "--filter", "name=drare", "--format", "{{.Replicas}}")
	if out := d.must("service", "logs", "--raw", "drare"); strings.Count(out, "a terminal") != 2 {
		t.Errorf("the job's log: %q", out)
	}
}
