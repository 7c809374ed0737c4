package kube_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/account"
	"trireme/internal/api/kube"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// door is a running door over a store in memory, with namespace default.
type door struct {
	store      *store.Store
	server     *kube.Server
	kubeconfig string
	addr       string
	pki        *wire.PKI
}

// serve runs a door; more may change its configuration.
func serve(t *testing.T, more ...func(*kube.Config)) *door {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return serveStore(t, s, more...)
}

// serveStore runs a door over the store, another one if it has one already.
func serveStore(t *testing.T, s *store.Store, more ...func(*kube.Config)) *door {
	t.Helper()
	pki, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.Issue(wire.Leaf{Name: wire.AdminName, Group: wire.MastersGroup, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.AccountKey()
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := account.NewIssuer(account.Config{Key: key, URL: "https://kubernetes.default.svc.cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := kube.Config{
		Listener: l, TLS: wire.ServerTLS(cert, pki.Pool(), false), ClientCA: pki.Pool(),
		NodeTLS: wire.ClientTLS(cert, pki.Pool()), Accounts: tokens, Log: slog.New(slog.DiscardHandler),
		Allocate: func(*store.Tx, store.Object, store.Object) error { return nil },
	}
	for _, f := range more {
		f(&cfg)
	}
	srv, err := kube.New(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	ready(t, srv)
	config, err := pki.Kubeconfig("https://"+l.Addr().String(), cert)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return &door{s, srv, path, l.Addr().String(), pki}
}

// ready returns when the door serves all it has.
func ready(t testing.TB, srv *kube.Server) {
	t.Helper()
	c, err := kubernetes.NewForConfig(srv.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := c.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// kubectl runs the installed kubectl and returns what it printed.
func (d *door) kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "kubectl", append([]string{"--kubeconfig", d.kubeconfig, "--cache-dir", filepath.Dir(d.kubeconfig)}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: demo}]
`

func TestKubectl(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	for _, step := range []struct {
		name, stdin string
		args        string
		want        string // part of the output
		fails       bool
	}{
		{name: "get", args: "get ns", want: "default"},
		{name: "create", args: "create configmap c --from-literal=a=1", want: "configmap/c created"},
		{name: "create again", args: "create configmap c", want: `configmaps "c" already exists`, fails: true},
		{name: "get yaml", args: "get cm c -o yaml", want: `a: "1"`},
		{name: "apply", stdin: deployment, args: "apply -f -", want: "deployment.apps/web created"},
		{name: "apply same", stdin: deployment, args: "apply -f -", want: "deployment.apps/web unchanged"},
		{name: "defaulted", args: "get deploy web -o jsonpath={.spec.strategy.rollingUpdate.maxSurge}", want: "25%"},
		{name: "server-side", stdin: deployment, args: "apply --server-side --force-conflicts -f -", want: "serverside-applied"},
		{name: "table", args: "get deploy", want: "UP-TO-DATE"},
		{name: "scale", args: "scale deploy web --replicas 5", want: "scaled"},
		{name: "scaled", args: "get deploy web -o jsonpath={.spec.replicas}/{.metadata.generation}", want: "5/2"},
		{name: "patch", args: `patch deploy web -p {"spec":{"paused":true}}`, want: "patched"},
		{name: "json patch", args: `patch deploy web --type json -p [{"op":"remove","path":"/spec/paused"}]`, want: "patched"},
		{name: "diff", stdin: strings.Replace(deployment, "replicas: 2", "replicas: 3", 1), args: "diff -f -", want: "+  replicas: 3", fails: true},
		{name: "label", args: "label cm c x=y", want: "labeled"},
		{name: "selector", args: "get cm -l x=y -o name", want: "configmap/c"},
		{name: "field selector", args: "get cm --field-selector metadata.name=c -o name", want: "configmap/c"},
		{name: "explain", args: "explain deployment.spec.replicas", want: "FIELD: replicas"},
		{name: "api-resources", args: "api-resources", want: "endpointslices"},
		{name: "unknown field", stdin: strings.Replace(deployment, "replicas:", "replicass:", 1), args: "apply --validate=strict -f -", want: `unknown field "spec.replicass"`, fails: true},
		{name: "negative", args: "scale deploy web --replicas=-1", want: "", fails: true},
		{name: "invalid", stdin: strings.Replace(deployment, "replicas: 2", "replicas: -2", 1), args: "apply -f -", want: "spec.replicas: Invalid value: -2", fails: true},
		{name: "no namespace", args: "create cm x -n nope", want: `namespaces "nope" not found`, fails: true},
		{name: "run", args: "run p --image=demo", want: "pod/p created"},
		{name: "pod", args: "get pods", want: "Pending"},
		{name: "delete pod", args: "delete pod p", want: `pod "p" deleted`},
		{name: "delete", args: "delete cm c", want: `configmap "c" deleted`},
		{name: "gone", args: "get cm c", want: `configmaps "c" not found`, fails: true},
		{name: "dry run", args: "create cm dry --dry-run=server", want: "created (server dry run)"},
		{name: "not stored", args: "get cm dry", want: "not found", fails: true},
		{name: "can-i", args: "auth can-i create pods", want: "yes"},
		{name: "whoami", args: "auth whoami", want: "system:masters"},
		{name: "version", args: "get --raw /version", want: "gitVersion"}, // the linker sets it
	} {
		out, err := d.kubectl(t, step.stdin, strings.Fields(step.args)...)
		if (err != nil) != step.fails || !strings.Contains(out, step.want) {
			t.Errorf("%s: kubectl %s: %v\n%s", step.name, step.args, err, out)
		}
	}
}
