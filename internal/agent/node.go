package agent

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	goruntime "runtime"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/agent/host"
	"trireme/internal/agent/image"
	"trireme/internal/agent/pressure"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/route"
)

// nodeStatus is the node's status as last told.
type nodeStatus struct {
	mu sync.Mutex

	status corev1.NodeStatus
}

// How often the node is looked at.
const (
	nodeEvery        = 10 * time.Second
	nodeSoon         = 100 * time.Millisecond // while the node is not ready
	agentHTTPSPort   = 10250
	runtimeCheckTime = 5 * time.Second
)

func (s *nodeStatus) allocatable() corev1.ResourceList {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Allocatable
}

// ready reports whether the node was last told to be ready.
func (s *nodeStatus) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return object.NodeReadiness(&s.status) == corev1.ConditionTrue
}

// hello is the node as a manager creates it.
func (a *Agent) hello() *corev1.Node {
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	labels := map[string]string{
		corev1.LabelHostname: a.cfg.Node, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
	}
	maps.Copy(labels, a.cfg.Labels)
	says := map[string]string{}
	if maps.Copy(says, a.cfg.Network.Annotations()); !a.cfg.Ingress {
		says[route.ClosedAnnotation] = route.ClosedAll
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.cfg.Node, Labels: labels, Annotations: says}, Status: *a.status.status.DeepCopy()}
}

// Announce has managers hear of the node's annotations, which are others.
func (a *Agent) Announce() { a.session.Announce() }

func (a *Agent) nodeLoop(ctx context.Context) error {
	t := time.NewTimer(nodeSoon)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if a.refreshNode(ctx); a.status.ready() {
			t.Reset(nodeEvery)
		} else {
			t.Reset(nodeSoon)
		}
		a.mu.Lock()
		again := a.netErr != nil
		a.mu.Unlock()
		if again {
			a.network(ctx, true, nil)
		}
	}
}

// refreshNode looks at the node and reports it if anything changed.
func (a *Agent) refreshNode(ctx context.Context) {
	st := a.observeNode(ctx)
	a.status.mu.Lock()
	old := &a.status.status
	for i := range st.Conditions {
		keepTimes(&st.Conditions[i], old.Conditions)
	}
	changed := !reflect.DeepEqual(*old, st)
	a.status.status = st
	a.status.mu.Unlock()
	a.passOn(ctx, a.grants.SetCapacity(st.Allocatable))
	if changed {
		a.session.ReportNode(st.DeepCopy())
	}
}

// keepTimes takes over the times of a condition that did not change: a session
// tells that the node lives, so a heartbeat is no news.
func keepTimes(c *corev1.NodeCondition, old []corev1.NodeCondition) {
	for _, o := range old {
		if o.Type != c.Type {
			continue
		}
		if o.Status == c.Status {
			c.LastTransitionTime = o.LastTransitionTime
			if o.Message == c.Message {
				c.LastHeartbeatTime = o.LastHeartbeatTime
			}
		}
	}
}

func (a *Agent) observeNode(ctx context.Context) corev1.NodeStatus {
	capacity, allocatable := a.resources()
	st := corev1.NodeStatus{
		Capacity: capacity, Allocatable: allocatable, NodeInfo: host.Info(),
		Addresses:       a.addresses(),
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: a.httpsPort()}},
		Images:          a.imageList(ctx),
		VolumesInUse:    a.volumesInUse(),
	}
	check, cancel := context.WithTimeout(ctx, runtimeCheckTime)
	defer cancel()
	add := func(t corev1.NodeConditionType, on bool, reason, message string) {
		now := metav1.Now()
		c := corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
		if on {
			c.Status = corev1.ConditionTrue
		}
		st.Conditions = append(st.Conditions, c)
	}
	if err := a.networkError(); err != nil {
		add(corev1.NodeNetworkUnavailable, true, "NetworkNotProgrammed", err.Error())
	} else {
		add(corev1.NodeNetworkUnavailable, false, "NetworkProgrammed", "the node's network is programmed")
	}
	has := a.pressure.Conditions()
	for _, p := range pressureWords {
		if has[p.condition] {
			add(p.condition, true, p.reason, p.message)
		} else {
			add(p.condition, false, p.reasonNot, p.messageNot)
		}
	}
	if err := a.checkRuntime(check); err != nil {
		add(corev1.NodeReady, false, "KubeletNotReady", "container runtime: "+err.Error())
	} else {
		add(corev1.NodeReady, true, "KubeletReady", "the agent is posting ready status")
	}
	return st
}

// checkRuntime says why no containers can be started. Where that is for want of CNI
// plugins, these say so better than a CRI server does.
func (a *Agent) checkRuntime(ctx context.Context) error {
	err := a.cfg.Runtime.Check(ctx)
	if err != nil && a.cfg.Plugins != nil {
		if said := a.cfg.Plugins(ctx); said != nil {
			return said
		}
	}
	return err
}

// pressureWords are what a kubelet says of pressure: people and tools look for it.
var pressureWords = []struct {
	condition                              corev1.NodeConditionType
	reason, message, reasonNot, messageNot string
}{
	{corev1.NodeMemoryPressure, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
	{corev1.NodeDiskPressure, "KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
	{corev1.NodePIDPressure, "KubeletHasInsufficientPID", "kubelet has insufficient PID available", "KubeletHasSufficientPID", "kubelet has sufficient PID available"},
}

// resources returns what the node has and what its pods may have of it.
func (a *Agent) resources() (capacity, allocatable corev1.ResourceList) {
	capacity, allocatable = host.Resources(host.Machine{
		Root: a.cfg.Root, MemoryBytes: a.memoryBytes, Pods: a.cfg.MaxPods, Reserved: a.cfg.Reserved,
		Kept: func(disk, memory host.Amount) (int64, int64) {
			return a.rules.Kept(pressure.Disk, disk.Capacity), a.rules.Kept(pressure.Memory, memory.Capacity)
		},
	})
	has, healthy := a.devices.Resources()
	maps.Copy(capacity, has)
	maps.Copy(allocatable, healthy)
	return capacity, allocatable
}

// bound keeps all pods together within what is not reserved.
func (a *Agent) bound() error {
	capacity, _ := a.resources()
	var errs []error
	for name, q := range a.cfg.Reserved {
		have, ok := capacity[name]
		if ok && have.Cmp(q) <= 0 {
			errs = append(errs, kind.New(kind.Invalid, "%s of %s are reserved, and the node has %s: reserve less", q.String(), name, have.String()))
		}
		have.Sub(q)
		capacity[name] = have
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(a.cfg.Reserved) == 0 {
		capacity = nil
	}
	return a.cgroups.Bound(capacity)
}

func (a *Agent) httpsPort() int32 {
	i := strings.LastIndexByte(a.cfg.Listen, ':')
	if n, err := strconv.ParseInt(a.cfg.Listen[i+1:], 10, 32); err == nil && n > 0 {
		return int32(n)
	}
	return agentHTTPSPort
}

func (a *Agent) imageList(ctx context.Context) []corev1.ContainerImage {
	list, err := a.cfg.Runtime.ListImages(ctx)
	if err != nil {
		return nil // the condition Ready says that the runtime does not answer
	}
	return image.Status(list)
}

func (a *Agent) addresses() (out []corev1.NodeAddress) {
	for _, ip := range a.cfg.NodeIPs {
		out = append(out, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	return append(out, corev1.NodeAddress{Type: corev1.NodeHostName, Address: a.cfg.Node})
}
