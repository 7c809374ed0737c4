package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// line runs one command line and returns its exit code and what it printed.
func line(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("TRIREME_ROOT", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	var o, e bytes.Buffer
	code = Main(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// TestExitCodes: 2 for a wrong command line, 1 for what failed, and an error
// that says what to do.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string // part of stderr
	}{
		{"version-of-what", 2, "unknown command"},
		{"ps --nonsense", 2, "unknown flag"},
		{"ps a b", 2, "accepts at most 1 arg"},
		{"run", 2, "want one NAME"},
		{"run web", 2, `"image" not set`},
		{"run web --image i --publish 80", 2, "want NODEPORT:PORT"},
		{"run web --image i --publish 0:80", 2, "ports from 1 to 65535"},
		{"run web --image i --publish 80:80/icmp", 2, `protocol "icmp" is unknown`},
		{"run web --image i --env A", 2, `"A" is not KEY=VALUE`},
		{"run web --image i --mount rel:/x", 2, "absolute paths"},
		{"run web --image i --cpus -1", 2, "not a positive quantity"},
		{"run web --image i --memory lots", 2, "not a positive quantity"},
		{"run web --image i --pull sometimes", 2, "want always, missing or never"},
		{"scale web", 2, "accepts 2 arg"},
		{"exec web", 2, "want APP|POD -- COMMAND"},
		{"join", 2, "requires at least 1 arg"},
		{"sim nodes --count 0", 2, "not a number of nodes"},
		{"ps", 1, "no cluster is known"},
		{"up --pod-cidr 10.0.0.0/30", 1, "podCIDR"},
		{"up --service-cidr 10.130.0.0/16", 1, "overlaps"},
		{"up --root relative", 1, "not an absolute path"},
		{"up --config /does/not/exist", 2, "no such file"},
	} {
		code, _, errOut := line(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("trireme %s: exit code %d, want %d with %q: %s", c.args, code, c.code, c.want, errOut)
		}
	}
}

// TestConfigPrint: what is printed can be read back, flags win over the file,
// and an unknown setting is refused.
func TestConfigPrint(t *testing.T) {
	code, out, errOut := line(t, "config", "print", "--node", "n", "--address", "10.1.2.3")
	if code != 0 {
		t.Fatal(errOut)
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	code, again, errOut := line(t, "config", "print", "--config", file)
	if code != 0 || withoutRoot(again) != withoutRoot(out) {
		t.Errorf("read back: %d %s\n%s\nwas\n%s", code, errOut, again, out)
	}
	if _, out, _ = line(t, "config", "print", "--config", file, "--node", "other", "--grace", "3s"); !strings.Contains(out, "node: other") || !strings.Contains(out, "grace: 3s") {
		t.Errorf("flags over the file:\n%s", out)
	}
	if err := os.WriteFile(file, []byte("manager: {apiListn: x}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut = line(t, "config", "print", "--config", file); code != 2 || !strings.Contains(errOut, `unknown field "apiListn"`) {
		t.Errorf("unknown setting: %d %s", code, errOut)
	}
}

func withoutRoot(s string) string {
	var out []string
	for l := range strings.Lines(s) {
		if !strings.HasPrefix(l, "root:") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "")
}

func TestRunObjects(t *testing.T) {
	o := runOptions{
		name: "web", image: "i:1", replicas: 3, publish: []string{"8088:80", "53:53/udp"}, env: []string{"A=b=c"},
		mounts: []string{"/srv:/data:ro", ":/tmp"}, cpus: "0.5", memory: "64Mi", command: []string{"-x"}, labels: map[string]string{"team": "a"},
	}
	d, svc, err := o.objects()
	if err != nil {
		t.Fatal(err)
	}
	c := &d.Spec.Template.Spec.Containers[0]
	if c.Env[0] != (corev1.EnvVar{Name: "A", Value: "b=c"}) || !c.VolumeMounts[0].ReadOnly || c.Args[0] != "-x" {
		t.Errorf("container: %+v", c)
	}
	if v := d.Spec.Template.Spec.Volumes; v[0].HostPath == nil || v[1].EmptyDir == nil {
		t.Errorf("volumes: %+v", v)
	}
	if p := svc.Spec.Ports; len(p) != 2 || p[0].Port != 8088 || p[0].TargetPort.IntVal != 80 || p[1].Protocol != corev1.ProtocolUDP {
		t.Errorf("ports: %+v", p)
	}
	if svc.Spec.Selector[appLabel] != "web" || d.Labels["team"] != "a" || c.Resources.Limits.Memory().String() != "64Mi" {
		t.Errorf("labels or limits: %+v %+v", svc.Spec.Selector, c.Resources)
	}
}

func TestTable(t *testing.T) {
	a := &app{}
	data := []topRow{{Kind: "node", Name: "n", CPUMilli: 5}}
	tab := table{columns: []string{"KIND", "NAME*"}}
	tab.add("node", "n")
	for output, want := range map[string]string{
		"table": "KIND\nnode\n", "wide": "KIND   NAME\nnode   n\n", "yaml": "- cpuMilli: 5", "json": `"cpuMilli": 5`,
	} {
		var b bytes.Buffer
		a.out, a.output = &b, output
		if err := a.print(data, tab); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("-o %s: %v\n%s", output, err, b.String())
		}
	}
	a.output = "xml"
	if err := a.print(data, tab); err == nil {
		t.Error("-o xml was accepted")
	}
}

// TestProgressIsPlainElsewhere: no escape codes and no repeats where stderr is
// no terminal.
func TestProgressIsPlainElsewhere(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	for _, s := range []string{"a", "a", "b"} {
		p.say("%s", s)
	}
	p.Done()
	if got := b.String(); got != "a\nb\n" {
		t.Errorf("%q", got)
	}
	if got := paint(&b, 1, "x"); got != "x" {
		t.Errorf("%q", got)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, errOut := line(t, "completion", shell); code != 0 || len(out) < 100 {
			t.Errorf("%s: %d %s", shell, code, errOut)
		}
	}
	if _, out, _ := line(t, "__complete", "ps", "-o", ""); !strings.Contains(out, "wide") {
		t.Errorf("-o completes to %q", out)
	}
}

func TestLastError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("a\nerror: the reason\nlevel=INFO msg=x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := lastError(path); got != "the reason" {
		t.Errorf("%q", got)
	}
}
