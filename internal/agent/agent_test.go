package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/volume"
	"trireme/internal/dataplane"
	"trireme/internal/dataplane/link"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// rig is an agent on the fake runtime, with the test as its manager.
type rig struct {
	t      *testing.T
	fake   *runtime.Fake
	root   string
	agent  *Agent
	assign func(context.Context, bool, []wire.Item) error
	token  func(context.Context, *wire.TokenRequest) (*wire.TokenResponse, error)
	// certificate answers as a manager; nil: there is none.
	certificate func(context.Context, *wire.CertificateRequest) (*wire.CertificateResponse, error)
	stop        func()
	meter       fakeMeter
	static      string // the directory of static pods
	reserved    corev1.ResourceList
	exclusive   bool                        // the policy of CPUs is static
	plugins     func(context.Context) error // CNI plugins choose addresses

	mu      sync.Mutex
	reports map[types.UID]wire.PodReport
	last    map[types.UID]*corev1.PodStatus // as a manager has it, whichever agent said it
	phases  map[types.UID][]corev1.PodPhase
	events  []*corev1.Event
	node    *corev1.NodeStatus
	applied int
	refuses error                // what Apply returns
	told    map[types.UID]string // pods' addresses, as Apply was told last
	mirrors []*corev1.Pod
}

func (r *rig) ReportPod(p wire.PodReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports[p.UID] = p
	if p.Status != nil {
		if r.last == nil {
			r.last = map[types.UID]*corev1.PodStatus{}
		}
		r.last[p.UID] = p.Status
		if l := r.phases[p.UID]; len(l) == 0 || l[len(l)-1] != p.Status.Phase {
			r.phases[p.UID] = append(l, p.Status.Phase)
		}
	}
}
func (r *rig) ReportNode(s *corev1.NodeStatus) { r.mu.Lock(); defer r.mu.Unlock(); r.node = s }
func (r *rig) ReportEvent(e *corev1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}
func (r *rig) Token(ctx context.Context, q *wire.TokenRequest) (*wire.TokenResponse, error) {
	if r.token == nil {
		return nil, kind.New(kind.Unavailable, "no manager")
	}
	return r.token(ctx, q)
}
func (r *rig) Certificate(ctx context.Context, q *wire.CertificateRequest) (*wire.CertificateResponse, error) {
	if r.certificate == nil {
		return nil, kind.New(kind.Unavailable, "no manager")
	}
	return r.certificate(ctx, q)
}
func (r *rig) ReportStorage(wire.NodeStorage)                 {}
func (r *rig) ReportSnapshots(map[string]*wire.SnapshotState) {}
func (r *rig) ReportTask(object.Key, *wire.TaskUpdates)       {}
func (r *rig) ReportMessage(*wire.ExecutorMessage)            {}
func (r *rig) Allow(context.Context, *wire.AllowRequest) (*wire.AllowResponse, error) {
	return nil, kind.New(kind.Unavailable, "no manager")
}
func (r *rig) ReportMirrors(pods []*corev1.Pod) { r.mu.Lock(); defer r.mu.Unlock(); r.mirrors = pods }
func (r *rig) Run(ctx context.Context) error    { <-ctx.Done(); return ctx.Err() }
func (r *rig) Lease() time.Duration             { return 0 }
func (r *rig) Announce()                        {}
func (r *rig) Annotations() map[string]string   { return nil }
func (r *rig) Renew(time.Duration) error        { return nil }

func (r *rig) Traffic() (map[string]link.Traffic, error) { return nil, nil }

func (r *rig) Apply(_ context.Context, full bool, changes []dataplane.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied++
	if full || r.told == nil {
		r.told = map[types.UID]string{}
	}
	for _, c := range changes {
		if p, ok := c.Object.(*corev1.Pod); ok {
			r.told[p.UID] = p.Status.PodIP
		}
	}
	return r.refuses
}

// noCgroups stands in for the kernel's tree.
type noCgroups struct{}

func (noCgroups) Parent(*corev1.Pod) string       { return "/t" }
func (noCgroups) Create(*corev1.Pod) error        { return nil }
func (noCgroups) Fit(*corev1.Pod) error           { return nil }
func (noCgroups) Bound(corev1.ResourceList) error { return nil }
func (noCgroups) Remove(types.UID) error          { return nil }
func (noCgroups) AllowSwap(bool) (cgroup.Swap, error) {
	return cgroup.Swap{}, nil
}

func newRig(t *testing.T, cfg runtime.FakeConfig) *rig {
	r := &rig{t: t, fake: runtime.NewFake(cfg), root: t.TempDir()}
	r.start()
	return r
}

// start starts an agent, the second time one that finds what the first left.
func (r *rig) start() {
	r.t.Helper()
	r.t.Cleanup(func() {
		if err := volume.Teardown(r.root); err != nil {
			r.t.Error(err)
		}
	})
	r.reports, r.phases, r.events = map[types.UID]wire.PodReport{}, map[types.UID][]corev1.PodPhase{}, nil
	a, err := New(Config{
		Node: "n1", Root: r.root, NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Runtime: r.fake, Network: r,
		ClusterDomain: "cluster.local", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), cgroups: noCgroups{}, meter: &r.meter, StaticPods: r.static, ExclusiveCPUs: r.exclusive, Reserved: r.reserved, Plugins: r.plugins,
		session: func(assign func(context.Context, bool, []wire.Item) error) session { r.assign = assign; return r },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.agent = a
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run: %v", err)
		}
	}
	synctest.Wait()
}

func (r *rig) full(pods ...*corev1.Pod)  { r.give(true, pods...) }
func (r *rig) delta(pods ...*corev1.Pod) { r.give(false, pods...) }

func (r *rig) give(full bool, pods ...*corev1.Pod) {
	r.t.Helper()
	var items []wire.Item
	for _, p := range pods {
		items = append(items, wire.Item{Table: "pods", Key: object.KeyOf(p), Object: p})
	}
	if err := r.assign(r.t.Context(), full, items); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) status(uid types.UID) *corev1.PodStatus {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reports[uid].Status == nil {
		r.t.Fatalf("pod %s was not reported", uid)
	}
	return r.reports[uid].Status
}

func (r *rig) gone(uid types.UID) bool {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports[uid].Gone
}

func (r *rig) count(reason string) int32 {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := int32(0)
	for _, e := range r.events {
		if e.Reason == reason {
			n++
		}
	}
	return n
}

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID("u-" + name)},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{
			Name: "c", Image: "web:1", ImagePullPolicy: corev1.PullIfNotPresent,
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, PodIP: "10.128.0.5"},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func policy(r corev1.RestartPolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.RestartPolicy = r }
}

func deleted(p *corev1.Pod, grace int64) *corev1.Pod {
	out, now := p.DeepCopy(), metav1.Now()
	out.DeletionTimestamp, out.DeletionGracePeriodSeconds = &now, &grace
	return out
}

func TestPodRunsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		p := pod("a")
		r.full(p)
		st := r.status(p.UID)
		if n := len(r.phases[p.UID]); n != 1 {
			t.Errorf("%d reports for a start that nothing delayed", n)
		}
		if st.Phase != corev1.PodRunning || !object.PodReady(&corev1.Pod{Status: *st}) {
			t.Fatalf("status is %+v", st)
		}
		for _, reason := range []string{"Pulling", "Pulled", "Created", "Started"} {
			if r.count(reason) != 1 {
				t.Errorf("%d events %s", r.count(reason), reason)
			}
		}
		if n := r.fake.Calls("List"); n > 2 {
			t.Errorf("%d lists for one pod", n)
		}
		r.delta(deleted(p, 30))
		if !r.gone(p.UID) {
			t.Fatal("not gone")
		}
		if list, err := r.fake.List(t.Context()); err != nil || len(list) > 0 {
			t.Fatalf("the runtime still has %v %v", list, err)
		}
	})
}

func TestCrashBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{Behave: func(*runtime.ContainerConfig) runtime.FakeBehaviour {
			return runtime.FakeBehaviour{RunFor: time.Second, ExitCode: 3}
		}})
		defer r.stop()
		p := pod("a")
		r.full(p)
		// Runs 1 s; again at once; then pauses of 10, 20 and 40 s.
		for i, tt := range []struct {
			after   time.Duration
			restart int32
			waiting string
		}{
			{500 * time.Millisecond, 0, ""}, {time.Second, 1, ""}, {time.Second, 1, "CrashLoopBackOff"},
			{9 * time.Second, 1, "CrashLoopBackOff"}, {time.Second, 2, ""}, {time.Second, 2, "CrashLoopBackOff"},
			{19 * time.Second, 2, "CrashLoopBackOff"}, {time.Second, 3, ""},
		} {
			time.Sleep(tt.after)
			st := r.status(p.UID).ContainerStatuses[0]
			waiting := ""
			if st.State.Waiting != nil {
				waiting = st.State.Waiting.Reason
			}
			if st.RestartCount != tt.restart || waiting != tt.waiting {
				t.Errorf("step %d: restarts %d, waiting %q; want %d, %q", i, st.RestartCount, waiting, tt.restart, tt.waiting)
			}
		}
		st := r.status(p.UID).ContainerStatuses[0]
		if l := st.LastTerminationState.Terminated; l == nil || l.ExitCode != 3 || l.Reason != "Error" {
			t.Errorf("last state %+v", l)
		}
		if r.count("BackOff") == 0 {
			t.Error("no event BackOff")
		}
	})
}

// TestStartErrorBacksOff: a container that cannot even start is a crash like any
// other.
func TestStartErrorBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{Fail: func(op, _ string) error {
			if op == "StartContainer" {
				return errors.New("no such file or directory")
			}
			return nil
		}})
		defer r.stop()
		p := pod("a")
		r.full(p)
		time.Sleep(25 * time.Second) // started, at once again, after 10 s; the next is due after 30 s
		st := r.status(p.UID).ContainerStatuses[0]
		if st.RestartCount != 2 || st.State.Waiting == nil || st.State.Waiting.Reason != "CrashLoopBackOff" {
			t.Errorf("restarts %d, state %+v", st.RestartCount, st.State)
		}
		if l := st.LastTerminationState.Terminated; l == nil || l.Reason != "StartError" || !strings.Contains(l.Message, "no such file") {
			t.Errorf("last state %+v", l)
		}
	})
}

func TestRestartPolicies(t *testing.T) {
	for _, tt := range []struct {
		policy corev1.RestartPolicy
		code   int32
		want   corev1.PodPhase
	}{
		{corev1.RestartPolicyNever, 0, corev1.PodSucceeded}, {corev1.RestartPolicyNever, 1, corev1.PodFailed},
		{corev1.RestartPolicyOnFailure, 0, corev1.PodSucceeded}, {corev1.RestartPolicyOnFailure, 1, corev1.PodRunning},
		{corev1.RestartPolicyAlways, 0, corev1.PodRunning},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, runtime.FakeConfig{Behave: func(*runtime.ContainerConfig) runtime.FakeBehaviour {
				return runtime.FakeBehaviour{RunFor: time.Second, ExitCode: tt.code}
			}})
			defer r.stop()
			p := pod("a", policy(tt.policy))
			r.full(p)
			time.Sleep(5 * time.Second)
			if st := r.status(p.UID); st.Phase != tt.want {
				t.Errorf("%s, code %d: %s, want %s", tt.policy, tt.code, st.Phase, tt.want)
			}
		})
	}
}

func TestImageFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{Missing: []string{"web:1"}})
		defer r.stop()
		p := pod("a")
		r.full(p)
		reason := func(uid types.UID) string {
			if w := r.status(uid).ContainerStatuses[0].State.Waiting; w != nil {
				return w.Reason
			}
			return ""
		}
		if got := reason(p.UID); got != "ErrImagePull" {
			t.Errorf("first %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := reason(p.UID); got != "ImagePullBackOff" {
			t.Errorf("then %q", got)
		}
		time.Sleep(10 * time.Second)
		if n := r.fake.Calls("Pull"); n != 2 {
			t.Errorf("%d pulls in 12 s", n)
		}
		never := pod("b", func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever })
		wrong := pod("c", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "UPPER::x" })
		r.delta(never, wrong)
		if got := reason(never.UID); got != "ErrImageNeverPull" {
			t.Errorf("never: %q", got)
		}
		if got := reason(wrong.UID); got != "InvalidImageName" {
			t.Errorf("wrong name: %q", got)
		}
	})
}

func TestMissingSecretNamesItAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		p := pod("a", func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{
				SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"},
			}}}
		})
		r.full(p)
		w := r.status(p.UID).ContainerStatuses[0].State.Waiting
		if w == nil || w.Reason != "CreateContainerConfigError" || w.Message != `secret "s" not found` {
			t.Fatalf("waiting %+v", w)
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "ns"}, Data: map[string][]byte{"k": []byte("v")}}
		if err := r.assign(t.Context(), false, []wire.Item{{Table: "secrets", Key: object.KeyOf(secret), Object: secret}}); err != nil {
			t.Fatal(err)
		}
		if st := r.status(p.UID); st.Phase != corev1.PodRunning {
			t.Fatalf("phase %s", st.Phase)
		}
		if env := r.fake.Config(p.UID, "c").Env; len(env) != 1 || env[0].Value != "v" {
			t.Errorf("env %v", env)
		}
	})
}

func TestInitAndSidecarOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		always := corev1.ContainerRestartPolicyAlways
		var mu sync.Mutex
		var order []string
		made := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(order)
		}
		r := newRig(t, runtime.FakeConfig{Behave: func(c *runtime.ContainerConfig) runtime.FakeBehaviour {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, c.Name)
			if c.Name == "init" || c.Name == "c" {
				return runtime.FakeBehaviour{RunFor: time.Minute}
			}
			return runtime.FakeBehaviour{}
		}})
		defer r.stop()
		p := pod("a", policy(corev1.RestartPolicyNever), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{
				{Name: "side", Image: "s:1", RestartPolicy: &always}, {Name: "init", Image: "i:1"},
			}
		})
		r.full(p)
		time.Sleep(time.Second)
		st := r.status(p.UID)
		if st.Phase != corev1.PodPending || len(made()) != 2 || st.ContainerStatuses[0].State.Waiting.Reason != "PodInitializing" {
			t.Fatalf("at first: %s %v %+v", st.Phase, made(), st.ContainerStatuses[0].State)
		}
		time.Sleep(61 * time.Second)
		if st := r.status(p.UID); st.Phase != corev1.PodRunning || len(made()) != 3 {
			t.Fatalf("after init: %s %v", st.Phase, made())
		}
		time.Sleep(time.Minute)
		st = r.status(p.UID)
		if st.Phase != corev1.PodSucceeded || st.InitContainerStatuses[0].State.Terminated == nil {
			t.Fatalf("at the end: %s %+v", st.Phase, st.InitContainerStatuses[0].State)
		}
	})
}

func TestGraceAndItsShortening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{Behave: func(*runtime.ContainerConfig) runtime.FakeBehaviour {
			return runtime.FakeBehaviour{IgnoreTerm: true}
		}})
		defer r.stop()
		p, q := pod("a"), pod("b")
		r.full(p, q)
		r.delta(deleted(p, 30), deleted(q, 30))
		time.Sleep(5 * time.Second)
		if r.gone(p.UID) || r.gone(q.UID) {
			t.Fatal("gone before its grace")
		}
		r.delta(deleted(q, 1))
		time.Sleep(2 * time.Second)
		if !r.gone(q.UID) || r.gone(p.UID) {
			t.Fatalf("shortened: %v, other: %v", r.gone(q.UID), r.gone(p.UID))
		}
		time.Sleep(24 * time.Second)
		if !r.gone(p.UID) {
			t.Fatal("not gone after its grace")
		}
	})
}

func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		answers := map[string]int{}
		set := func(cmd string, code int) { mu.Lock(); defer mu.Unlock(); answers[cmd] = code }
		r := newRig(t, runtime.FakeConfig{Exec: func(_ context.Context, _ *runtime.Container, cmd []string) ([]byte, []byte, int, error) {
			mu.Lock()
			defer mu.Unlock()
			return nil, nil, answers[cmd[0]], nil
		}})
		defer r.stop()
		probe := func(cmd string) *corev1.Probe {
			return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{cmd}}}}
		}
		set("startup", 1)
		set("ready", 1)
		p := pod("a", func(p *corev1.Pod) {
			c := &p.Spec.Containers[0]
			c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = probe("startup"), probe("ready"), probe("live")
			c.StartupProbe.FailureThreshold = 30
		})
		r.full(p)
		time.Sleep(3 * time.Second)
		if c := r.status(p.UID).ContainerStatuses[0]; *c.Started || c.Ready {
			t.Fatalf("before startup: %+v", c)
		}
		set("startup", 0)
		time.Sleep(2 * time.Second)
		if c := r.status(p.UID).ContainerStatuses[0]; !*c.Started || c.Ready {
			t.Fatalf("after startup: started %v ready %v", *c.Started, c.Ready)
		}
		set("ready", 0)
		time.Sleep(2 * time.Second)
		if st := r.status(p.UID); !st.ContainerStatuses[0].Ready || !object.PodReady(&corev1.Pod{Status: *st}) {
			t.Fatal("not ready")
		}
		set("live", 1)
		time.Sleep(2 * time.Second) // twice: enough to count
		set("live", 0)
		time.Sleep(3 * time.Second)
		if c := r.status(p.UID).ContainerStatuses[0]; c.RestartCount != 1 || !c.Ready {
			t.Fatalf("after liveness failed: %+v", c)
		}
		if r.count("Unhealthy") == 0 || r.count("Killing") != 1 {
			t.Errorf("events: %d Unhealthy, %d Killing", r.count("Unhealthy"), r.count("Killing"))
		}
	})
}

func TestAdoptionAndOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		p, q := pod("a"), pod("b")
		r.full(p, q)
		time.Sleep(2 * time.Second) // the assignments are kept
		before := r.status(p.UID).ContainerStatuses[0].ContainerID
		r.stop()
		made := r.fake.Calls("RunSandbox")

		r.start() // no manager: both go on
		time.Sleep(20 * time.Second)
		if st := r.agent.Pods(); len(st) != 2 || st[0].Status.ContainerStatuses[0].ContainerID != before {
			t.Fatalf("adopted %d pods", len(st))
		}
		id := r.fakeID(p)
		r.fake.Kill(id, 137, "OOMKilled")
		time.Sleep(time.Second)
		c := r.status(p.UID).ContainerStatuses[0]
		if c.RestartCount != 1 || c.LastTerminationState.Terminated.Reason != "OOMKilled" {
			t.Fatalf("not restarted without a manager: %+v", c)
		}
		r.full(p) // q is assigned no more
		time.Sleep(time.Second)
		list, err := r.fake.List(t.Context())
		if err != nil || len(list) != 1 || list[0].UID != p.UID {
			t.Fatalf("the runtime has %v %v", list, err)
		}
		if n := r.fake.Calls("RunSandbox"); n != made {
			t.Errorf("%d sandboxes were made anew", n-made)
		}
		r.stop()
	})
}

func (r *rig) fakeID(p *corev1.Pod) string {
	r.t.Helper()
	c, err := r.agent.Container(object.KeyOf(p), "c")
	if err != nil {
		r.t.Fatal(err)
	}
	return c.ID
}

func TestOrphanWithoutCacheWaitsForAManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{Images: []string{"x"}})
		r.stop()
		if _, err := r.fake.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: "o", Namespace: "ns", UID: "u-o"}); err != nil {
			t.Fatal(err)
		}
		r.start()
		defer func() { r.stop() }()
		time.Sleep(time.Minute)
		if list, err := r.fake.List(t.Context()); err != nil || len(list) != 1 {
			t.Fatalf("ended without a manager's word: %v %v", list, err)
		}
		r.full()
		time.Sleep(2 * time.Second)
		if list, err := r.fake.List(t.Context()); err != nil || len(list) != 0 {
			t.Fatalf("the orphan is still there: %v %v", list, err)
		}
	})
}

func TestSandboxThatDiedIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		p := pod("a")
		r.full(p)
		id, err := r.agent.Sandbox(object.KeyOf(p))
		if err != nil {
			t.Fatal(err)
		}
		r.fake.KillSandbox(id)
		time.Sleep(11 * time.Second)
		st := r.status(p.UID)
		now, err := r.agent.Sandbox(object.KeyOf(p))
		if err != nil || now == id || st.Phase != corev1.PodRunning || st.ContainerStatuses[0].RestartCount == 0 {
			t.Fatalf("sandbox %s, status %+v, %v", now, st.ContainerStatuses[0], err)
		}
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		seconds := int64(10)
		p := pod("a", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &seconds })
		r.full(p)
		time.Sleep(9 * time.Second)
		if st := r.status(p.UID); st.Phase != corev1.PodRunning {
			t.Fatalf("before: %s", st.Phase)
		}
		time.Sleep(2 * time.Second)
		if st := r.status(p.UID); st.Phase != corev1.PodFailed || st.Reason != "DeadlineExceeded" {
			t.Fatalf("after: %s %s", st.Phase, st.Reason)
		}
	})
}

func TestRuntimeDownMakesTheNodeNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runtime.FakeConfig{})
		defer r.stop()
		ready := func() corev1.ConditionStatus {
			synctest.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, c := range r.node.Conditions {
				if c.Type == corev1.NodeReady {
					return c.Status
				}
			}
			return ""
		}
		if ready() != corev1.ConditionTrue {
			t.Fatal("not ready at first")
		}
		r.fake.SetDown(kind.New(kind.Unavailable, "down"))
		time.Sleep(11 * time.Second)
		if ready() != corev1.ConditionFalse {
			t.Fatal("ready while the runtime is down")
		}
		r.fake.SetDown(nil)
		time.Sleep(11 * time.Second)
		if ready() != corev1.ConditionTrue {
			t.Fatal("not ready again")
		}
	})
}
