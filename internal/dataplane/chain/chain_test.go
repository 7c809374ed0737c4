package chain

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
)

// script is a plugin that writes down what it is asked, and does as its configuration says.
const script = `#!/bin/sh
in=$(cat)
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}'
  exit
fi
echo "$CNI_COMMAND ${0##*/} $CNI_CONTAINERID netns=$CNI_NETNS $CNI_ARGS" >>"${0%/*}/../calls"
echo "$in" >"${0%/*}/../$CNI_COMMAND.${0##*/}"
case $in in *'"fail":"'$CNI_COMMAND'"'*) echo '{"cniVersion":"1.0.0","code":11,"msg":"no room","details":"at all"}'; exit 1;; esac
if [ "$CNI_COMMAND" = ADD ]; then
  echo '{"cniVersion":"1.0.0","interfaces":[{"name":"v"},{"name":"eth0","sandbox":"/n"}],"ips":[{"interface":0,"address":"10.1.0.1/24"},{"interface":1,"address":"10.1.0.7/24"},{"interface":1,"address":"fd00::7/64"},{"interface":1,"address":"10.1.0.8/24"}]}'
fi
`

type rig struct {
	t     *testing.T
	dir   string
	chain *Chain
}

func newRig(t *testing.T, files map[string]string) *rig {
	r := &rig{t: t, dir: t.TempDir()}
	for _, name := range []string{"one", "two", "multus-shim"} {
		r.write("bin/"+name, script, 0o755)
	}
	for name, text := range files {
		r.write("conf/"+name, text, 0o644)
	}
	r.open()
	return r
}

// open makes the chain of a process that starts.
func (r *rig) open() {
	r.chain = New(Config{ConfDir: r.dir + "/conf", BinDirs: []string{r.dir + "/bin"}, Dir: r.dir + "/chain"})
}

func (r *rig) write(name, text string, mode os.FileMode) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) calls() string {
	r.t.Helper()
	b, err := os.ReadFile(r.dir + "/calls")
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return string(b)
}

func pod(annotations map[string]string) Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u1", Annotations: annotations}}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{
		{ContainerPort: 80, HostPort: 8080, Protocol: corev1.ProtocolTCP}, {ContainerPort: 81, Protocol: corev1.ProtocolTCP},
	}}}
	return Pod{Sandbox: "s1", NetNS: "/n", Object: p}
}

const list = `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"one"},{"type":"two","capabilities":{"portMappings":true,"bandwidth":true}}]}`

func TestLifeOfAnAttachment(t *testing.T) {
	r := newRig(t, map[string]string{"20-other.conflist": `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"missing"}]}`, "10-net.conflist": list})
	ctx := t.Context()
	if err := r.chain.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	p := pod(map[string]string{"kubernetes.io/ingress-bandwidth": "2M"})
	got, err := r.chain.Add(ctx, p)
	if err != nil || len(got) != 2 || got[0].String() != "10.1.0.7" || got[1].String() != "fd00::7" {
		t.Fatalf("addresses %v, %v", got, err)
	}
	r.write("conf/10-net.conflist", strings.ReplaceAll(list, `"net"`, `"later"`), 0o644) // is not the pod's
	r.open()
	if err := r.chain.Keep(ctx, func(id string) bool { return id == "s1" }); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing
		if err := r.chain.Del(ctx, "s1"); err != nil {
			t.Fatal(err)
		}
	}
	args := "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=s1;K8S_POD_UID=u1\n"
	want := "ADD one s1 netns=/n " + args + "ADD two s1 netns=/n " + args + "DEL two s1 netns= " + args + "DEL one s1 netns= " + args
	if diff := cmp.Diff(want, r.calls()); diff != "" {
		t.Error(diff)
	}
	var told struct {
		Name          string `json:"name"`
		RuntimeConfig any    `json:"runtimeConfig"`
		PrevResult    any    `json:"prevResult"`
	}
	b, err := os.ReadFile(r.dir + "/DEL.two")
	if err == nil {
		err = json.Unmarshal(b, &told)
	}
	if err != nil || told.Name != "net" || told.PrevResult == nil {
		t.Errorf("the plugin was told %s, %v", b, err)
	}
	wantConfig := map[string]any{
		"bandwidth":    map[string]any{"ingressRate": 2e6, "ingressBurst": 4294967295.},
		"portMappings": []any{map[string]any{"hostPort": 8080., "containerPort": 80., "protocol": "tcp"}},
	}
	if diff := cmp.Diff(wantConfig, told.RuntimeConfig); diff != "" {
		t.Error(diff)
	}
}

func TestNotReady(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":       {nil, "there is no network configuration (*.conflist, *.conf) in DIR/conf, which --cni-conf-dir names"},
		"no json":    {map[string]string{"a.conflist": "{"}, "network configuration DIR/conf/a.conflist: error parsing configuration list: unexpected end of JSON input"},
		"no plugins": {map[string]string{"a.conflist": `{"name":"n","plugins":[]}`}, "network configuration DIR/conf/a.conflist: error parsing configuration list: no plugins in list"},
		"no type":    {map[string]string{"a.conf": `{"name":"n"}`}, "network configuration DIR/conf/a.conf: error parsing configuration: missing 'type'"},
		"no binary":  {map[string]string{"a.conf": `{"name":"n","type":"three"}`}, `network n: [failed to find plugin "three" in path [DIR/bin]] (--cni-bin-dir says where plugins are)`},
		"version":    {map[string]string{"a.conf": `{"cniVersion":"0.2.0","name":"n","type":"one"}`}, `network n: [plugin one does not support config version "0.2.0"] (--cni-bin-dir says where plugins are)`},
		"says so":    {map[string]string{"a.conf": `{"cniVersion":"1.1.0","name":"n","type":"one","fail":"STATUS"}`}, "network n: no room; at all"},
	} {
		r := newRig(t, c.files)
		err := r.chain.Ready(t.Context())
		want := strings.ReplaceAll("NetworkReady is false: NetworkPluginNotReady: "+c.want, "DIR", r.dir)
		if err == nil || !kind.Is(err, kind.Unavailable) || strings.ReplaceAll(err.Error(), "plugin type=\"one\" failed (status): ", "") != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// TestAfterAFailure: what an ADD did that did not work, or that nobody saw the end of, is
// taken down.
func TestAfterAFailure(t *testing.T) {
	r := newRig(t, map[string]string{"a.conflist": `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"one"},{"type":"two","fail":"ADD"}]}`})
	_, err := r.chain.Add(t.Context(), pod(nil))
	if err == nil || !strings.Contains(err.Error(), "no room; at all") {
		t.Fatalf("the plugin's words are not in %v", err)
	}
	r.open()
	if err := r.chain.Keep(t.Context(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(r.calls(), "DEL "); got != 2 {
		t.Errorf("%d DELs in\n%s", got, r.calls())
	}
	if left, err := r.chain.sandboxes(); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestTeardown(t *testing.T) {
	r := newRig(t, map[string]string{"a.conf": `{"cniVersion":"1.0.0","name":"net","type":"one"}`})
	if _, err := r.chain.Add(t.Context(), pod(nil)); err != nil {
		t.Fatal(err)
	}
	gone := New(Config{ConfDir: r.dir + "/conf", BinDirs: []string{r.dir + "/none"}, Dir: r.dir + "/gone"})
	if _, err := gone.Add(t.Context(), pod(nil)); err == nil {
		t.Fatal("a plugin that is not there")
	}
	for _, dir := range []string{"chain", "gone", "never"} {
		if err := Teardown(context.Background(), filepath.Join(r.dir, dir), r.dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if got := strings.Count(r.calls(), "DEL "); got != 1 {
		t.Errorf("%d DELs in\n%s", got, r.calls())
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ annotation, value, plugin, want string }{
		"network":        {"k8s.v1.cni.cncf.io/networks", "red", "one", "networks of tenants are not on this node"},
		"its own plugin": {"k8s.v1.cni.cncf.io/networks", "red", "multus-shim", ""},
		"rate":           {"kubernetes.io/egress-bandwidth", "fast", "one", `annotation kubernetes.io/egress-bandwidth: "fast" is no quantity of bits a second from 1k to 1P`},
		"low rate":       {"kubernetes.io/ingress-bandwidth", "10", "one", `"10" is no quantity of bits a second`},
	} {
		r := newRig(t, map[string]string{"a.conf": `{"cniVersion":"1.0.0","name":"net","type":"` + c.plugin + `"}`})
		_, err := r.chain.Add(t.Context(), pod(map[string]string{c.annotation: c.value}))
		if c.want == "" && err != nil || c.want != "" && (!kind.Is(err, kind.Invalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
