package test

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMigration gives a machine the state of a Kubernetes control plane: its
// objects are all there, and its workloads start here once the old nodes are gone.
func TestMigration(t *testing.T) {
	h := ownMachines(t, 1)[0]
	snapshot := unzip(t, "testdata/kubernetes-1.37.db.gz")
	if out, err := h.Trireme(t.Context(), "restore", snapshot); err != nil {
		t.Fatalf("restore: %v: %s", err, out)
	}
	if out, err := h.Trireme(t.Context(), "restore", snapshot); err == nil || !strings.Contains(out+err.Error(), "holds a cluster's state already") {
		t.Errorf("a second restore: %v: %s", err, out)
	}
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: h, namespace: "shop"}
	for args, want := range map[string]string{
		"get deployment web -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].image}": "2/trireme.local/web:1",
		"get service web -o jsonpath={.spec.clusterIP}":                                             "10.108.89.9",
		"get configmap settings -o jsonpath={.data.colour}":                                         "blue",
		"get secret password -o jsonpath={.data.password}":                                          "Z2VoZWlt",
		"get cronjob nightly -o jsonpath={.spec.schedule}":                                          "0 3 * * *",
		"get hpa web -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}":             "80",
		"get ingress web -o jsonpath={.spec.rules[0].host}":                                         "shop.example.com",
		"get role reader -o jsonpath={.rules[0].verbs}":                                             `["get","list","watch"]`,
		"get crd sites.example.com -o jsonpath={.spec.names.kind}":                                  "Site",
		"get sites -o jsonpath={.items[*].metadata.name}":                                           "one two",
		"get st two -o jsonpath={.spec.replicas}":                                                   "5",
	} {
		if got := k.must(strings.Fields(args)...); got != want {
			t.Errorf("kubectl %s: %q, want %q", args, got, want)
		}
	}
	k.must("delete", "node", "old-1")
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	k.must("rollout", "status", "statefulset/db", "--timeout=60s")
	k.must("rollout", "status", "daemonset/log", "--timeout=60s")
}

// TestRestoreRefuses: what is no snapshot is refused, and nothing is kept of it.
func TestRestoreRefuses(t *testing.T) {
	h := ownMachines(t, 1)[0]
	whole, err := os.ReadFile(unzip(t, "testdata/kubernetes-1.37.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), whole...)
	changed[len(changed)/2] ^= 0xff
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"text":    {[]byte("no database"), "is no etcd database"},
		"short":   {whole[:len(whole)/2], "is cut short"},
		"changed": {changed, "expected sha256"},
	} {
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := h.Trireme(t.Context(), "restore", path)
		if err == nil || !strings.Contains(out+err.Error(), tt.want) {
			t.Errorf("%s: %v: %q, want %q", name, err, out, tt.want)
		}
	}
	if err := h.Start("up"); err != nil { // the machine is as good as new
		t.Fatal(err)
	}
	if err := h.Ready(context.Background()); err != nil {
		t.Error(err)
	}
}

func unzip(t *testing.T, path string) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "snapshot.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}
