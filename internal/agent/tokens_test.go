package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// TestTokens gives a pod a token, renews it in time, and keeps the old one where no
// manager answers.
func TestTokens(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("volumes are made by root")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		var asked atomic.Int64
		var down atomic.Bool
		r.token = func(_ context.Context, q *wire.TokenRequest) (*wire.TokenResponse, error) {
			if down.Load() {
				return nil, kind.New(kind.Unavailable, "no manager")
			}
			return &wire.TokenResponse{Token: fmt.Sprintf("%s-%s-%d", q.Pod, q.Audience, asked.Add(1)), EndsUnix: time.Now().Unix() + q.ExpirationSeconds}, nil
		}
		p := pod("a")
		seconds := int64(3600)
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", ExpirationSeconds: &seconds, Path: "token"}},
		}}}}}
		r.full(p)
		check := func(when, want string) {
			t.Helper()
			synctest.Wait()
			b, err := os.ReadFile(filepath.Join(r.root, "secrets", string(p.UID), "kubernetes.io~projected", "v", "token"))
			if err != nil || string(b) != want {
				t.Errorf("%s: %q, want %q (%v)", when, b, want, err)
			}
		}
		check("at the start", "a-vault-1")
		time.Sleep(47 * time.Minute)
		check("before four fifths of its life", "a-vault-1")
		time.Sleep(2 * time.Minute)
		check("after", "a-vault-2")
		down.Store(true)
		time.Sleep(50 * time.Minute)
		check("without a manager", "a-vault-2")
		down.Store(false)
		time.Sleep(time.Minute)
		check("with a manager again", "a-vault-3")
		r.full()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := r.agent.keeper.Len(); n != 0 {
			t.Errorf("%d tokens of pods that are gone are kept", n)
		}
	})
}
