package agent

import (
	"bufio"
	"context"
	"maps"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	goruntime "runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/runtime"
)

// nodeStatus is the node's status as last told.
type nodeStatus struct {
	mu sync.Mutex

	status corev1.NodeStatus
}

// How often the node is looked at, and the thresholds of its pressures
// (Kubernetes, "Node-pressure Eviction").
const (
	nodeEvery        = 10 * time.Second
	nodeSoon         = 100 * time.Millisecond // while the node is not ready
	imagesMax        = 50
	memoryFreeMin    = 100 << 20
	diskFreePercent  = 10
	pidsUsedPercent  = 90
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
	for _, c := range s.status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// hello is the node as a manager creates it.
func (a *Agent) hello() *corev1.Node {
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	labels := map[string]string{
		corev1.LabelHostname: a.cfg.Node, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
	}
	maps.Copy(labels, a.cfg.Labels)
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.cfg.Node, Labels: labels}, Status: *a.status.status.DeepCopy()}
}

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
	capacity, allocatable := a.capacity()
	st := corev1.NodeStatus{
		Capacity: capacity, Allocatable: allocatable, NodeInfo: nodeInfo(),
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: a.cfg.NodeIP.String()}, {Type: corev1.NodeHostName, Address: a.cfg.Node},
		},
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
	pressures(a.cfg.Root, add)
	if err := a.cfg.Runtime.Check(check); err != nil {
		add(corev1.NodeReady, false, "KubeletNotReady", "container runtime: "+err.Error())
	} else {
		add(corev1.NodeReady, true, "KubeletReady", "the agent is posting ready status")
	}
	return st
}

func pressures(root string, add func(t corev1.NodeConditionType, on bool, reason, message string)) {
	if free := meminfo("MemAvailable"); free > 0 && free < memoryFreeMin {
		add(corev1.NodeMemoryPressure, true, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
	} else {
		add(corev1.NodeMemoryPressure, false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
	}
	var fs unix.Statfs_t
	if unix.Statfs(root, &fs) == nil && fs.Blocks > 0 && fs.Bavail*100/fs.Blocks < diskFreePercent {
		add(corev1.NodeDiskPressure, true, "KubeletHasDiskPressure", "kubelet has disk pressure")
	} else {
		add(corev1.NodeDiskPressure, false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
	}
	var info unix.Sysinfo_t
	limit := numberIn("/proc/sys/kernel/pid_max")
	if unix.Sysinfo(&info) == nil && limit > 0 && int64(info.Procs)*100/limit > pidsUsedPercent {
		add(corev1.NodePIDPressure, true, "KubeletHasInsufficientPID", "kubelet has insufficient PID available")
	} else {
		add(corev1.NodePIDPressure, false, "KubeletHasSufficientPID", "kubelet has sufficient PID available")
	}
}

// capacity returns what the node has and what pods may have of it: all but the
// disk that the images' thresholds keep free.
func (a *Agent) capacity() (capacity, allocatable corev1.ResourceList) {
	capacity = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(goruntime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(a.memoryBytes, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(int64(a.cfg.MaxPods), resource.DecimalSI),
	}
	var fs unix.Statfs_t
	var disk int64
	if unix.Statfs(a.cfg.Root, &fs) == nil {
		disk = int64(fs.Blocks) * fs.Bsize
		capacity[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(disk, resource.BinarySI)
	}
	memory := a.memoryBytes
	entries, err := os.ReadDir("/sys/kernel/mm/hugepages")
	if err == nil {
		for _, e := range entries {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB"), 10, 64)
			n := numberIn("/sys/kernel/mm/hugepages/" + e.Name() + "/nr_hugepages")
			if err != nil || n <= 0 {
				continue
			}
			name := corev1.ResourceHugePagesPrefix + resource.NewQuantity(kb<<10, resource.BinarySI).String()
			capacity[corev1.ResourceName(name)] = *resource.NewQuantity(n*kb<<10, resource.BinarySI)
			memory -= n * kb << 10
		}
	}
	allocatable = maps.Clone(capacity)
	allocatable[corev1.ResourceMemory] = *resource.NewQuantity(memory, resource.BinarySI)
	if disk > 0 {
		allocatable[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(disk-disk/100*diskFreePercent, resource.BinarySI)
	}
	return capacity, allocatable
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
	return containerImages(list)
}

func containerImages(list []runtime.Image) []corev1.ContainerImage {
	var out []corev1.ContainerImage
	for _, img := range list[:min(len(list), imagesMax)] {
		names := append(append([]string(nil), img.Digests...), img.Names...)
		if len(names) == 0 {
			names = []string{img.ID}
		}
		out = append(out, corev1.ContainerImage{Names: names, SizeBytes: img.SizeBytes})
	}
	return out
}

func nodeInfo() corev1.NodeSystemInfo {
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return corev1.NodeSystemInfo{
		MachineID: textIn("/etc/machine-id"), SystemUUID: textIn("/sys/class/dmi/id/product_uuid"), BootID: textIn("/proc/sys/kernel/random/boot_id"),
		KernelVersion: kernel, OSImage: osName(), ContainerRuntimeVersion: "containerd://2", KubeletVersion: kubeletVersion,
		OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
	}
}

// kubeletVersion is the release of the API whose kubelet this agent stands in for.
const kubeletVersion = "v1.37.2+trireme"

func osName() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return goruntime.GOOS
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return goruntime.GOOS
}

func textIn(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func numberIn(path string) int64 {
	n, err := strconv.ParseInt(textIn(path), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func memoryBytes() int64 { return meminfo("MemTotal") }

// meminfo returns a field of /proc/meminfo in bytes, 0 if it has none.
func meminfo(name string) int64 {
	for line := range strings.Lines(textIn("/proc/meminfo")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name+":" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}
