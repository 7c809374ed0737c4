package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/sandbox"
	"trireme/internal/runtime"
)

// TestFetchFails: a pod whose URIs cannot be fetched fails with the reason, and nothing of it
// is tried again.
func TestFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer func() { r.stop() }()
		p := pod("a", policy(corev1.RestartPolicyNever))
		if err := sandbox.Set(p, sandbox.Place{Agent: "A", Framework: "F", Executor: "e"}, []sandbox.URI{{Value: "gopher://x/y"}}); err != nil {
			t.Fatal(err)
		}
		sandbox.Mount(&p.Spec.Containers[0], "")
		r.full(p)
		time.Sleep(time.Minute)
		st := r.status(p.UID)
		if st.Phase != corev1.PodFailed || st.Reason != sandbox.ReasonFetch || !strings.Contains(st.Message, "gopher://x/y") {
			t.Errorf("%s, %s: %s", st.Phase, st.Reason, st.Message)
		}
		if n := r.fake.Calls("CreateContainer"); n != 0 || r.count(sandbox.ReasonFetch) != 1 {
			t.Errorf("%d containers, %d events", n, r.count(sandbox.ReasonFetch))
		}
		dir := filepath.Join(r.root, "mesos/slaves/A/frameworks/F/executors/e/runs", string(p.UID))
		r.delta(deleted(p, 0))
		if _, err := os.Stat(dir); err != nil || !r.gone(p.UID) {
			t.Errorf("the sandbox of a pod that is gone: %v", err)
		}
	})
}
