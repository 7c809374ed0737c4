package agent

import (
	"context"
	"crypto/x509"
	"encoding/pem"
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

// TestCertificates gives a pod a certificate once its signer answers, renews it in
// time with a new key, keeps it where no manager answers, and forgets it.
func TestCertificates(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("volumes are made by root")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		var issued atomic.Int64
		var slow, down atomic.Bool
		slow.Store(true)
		keys := map[string]bool{}
		r.certificate = func(_ context.Context, q *wire.CertificateRequest) (*wire.CertificateResponse, error) {
			if down.Load() {
				return nil, kind.New(kind.Unavailable, "no manager")
			}
			if q.Volume != "v" || q.Source != 1 || q.Pod != "a" {
				t.Errorf("asked for %v", q)
			}
			csr, err := x509.ParseCertificateRequest(q.StubRequest)
			if err != nil || csr.CheckSignature() != nil {
				t.Errorf("the stub request: %v", err)
			}
			keys[string(q.StubRequest)] = true
			if slow.Load() {
				return &wire.CertificateResponse{Name: "req-1"}, nil
			}
			now := time.Now()
			return &wire.CertificateResponse{
				Chain: fmt.Sprintf("chain %d\n", issued.Add(1)), BeginRefreshUnix: now.Add(time.Hour).Unix(), NotAfterUnix: now.Add(2 * time.Hour).Unix(),
			}, nil
		}
		p := pod("a")
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{DownwardAPI: &corev1.DownwardAPIProjection{}},
			{PodCertificate: &corev1.PodCertificateProjection{
				SignerName: "example.com/s", KeyType: "ED25519", CredentialBundlePath: "both.pem", KeyPath: "key.pem", CertificateChainPath: "chain.pem",
			}},
		}}}}}
		r.full(p)
		read := func(name string) string {
			b, _ := os.ReadFile(filepath.Join(r.root, "secrets", string(p.UID), "kubernetes.io~projected", "v", name))
			return string(b)
		}
		check := func(when, want string) {
			t.Helper()
			synctest.Wait()
			if got := read("chain.pem"); got != want {
				t.Errorf("%s: chain %q, want %q", when, got, want)
			}
			if both := read("both.pem"); both != read("key.pem")+want {
				t.Errorf("%s: the bundle is %q", when, both)
			}
			if block, _ := pem.Decode([]byte(read("key.pem"))); want != "" && (block == nil || block.Type != "PRIVATE KEY") {
				t.Errorf("%s: the key is %q", when, read("key.pem"))
			}
		}
		check("before the signer answers", "")
		slow.Store(false)
		time.Sleep(time.Minute)
		check("after", "chain 1\n")
		if len(keys) != 1 {
			t.Errorf("%d keys were made for one certificate", len(keys))
		}
		first := read("key.pem")
		time.Sleep(55 * time.Minute)
		check("before it is to be renewed", "chain 1\n")
		down.Store(true)
		time.Sleep(15 * time.Minute)
		check("without a manager", "chain 1\n")
		down.Store(false)
		time.Sleep(2 * time.Minute)
		check("with one again", "chain 2\n")
		if read("key.pem") == first {
			t.Error("the key was not renewed")
		}
		r.full()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := r.agent.keeper.Len(); n != 0 {
			t.Errorf("%d certificates of pods that are gone are kept", n)
		}
	})
}
