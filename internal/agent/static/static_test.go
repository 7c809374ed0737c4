package static

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/wire"
)

const manifest = `apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  hostNetwork: true
  priorityClassName: system-node-critical
  containers: [{name: c, image: "web:1"}]
`

func file(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, "web.yaml", manifest)
	file(t, dir, ".web.yaml.swp", "half")
	pods, err := read(dir, "n1")
	if err != nil || len(pods) != 1 {
		t.Fatalf("%v, %v", pods, err)
	}
	p := pods[object.Key{Namespace: "default", Name: "web-n1"}]
	if p == nil || p.Spec.NodeName != "n1" || p.Spec.RestartPolicy != corev1.RestartPolicyAlways || *p.Spec.Priority != 2000001000 ||
		string(p.UID) != p.Annotations[object.StaticHash] || !object.StaticPod(p) || object.MirrorPod(p) {
		t.Errorf("pod %+v", p)
	}
	other, err := read(dir, "n2")
	if err != nil || other[object.Key{Namespace: "default", Name: "web-n2"}].UID == p.UID {
		t.Errorf("the same pod on two nodes: %v", err)
	}
	for name, tt := range map[string]struct{ content, want string }{
		"no yaml":           {"a: [", "static pod"},
		"a typing mistake":  {strings.Replace(manifest, "containers", "container", 1), `unknown field "container"`},
		"another kind":      {strings.Replace(manifest, "kind: Pod", "kind: Job", 1), "not a v1 Pod"},
		"no name":           {strings.Replace(manifest, "name: web, ", "", 1), "metadata.name: Required value"},
		"no image":          {strings.Replace(manifest, `, image: "web:1"`, "", 1), "spec.containers[0].image: Required value"},
		"another node":      {manifest + "  nodeName: far\n", `spec.nodeName: "far" is another node`},
		"a secret":          {manifest + "  volumes: [{name: v, secret: {secretName: s}}]\n", `may not refer to secrets "s"`},
		"an account":        {manifest + "  serviceAccountName: robot\n", `may not refer to serviceaccounts "robot"`},
		"the name of a pod": {manifest, "another file has a pod of the name default/web-n1"},
	} {
		file(t, dir, "x.yaml", tt.content)
		pods, err := read(dir, "n1")
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(pods) != 1 {
			t.Errorf("%s: %d pods, %v; want %q", name, len(pods), err, tt.want)
		}
	}
	if pods, err := read(filepath.Join(dir, "none"), "n1"); err != nil || len(pods) != 0 {
		t.Errorf("no directory: %v, %v", pods, err)
	}
}

// TestMirror follows a pod's mirror through its life as a manager tells of it.
func TestMirror(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, "web.yaml", manifest)
	s := New(dir, "n1")
	items, changed, err := s.Scan()
	if err != nil || !changed || len(items) != 1 {
		t.Fatalf("%v %v %v", items, changed, err)
	}
	key, own := items[0].Key, items[0].Object.(*corev1.Pod)
	if items, changed, err := s.Scan(); items != nil || changed || err != nil {
		t.Errorf("again: %v %v %v", items, changed, err)
	}
	row := func(uid types.UID, change ...func(*corev1.Pod)) wire.Item {
		m := s.Mirrors()[0].DeepCopy()
		m.UID, m.Status.PodIP = uid, "192.0.2.7"
		for _, f := range change {
			f(m)
		}
		return wire.Item{Table: "pods", Key: key, Object: m}
	}
	running := wire.PodReport{Key: key, UID: own.UID, Status: &corev1.PodStatus{Phase: corev1.PodRunning}}
	if _, ok := s.Report(running); ok {
		t.Error("reported before there is a mirror")
	}
	out, say, again := s.Rewrite(true, nil)
	if len(out) != 1 || len(say) != 0 || !again {
		t.Errorf("a manager that knows of no mirror: %v %v %v", out, say, again)
	}
	out, say, again = s.Rewrite(false, []wire.Item{row("m1")})
	if len(out) != 1 || out[0].Object.(*corev1.Pod).UID != own.UID || out[0].Object.(*corev1.Pod).Status.PodIP != "192.0.2.7" || again ||
		len(say) != 1 || say[0].UID != "m1" || say[0].Status.Phase != corev1.PodRunning {
		t.Errorf("the mirror came: %v %v %v", out, say, again)
	}
	if r, ok := s.Report(running); !ok || r.UID != "m1" || s.Mirror(key, own.UID) != "m1" {
		t.Errorf("reported as %v %v", r, ok)
	}
	deleting := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	out, say, again = s.Rewrite(false, []wire.Item{row("m1", deleting)})
	if len(out) != 0 || len(say) != 1 || !say[0].Gone || say[0].UID != "m1" || !again {
		t.Errorf("the mirror is deleted: %v %v %v", out, say, again)
	}
	out, _, again = s.Rewrite(false, []wire.Item{{Table: "pods", Key: key, Deleted: true}})
	if len(out) != 0 || !again {
		t.Errorf("the mirror is gone: %v %v", out, again)
	}
	other := wire.Item{Table: "pods", Key: object.Key{Namespace: "default", Name: "other"}, Object: &corev1.Pod{}}
	out, _, again = s.Rewrite(true, []wire.Item{row("m2"), other})
	if len(out) != 2 || again {
		t.Errorf("with another pod: %v %v", out, again)
	}
	file(t, dir, "web.yaml", manifest+"  hostname: changed\n")
	stale := row("m2")
	items, changed, err = s.Scan()
	if err != nil || !changed || len(items) != 1 || items[0].Object.(*corev1.Pod).UID == own.UID {
		t.Fatalf("a changed file: %v %v %v", items, changed, err)
	}
	if out, say, again := s.Rewrite(false, []wire.Item{stale}); len(out) != 0 || len(say) != 1 || !again {
		t.Errorf("the mirror of the version before: %v %v %v", out, say, again)
	}
	if err := os.Remove(filepath.Join(dir, "web.yaml")); err != nil {
		t.Fatal(err)
	}
	items, changed, err = s.Scan()
	if err != nil || !changed || len(items) != 1 || !items[0].Deleted || len(s.Mirrors()) != 0 {
		t.Errorf("the file went: %v %v %v", items, changed, err)
	}
	if out, say, again := s.Rewrite(false, []wire.Item{stale}); len(out) != 0 || len(say) != 1 || !again {
		t.Errorf("a mirror of no pod: %v %v %v", out, say, again)
	}
}
