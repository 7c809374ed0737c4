package sim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// node is one hollow node.
type node struct {
	f      *fleet
	name   string
	index  int
	cert   tls.Certificate
	pool   *x509.CertPool
	client *wire.Client

	mu   sync.Mutex
	pods map[object.Key]*pod
}

// pod is a pod as a hollow node holds it.
type pod struct {
	uid     types.UID
	timer   *time.Timer // until it runs
	end     *time.Timer // until its deadline; nil: it has none
	work    *time.Timer // until its work is done (RunForEnv); nil: it has none
	running bool
	gone    bool
}

func (f *fleet) newNode(ctx context.Context, i int) (*node, error) {
	n := &node{f: f, name: fmt.Sprintf("%s%d", f.cfg.Prefix, i), index: i, pods: map[object.Key]*pod{}}
	cert, ca, err := wire.Join(ctx, f.cfg.Manager, f.cfg.Token, n.name, []string{n.name})
	if err != nil {
		return nil, err
	}
	n.cert, n.pool = cert, x509.NewCertPool()
	n.pool.AddCert(ca)
	n.client, err = wire.NewClient(wire.ClientConfig{
		Managers: []string{f.cfg.Manager},
		TLS:      func() *tls.Config { return wire.ClientTLS(n.cert, n.pool) },
		Node:     n.object, Assign: n.assign,
		Log: slog.New(f.cfg.Log.Handler()).With("node", n.name),
	})
	return n, err
}

// object is what the node says of itself. Its address is of TEST-NET's kind: from
// 198.18.0.0/15, which is for measuring (RFC 2544).
func (n *node) object() *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: n.f.cpu, corev1.ResourceMemory: n.f.memory,
		corev1.ResourcePods: *resource.NewQuantity(int64(n.f.cfg.Pods), resource.DecimalSI),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{"trireme.dev/hollow": "true"}},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("198.%d.%d.%d", 18+n.index>>16, n.index>>8&255, n.index&255)},
				{Type: corev1.NodeHostName, Address: n.name},
			},
			NodeInfo: corev1.NodeSystemInfo{
				OperatingSystem: "linux", Architecture: "amd64", OSImage: "hollow",
				ContainerRuntimeVersion: "hollow://1", KubeletVersion: "hollow",
			},
		},
	}
}

// assign takes the node's pods.
func (n *node) assign(_ context.Context, full bool, items []wire.Item) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	had := n.pods
	if full {
		n.pods = make(map[object.Key]*pod, len(items))
	}
	for _, i := range items {
		p, ok := i.Object.(*corev1.Pod)
		if !ok && i.Table != "pods" {
			continue
		}
		old := had[i.Key]
		delete(n.pods, i.Key)
		switch {
		case i.Deleted:
			n.drop(old)
		case old != nil && old.uid == p.UID:
			n.pods[i.Key] = old
		default:
			n.drop(old)
			n.pods[i.Key] = &pod{uid: p.UID, gone: object.PodEnded(p)}
			old = nil
		}
		if !i.Deleted {
			n.step(i.Key, n.pods[i.Key], p, old == nil)
		}
	}
	if full {
		for key, p := range had {
			if n.pods[key] != p {
				n.drop(p)
			}
		}
	}
	return nil
}

// drop forgets a pod. Called with mu held.
func (n *node) drop(p *pod) {
	if p == nil {
		return
	}
	for _, t := range []*time.Timer{p.timer, p.end, p.work} {
		if t != nil {
			t.Stop()
		}
	}
	if p.running {
		p.running = false
		n.f.running.Add(-1)
	}
	p.gone = true
}

// step does what the pod's newest form asks for. Called with mu held.
func (n *node) step(key object.Key, h *pod, p *corev1.Pod, new bool) {
	switch {
	case p.DeletionTimestamp != nil:
		n.drop(h)
		n.client.ReportPod(wire.PodReport{Key: key, UID: p.UID, Gone: true})
	case new && !h.gone && n.f.cfg.StartDelay <= 0:
		n.start(key, h, p)
	case new && !h.gone:
		h.timer = time.AfterFunc(n.f.cfg.StartDelay, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.pods[key] == h && !h.gone {
				n.start(key, h, p)
			}
		})
	}
	if d := p.Spec.ActiveDeadlineSeconds; d != nil && !h.gone && h.end == nil {
		h.end = time.AfterFunc(time.Duration(*d)*time.Second, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.finish(key, h, p, corev1.PodFailed, "DeadlineExceeded")
		})
	}
}

// finish ends a pod that is still there. Called with mu held.
func (n *node) finish(key object.Key, h *pod, p *corev1.Pod, phase corev1.PodPhase, reason string) {
	if n.pods[key] == h && !h.gone {
		n.drop(h)
		s := endedStatus(p, metav1.Now().Rfc3339Copy())
		s.Phase, s.Reason = phase, reason
		n.client.ReportPod(wire.PodReport{Key: key, UID: p.UID, Status: s})
	}
}

// endedStatus is the status of a pod whose containers have ended, but for its phase.
func endedStatus(p *corev1.Pod, at metav1.Time) *corev1.PodStatus {
	s := runningStatus(p, at)
	for i := range s.Conditions {
		if c := &s.Conditions[i]; c.Type == corev1.PodReady || c.Type == corev1.ContainersReady {
			c.Status = corev1.ConditionFalse
		}
	}
	for i := range s.ContainerStatuses {
		c := &s.ContainerStatuses[i]
		c.Ready, c.Started = false, new(bool)
		c.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: at, FinishedAt: at, Reason: "Completed", ContainerID: c.ContainerID}}
	}
	return s
}

// start makes the pod run. Called with mu held.
func (n *node) start(key object.Key, h *pod, p *corev1.Pod) {
	h.running = true
	n.f.running.Add(1)
	n.client.ReportPod(wire.PodReport{Key: key, UID: p.UID, Status: runningStatus(p, metav1.Now().Rfc3339Copy())})
	if d := runFor(p); d > 0 {
		h.work = time.AfterFunc(d, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.finish(key, h, p, corev1.PodSucceeded, "")
		})
	}
}

// RunForEnv, in the environment of a container, says after how long its pod succeeds on
// a hollow node: a duration as "2s". Without it a pod runs until it is deleted.
const RunForEnv = "SIM_RUN_FOR"

// runFor returns how long the pod's work takes; 0: it has no end.
func runFor(p *corev1.Pod) time.Duration {
	for i := range p.Spec.Containers {
		for _, e := range p.Spec.Containers[i].Env {
			if e.Name == RunForEnv {
				d, _ := time.ParseDuration(e.Value) // one that is none: no end
				return d
			}
		}
	}
	return 0
}

// runningStatus is the status of a pod all of whose containers run and are ready.
func runningStatus(p *corev1.Pod, at metav1.Time) *corev1.PodStatus {
	s := &corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &at}
	for _, t := range []corev1.PodConditionType{
		corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady,
	} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: at})
	}
	started := true
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: "hollow", ContainerID: "hollow://" + string(p.UID) + "/" + c.Name,
			Ready: true, Started: &started,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
		})
	}
	return s
}
