package agent

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// TestAnyHistoryEndsClean plays random lives of pods on a runtime that fails now
// and then, with restarts of the agent in between. Then all goes well and
// everything is deleted: nothing may be left, and every pod must be told gone.
func TestAnyHistoryEndsClean(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playHistory(t, seed) })
		})
	}
}

func playHistory(t *testing.T, seed uint64) {
	rng, chance := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	var bad atomic.Bool
	bad.Store(true)
	lock := make(chan struct{}, 1) // the fake calls back from many goroutines
	roll := func(n int) int { lock <- struct{}{}; defer func() { <-lock }(); return chance.IntN(n) }
	r := newRig(t, runtime.FakeConfig{
		SandboxDelay: 30 * time.Millisecond, StartDelay: 20 * time.Millisecond, PullDelay: 300 * time.Millisecond,
		Behave: func(*runtime.ContainerConfig) runtime.FakeBehaviour {
			return runtime.FakeBehaviour{RunFor: time.Duration(roll(20)) * time.Second, ExitCode: int32(roll(2)), IgnoreTerm: roll(3) == 0}
		},
		Fail: func(op, _ string) error {
			if op != "Container" && bad.Load() && roll(8) == 0 {
				return kind.New(kind.Unavailable, "%s: bad luck", op)
			}
			return nil
		},
	})
	pods, policies := map[string]*corev1.Pod{}, []corev1.RestartPolicy{"Always", "OnFailure", "Never"}
	set := func() (out []*corev1.Pod) {
		for _, p := range pods {
			out = append(out, p)
		}
		return out
	}
	r.full()
	for i := range 60 {
		name := fmt.Sprintf("p%d", rng.IntN(12))
		switch p := pods[name]; rng.IntN(6) {
		case 0, 1, 2:
			if p == nil {
				pods[name] = pod(name, policy(policies[rng.IntN(3)]), func(p *corev1.Pod) { p.UID += types.UID(fmt.Sprint("-", i)) })
				r.delta(pods[name])
			}
		case 3:
			if p != nil {
				pods[name] = deleted(p, int64(rng.IntN(5)))
				r.delta(pods[name])
			}
		case 4: // what is gone leaves the table
			for name, p := range pods {
				if r.gone(p.UID) {
					delete(pods, name)
				}
			}
			r.full(set()...)
		case 5:
			if rng.IntN(4) == 0 {
				r.stop()
				r.start()
				r.full(set()...)
			}
		}
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
	}
	bad.Store(false)
	for name, p := range pods {
		pods[name] = deleted(p, 1)
	}
	r.full(set()...)
	time.Sleep(2 * time.Minute)
	for _, p := range pods {
		if !r.gone(p.UID) {
			t.Errorf("%s is not gone: %+v", p.Name, r.reports[p.UID].Status)
		}
	}
	list, err := r.fake.List(t.Context())
	if err != nil || len(list) > 0 {
		t.Errorf("the runtime still has %v %v", list, err)
	}
	if left, err := r.agent.volumes.Pods(); err != nil || len(left) > 0 {
		t.Errorf("directories of %v are left: %v", left, err)
	}
	r.stop()
}
