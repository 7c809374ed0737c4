package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/runtime"
)

const staticManifest = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: ns}
spec:
  hostNetwork: true
  containers: [{name: c, image: "web:1", imagePullPolicy: IfNotPresent}]
`

// TestStaticPod: it runs without a manager, its mirror shows what becomes of it, and
// only its file ends it.
func TestStaticPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, fake: runtime.NewFake(runtime.FakeConfig{}), root: t.TempDir(), static: t.TempDir()}
		path := filepath.Join(r.static, "web.yaml")
		if err := os.WriteFile(path, []byte(staticManifest), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
		defer func() { r.stop() }()
		containers := func() (n int) {
			t.Helper()
			list, err := r.fake.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				for _, c := range s.Containers {
					if c.State == runtime.Running {
						n++
					}
				}
			}
			return n
		}
		if n := containers(); n != 1 || len(r.reports) != 0 || len(r.mirrors) != 1 {
			t.Fatalf("%d containers, %d reports, %d mirrors without a manager", n, len(r.reports), len(r.mirrors))
		}
		mirror := r.mirrors[0].DeepCopy()
		mirror.UID, mirror.Status.PodIP = "m1", "192.0.2.1"
		r.full(mirror)
		if st := r.status("m1"); st.Phase != corev1.PodRunning {
			t.Errorf("the mirror is %s", st.Phase)
		}
		r.delta(deleted(mirror, 30))
		if !r.gone("m1") || containers() != 1 {
			t.Errorf("the mirror was deleted: gone %v, %d containers", r.gone("m1"), containers())
		}
		mirror.UID = "m2"
		r.delta(mirror)
		if st := r.status("m2"); st.Phase != corev1.PodRunning || st.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("the next mirror is %+v", st)
		}
		r.stop() // and the next agent finds it as it was
		r.start()
		r.full(mirror)
		if st := r.status("m2"); st.Phase != corev1.PodRunning || st.ContainerStatuses[0].RestartCount != 0 || r.fake.Calls("StartContainer") != 1 {
			t.Errorf("after a restart: %+v, started %d times", st, r.fake.Calls("StartContainer"))
		}
		if err := os.WriteFile(filepath.Join(r.static, "bad.yaml"), []byte("kind: Pod"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if n := r.count("InvalidStaticPod"); n != 1 || containers() != 1 {
			t.Errorf("%d events of a bad file, %d containers", n, containers())
		}
		if err := os.WriteFile(path, []byte(strings.Replace(staticManifest, "web:1", "web:2", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := r.fake.Calls("StartContainer"); n != 2 || containers() != 1 {
			t.Errorf("another version: started %d times, %d containers", n, containers())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := containers(); n != 0 || len(r.mirrors) != 0 {
			t.Errorf("the file went: %d containers, %d mirrors", n, len(r.mirrors))
		}
	})
}
