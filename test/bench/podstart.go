package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/bundle"
	"trireme/internal/dataplane"
	"trireme/internal/runtime"
	"trireme/internal/runtime/containerd"
	"trireme/internal/runtime/cri"
	"trireme/test/cluster"
)

const webImage = "trireme.local/web:1"

// podStart measures how long a pod with a cached image takes from the POST until
// a watch sees it Running, against what the container runtime alone takes for
// sandbox, create and start with the same network. The two take turns, one pod
// at a time, so that both meet the same noise.
func podStart(ctx context.Context, c *config) ([]line, error) {
	b, err := newBare(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("the runtime alone: %w", err)
	}
	var ours, bare []time.Duration
	err = host(ctx, c, nil, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		if err := h.Ready(ctx); err != nil {
			return err
		}
		cs, err := client(ctx, h)
		if err != nil {
			return err
		}
		for i := range c.starts + 1 {
			d, err := startPod(ctx, cs, "start-"+strconv.Itoa(i))
			if err != nil {
				return err
			}
			alone, err := b.next()
			if err != nil {
				return err
			}
			if i > 0 { // the first warms up
				ours, bare = append(ours, d), append(bare, alone)
			}
		}
		return nil
	})
	if err = errors.Join(err, b.close()); err != nil {
		return nil, err
	}
	p50, alone := median(ours), median(bare)
	return []line{{"pod_start_vs_cri", p50.Seconds() / alone.Seconds(), "ratio", map[string]any{
		"p50_ms": p50.Seconds() * 1000, "cri_p50_ms": alone.Seconds() * 1000,
		"max_ms": slices.Max(ours).Seconds() * 1000, "cri_max_ms": slices.Max(bare).Seconds() * 1000, "pods": len(ours),
	}}}, nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// startPod creates a pod, waits until a watch sees it Running, and removes it.
func startPod(ctx context.Context, cs kubernetes.Interface, name string) (time.Duration, error) {
	pods := cs.CoreV1().Pods("default")
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	grace := int64(0)
	started := time.Now()
	if _, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			Containers:                    []corev1.Container{{Name: "web", Image: webImage}},
			TerminationGracePeriodSeconds: &grace,
		},
	}, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	var took time.Duration
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		switch {
		case !ok:
			return 0, errors.New("the watch ended")
		case e.Type == "DELETED":
			return took, nil
		case took == 0 && p.Status.Phase == corev1.PodRunning:
			took = time.Since(started)
			if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				return 0, err
			}
		}
	}
	return 0, fmt.Errorf("pod %s: the watch ended early: %w", name, ctx.Err())
}

// bare is this program again, within a machine of its own, where it drives the
// runtime without a cluster, one pod for each line it is given.
type bare struct {
	cluster *cluster.Cluster
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func newBare(ctx context.Context, c *config) (*bare, error) {
	cl, err := cluster.New(ctx, cluster.Config{Hosts: 1, Binary: c.binary})
	if err != nil {
		return nil, err
	}
	b := &bare{cluster: cl}
	h := cl.Hosts[0]
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(baseline{Root: h.Root, Address: h.Address})
	if err != nil {
		return nil, err
	}
	b.cmd = h.Command(ctx, self, "cri-baseline", string(arg))
	b.cmd.Stderr = os.Stderr
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.out = bufio.NewReader(out)
	return b, b.cmd.Start()
}

// next runs one pod and returns how long it took.
func (b *bare) next() (time.Duration, error) {
	if _, err := io.WriteString(b.in, "\n"); err != nil {
		return 0, err
	}
	l, err := b.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the runtime alone: %w", err)
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(l), 10, 64)
	return time.Duration(ns), err
}

func (b *bare) close() error {
	return errors.Join(b.in.Close(), b.cmd.Wait(), b.cluster.Close())
}

// baseline is what the child is told.
type baseline struct {
	Root, Address string
}

// criBaseline runs one pod for each line of standard input and prints what
// sandbox, create and start took, in nanoseconds.
func criBaseline(arg string) error {
	var b baseline
	if err := json.Unmarshal([]byte(arg), &b); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	rt, net, err := b.runtime(ctx)
	if err != nil {
		return err
	}
	image, err := rt.Image(ctx, webImage)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for i := 0; in.Scan(); i++ {
		pod := b.pod(i)
		if err := net.Apply(ctx, false, []dataplane.Change{{Object: pod}}); err != nil {
			return err
		}
		d, err := bareRun(ctx, rt, pod, image.ID, filepath.Join(b.Root, "logs", pod.Name))
		if err != nil {
			return err
		}
		fmt.Println(d.Nanoseconds())
	}
	return in.Err()
}

// runtime starts containerd and a dataplane; both end with ctx.
func (b *baseline) runtime(ctx context.Context) (*cri.Runtime, *dataplane.Dataplane, error) {
	log := quiet()
	files, err := bundle.Extract(ctx, filepath.Join(b.Root, "bundle"))
	if err != nil {
		return nil, nil, err
	}
	dp, err := dataplane.New(dataplane.Config{
		Node: "bench", NodeIPs: []netip.Addr{netip.MustParseAddr(b.Address)}, Root: b.Root, Bridge: "trireme0", Domain: "cluster.local",
		Networks: []dataplane.Network{{Pods: netip.MustParsePrefix("10.128.0.0/10"), Services: netip.MustParsePrefix("10.96.0.0/12"), DNS: netip.MustParseAddr("10.96.0.10")}},
		Log:      log,
	})
	if err != nil {
		return nil, nil, err
	}
	go dp.Run(ctx)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bench"}, Spec: corev1.NodeSpec{PodCIDR: "10.128.0.0/24", PodCIDRs: []string{"10.128.0.0/24"}}}
	if err := dp.Apply(ctx, true, []dataplane.Change{{Object: node}}); err != nil {
		return nil, nil, err
	}
	c, err := containerd.New(containerd.Config{
		Root: b.Root, BinDir: files.Bin, CNIBinDirs: []string{files.CNI}, CNIConfDir: filepath.Join(b.Root, "cni", "net.d"),
		PauseImage: bundle.PauseImage, Images: files.Images, Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	go c.Run(ctx)
	if err := c.WaitReady(ctx); err != nil {
		return nil, nil, err
	}
	rt, err := cri.New(cri.Config{Endpoint: c.Endpoint(), Log: log})
	return rt, dp, err
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (b *baseline) pod(i int) *corev1.Pod {
	name := "bare-" + strconv.Itoa(i)
	ip := netip.AddrFrom4([4]byte{10, 128, 0, byte(2 + i)}).String()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: "bench"},
		Status:     corev1.PodStatus{PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

// bareRun times the three calls, and removes what they made.
func bareRun(ctx context.Context, rt *cri.Runtime, pod *corev1.Pod, image, logs string) (time.Duration, error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return 0, err
	}
	sandbox := &runtime.SandboxConfig{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, LogDir: logs, Hostname: pod.Name}
	started := time.Now()
	id, err := rt.RunSandbox(ctx, sandbox)
	if err != nil {
		return 0, err
	}
	ctr, err := rt.CreateContainer(ctx, id, sandbox, &runtime.ContainerConfig{Name: "web", Image: image, ImageRef: webImage, LogPath: "0.log", MaskedPaths: true})
	if err != nil {
		return 0, err
	}
	if err := rt.StartContainer(ctx, ctr); err != nil {
		return 0, err
	}
	took := time.Since(started)
	return took, errors.Join(rt.StopContainer(ctx, ctr, 0), rt.StopSandbox(ctx, id), rt.RemoveSandbox(ctx, id))
}
