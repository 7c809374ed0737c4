package imagehealth

import (
	"context"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// store holds configurations by their digests.
type store struct {
	runtime.Images
	configs map[string]string
	reads   int
}

func (s *store) Image(_ context.Context, ref string) (*runtime.Image, error) {
	return &runtime.Image{ID: "sha256:" + ref}, nil
}

func (s *store) Content(_ context.Context, digest string, _ int64) (io.ReadCloser, int64, error) {
	s.reads++
	text, ok := s.configs[digest]
	if !ok {
		return nil, 0, kind.New(kind.NotFound, "no content %s", digest)
	}
	return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
}

func pod(options string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"container.trireme.dev/task": options}}}
}

// TestProbes: the image's check counts where the pod wants it, with what the pod changes
// of it, and is read once.
func TestProbes(t *testing.T) {
	images := &store{configs: map[string]string{
		"sha256:a": `{"config": {"Healthcheck": {"Test": ["CMD", "ask"], "Interval": 5000000000, "StartPeriod": 7000000000, "Retries": 2}}}`,
		"sha256:b": `{"config": {}}`, "sha256:c": `{"config": {"Healthcheck": {"Test": ["NONE"]}}}`, "sha256:d": `no json`,
	}}
	r := New(images)
	p, err := r.Probes(t.Context(), pod(`{"imageHealth": {"end": true, "retries": 9}}`), "task", "sha256:a")
	if err != nil || p == nil || p.Live == nil {
		t.Fatalf("%+v, %v", p, err)
	}
	if p.Ready.Exec.Command[0] != "ask" || p.Ready.PeriodSeconds != 5 || p.Ready.FailureThreshold != 9 || p.Live.InitialDelaySeconds != 7 {
		t.Errorf("ready %+v, live %+v", p.Ready, p.Live)
	}
	if p, err = r.Probes(t.Context(), pod(`{"imageHealth": {}}`), "task", "a"); err != nil || p == nil || p.Live != nil {
		t.Errorf("one that stays: %+v, %v", p, err)
	}
	if images.reads != 1 {
		t.Errorf("it was read %d times", images.reads)
	}
	for image, options := range map[string]string{"sha256:a": `{"init": true}`, "sha256:b": `{"imageHealth": {}}`, "sha256:c": `{"imageHealth": {}}`} {
		if p, err := r.Probes(t.Context(), pod(options), "task", image); p != nil || err != nil {
			t.Errorf("%s with %s: %+v, %v", image, options, p, err)
		}
	}
	for _, image := range []string{"sha256:d", "sha256:gone"} {
		if _, err := r.Probes(t.Context(), pod(`{"imageHealth": {}}`), "task", image); err == nil {
			t.Errorf("%s: no error", image)
		}
	}
}
