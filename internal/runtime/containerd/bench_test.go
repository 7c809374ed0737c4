package containerd_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/runtime"
	"trireme/internal/runtime/runtimetest"
)

// BenchmarkPod measures what CRI itself takes for one small pod, one after
// another: what a pod's start on a node is held against.
func BenchmarkPod(b *testing.B) {
	n := newNode(b)
	defer n.run(b)()
	r := n.dial(b)
	took := map[string][]time.Duration{}
	step := func(name string, f func() error) {
		begun := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took[name] = append(took[name], time.Since(begun))
	}
	for i := 0; b.Loop(); i++ {
		s := &runtime.SandboxConfig{
			Name: fmt.Sprint("pod-", i), Namespace: "default", UID: types.UID(fmt.Sprint("uid-", i)),
			LogDir: fmt.Sprint(n.root, "/logs/", i), CgroupParent: cgroup(),
		}
		c := &runtime.ContainerConfig{
			Name: "main", Image: testImage, Command: []string{runtimetest.Prog, "serve"}, LogPath: "main.log", MaskedPaths: true,
		}
		var sid, cid string
		begun := time.Now()
		step("sandbox", func() (err error) { sid, err = r.RunSandbox(b.Context(), s); return err })
		step("create", func() (err error) { cid, err = r.CreateContainer(b.Context(), sid, s, c); return err })
		step("start", func() error { return r.StartContainer(b.Context(), cid) })
		took["pod"] = append(took["pod"], time.Since(begun))
		step("stop", func() error { return r.StopSandbox(b.Context(), sid) })
		step("remove", func() error { return r.RemoveSandbox(b.Context(), sid) })
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name+"-p50-ms")
	}
}

// BenchmarkPodsAtOnce measures how many pods a second CRI starts when it is
// asked for 8 at a time, and what containerd holds in memory then.
func BenchmarkPodsAtOnce(b *testing.B) {
	n := newNode(b)
	defer n.run(b)()
	r := n.dial(b)
	const pods, atOnce = 40, 8
	for b.Loop() {
		begun := time.Now()
		g, ctx := errgroup.WithContext(b.Context())
		g.SetLimit(atOnce)
		for i := range pods {
			g.Go(func() error {
				s := &runtime.SandboxConfig{
					Name: fmt.Sprint("pod-", i), Namespace: "default", UID: types.UID(fmt.Sprint("uid-", i)),
					LogDir: fmt.Sprint(n.root, "/logs/", i), CgroupParent: cgroup(),
				}
				c := &runtime.ContainerConfig{
					Name: "main", Image: testImage, Command: []string{runtimetest.Prog, "serve"}, LogPath: "main.log", MaskedPaths: true,
				}
				sid, err := r.RunSandbox(ctx, s)
				if err != nil {
					return err
				}
				cid, err := r.CreateContainer(ctx, sid, s, c)
				if err != nil {
					return err
				}
				return r.StartContainer(ctx, cid)
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(pods/time.Since(begun).Seconds(), "pods/s")
		b.ReportMetric(rssMB(b, n.containerdPid(b)), "containerd-MB")
		b.StopTimer()
		all, err := r.List(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range all {
			if err := r.StopSandbox(b.Context(), s.ID); err != nil {
				b.Fatal(err)
			}
			if err := r.RemoveSandbox(b.Context(), s.ID); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
}

func rssMB(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	var size, resident float64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * float64(os.Getpagesize()) / (1 << 20)
}
