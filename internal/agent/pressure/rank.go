package pressure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
)

// Usage is what one pod uses now.
type Usage struct {
	Pod         *corev1.Pod
	MemoryBytes int64
	DiskBytes   int64 // writable layers, logs and emptyDir volumes on disk
	Inodes      int64
	Processes   int64
	Containers  map[string]ContainerUsage
	EmptyDirs   map[string]int64 // bytes of those on disk, by volume
}

// ContainerUsage is what one container of a pod uses now.
type ContainerUsage struct{ MemoryBytes, DiskBytes int64 }

// Rank returns the pods that may be evicted, the first to go first: who uses more
// than it asked for, then the least important, then who uses most beyond what it
// asked for (Kubernetes, "Pod selection for kubelet eviction").
func Rank(s Signal, pods []Usage) []Usage {
	out := slices.DeleteFunc(slices.Clone(pods), func(u Usage) bool { return object.CriticalPod(u.Pod) || object.PodEnded(u.Pod) })
	slices.SortStableFunc(out, func(a, b Usage) int {
		over, under := a.beyond(s), b.beyond(s)
		return cmp.Or(
			-cmp.Compare(sign(over > 0 && s != Processes), sign(under > 0 && s != Processes)),
			cmp.Compare(object.PodPriority(a.Pod), object.PodPriority(b.Pod)),
			-cmp.Compare(over, under),
			cmp.Compare(object.KeyOf(a.Pod).String(), object.KeyOf(b.Pod).String()),
		)
	})
	return out
}

// Refuses says why a node with the conditions takes no such pod, empty where it
// does (Kubernetes, "Node-pressure Eviction: node conditions").
func Refuses(p *corev1.Pod, conditions map[corev1.NodeConditionType]bool) string {
	var has []string
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		if conditions[c] {
			has = append(has, string(c))
		}
	}
	if len(has) == 0 || object.CriticalPod(p) {
		return ""
	}
	if len(has) == 1 && conditions[corev1.NodeMemoryPressure] && copes(p) {
		return ""
	}
	return fmt.Sprintf("Pod was rejected: The node had condition: %v. ", has)
}

// copes reports whether the pod may start on a node that is short of memory.
func copes(p *corev1.Pod) bool {
	taint := corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}
	return object.QOS(p) != corev1.PodQOSBestEffort || slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool {
		return (t.Effect == "" || t.Effect == taint.Effect) && (t.Key == "" && t.Operator == corev1.TolerationOpExists || t.Key == taint.Key)
	})
}

func sign(b bool) int {
	if b {
		return 1
	}
	return 0
}

// beyond returns how much more the pod uses than it asked for.
func (u *Usage) beyond(s Signal) int64 {
	asked := object.SpecDemand(u.Pod)
	switch s {
	case Memory:
		return u.MemoryBytes - asked.MemoryBytes
	case Inodes, ImageInodes:
		return u.Inodes
	case Processes:
		return u.Processes
	}
	return u.DiskBytes - asked.EphemeralBytes
}

func resourceOf(s Signal) string {
	switch s {
	case Memory:
		return string(corev1.ResourceMemory)
	case Inodes, ImageInodes:
		return "inodes"
	case Processes:
		return "pids"
	}
	return string(corev1.ResourceEphemeralStorage)
}

// message says why the pod is evicted, in Kubernetes' words: people search for
// them.
func (m *met) message(u *Usage) string {
	name := resourceOf(m.signal)
	b := &strings.Builder{}
	fmt.Fprintf(b, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ", name, show(m.signal, m.amount.of(m.has.Capacity)), show(m.signal, m.has.Available))
	if m.signal == Inodes || m.signal == ImageInodes || m.signal == Processes {
		return b.String()
	}
	for i := range u.Pod.Spec.Containers {
		c := &u.Pod.Spec.Containers[i]
		used, asked := u.Containers[c.Name].DiskBytes, c.Resources.Requests[corev1.ResourceEphemeralStorage]
		if m.signal == Memory {
			used, asked = u.Containers[c.Name].MemoryBytes, c.Resources.Requests[corev1.ResourceMemory]
		}
		if used > asked.Value() {
			fmt.Fprintf(b, "Container %s was using %s, request is %s, has larger consumption of %s. ", c.Name, show(m.signal, used), asked.String(), name)
		}
	}
	return b.String()
}

func show(s Signal, n int64) string {
	switch s {
	case Processes, Inodes, ImageInodes:
		return resource.NewQuantity(n, resource.DecimalSI).String()
	}
	return resource.NewQuantity(n>>10<<10, resource.BinarySI).String()
}

// Limited reports whether the pod has a limit that Overuse looks at.
func Limited(p *corev1.Pod) bool {
	for i := range p.Spec.Volumes {
		if e := p.Spec.Volumes[i].EmptyDir; e != nil && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 {
			return true
		}
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if _, ok := list[i].Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
				return true
			}
		}
	}
	return false
}

// Overuse says which limit of local disk the pod is above; empty: none.
func Overuse(u *Usage) string {
	for i := range u.Pod.Spec.Volumes {
		v := &u.Pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		if u.EmptyDirs[v.Name] > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
		}
	}
	if all, ok := diskLimit(u.Pod); ok && u.DiskBytes > all {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", resource.NewQuantity(all, resource.BinarySI))
	}
	for _, list := range [][]corev1.Container{u.Pod.Spec.InitContainers, u.Pod.Spec.Containers} {
		for i := range list {
			limit, ok := list[i].Resources.Limits[corev1.ResourceEphemeralStorage]
			if ok && u.Containers[list[i].Name].DiskBytes > limit.Value() {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", list[i].Name, limit.String())
			}
		}
	}
	return ""
}

// diskLimit is what all of the pod's containers may use together; false: one has no
// limit.
func diskLimit(p *corev1.Pod) (sum int64, ok bool) {
	for i := range p.Spec.Containers {
		limit, has := p.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage]
		if !has {
			return 0, false
		}
		sum += limit.Value()
	}
	return sum, true
}
