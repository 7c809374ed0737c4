// Package host reads what the machine of a node is, has and runs short of.
//
// It keeps nothing and changes nothing: every call looks at the machine anew. What
// cannot be read is left out, or zero.
package host

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Machine is what Resources has to be told.
type Machine struct {
	Root        string // on the file system that pods use
	MemoryBytes int64
	Pods        int
	Reserved    corev1.ResourceList                      // for what is not a pod
	Kept        func(disk, memory Amount) (int64, int64) // bytes of each that must stay free
}

// Resources returns what the node has and what pods may have of it: all but what
// is reserved, and what must stay free lest pods are evicted (Kubernetes, "Reserve
// Compute Resources for System Daemons").
func Resources(m Machine) (capacity, allocatable corev1.ResourceList) {
	capacity = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(m.MemoryBytes, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(int64(m.Pods), resource.DecimalSI),
	}
	var fs unix.Statfs_t
	var disk int64
	if unix.Statfs(m.Root, &fs) == nil {
		disk = int64(fs.Blocks) * fs.Bsize
		capacity[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(disk, resource.BinarySI)
	}
	memory := m.MemoryBytes
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
	keptDisk, keptMemory := m.Kept(Amount{disk, disk}, Amount{memory, memory})
	for name, bytes := range map[corev1.ResourceName]int64{corev1.ResourceMemory: keptMemory, corev1.ResourceEphemeralStorage: keptDisk} {
		less(allocatable, name, *resource.NewQuantity(bytes, resource.BinarySI))
	}
	for name, q := range m.Reserved {
		less(allocatable, name, q)
	}
	return capacity, allocatable
}

// less takes q away from the list's entry, down to nothing.
func less(list corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	have, ok := list[name]
	if !ok {
		return
	}
	if have.Sub(q); have.Sign() < 0 {
		have = *resource.NewQuantity(0, have.Format)
	}
	list[name] = have
}

// Reserve reads what is reserved for one purpose: cpu, memory, ephemeral-storage and
// pid, as amounts. The error names the entry.
func Reserve(said map[string]string) (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for name, text := range said {
		switch corev1.ResourceName(name) {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, "pid":
		default:
			return nil, fmt.Errorf("%q cannot be reserved: cpu, memory, ephemeral-storage and pid can", name)
		}
		q, err := resource.ParseQuantity(text)
		if err != nil || q.Sign() < 0 {
			return nil, fmt.Errorf("%s: %q is not an amount such as 500m or 1Gi", name, text)
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}

// Amount is how much of something there is, and how much of that is left.
type Amount struct{ Available, Capacity int64 }

// Memory returns the node's memory, in bytes: what the kernel says can be had
// without swapping.
func Memory() Amount { return Amount{meminfo("MemAvailable"), meminfo("MemTotal")} }

// Swap returns the node's swap, in bytes; zero: it has none.
func Swap() Amount { return Amount{meminfo("SwapFree"), meminfo("SwapTotal")} }

// Disk returns the file system that path is on, in bytes and in inodes. Zero
// capacities: it cannot be asked, or counts no inodes.
func Disk(path string) (bytes, inodes Amount) {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return bytes, inodes
	}
	return Amount{int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize}, Amount{int64(fs.Ffree), int64(fs.Files)}
}

// Processes returns how many processes the node may run.
func Processes() Amount {
	most := numberIn("/proc/sys/kernel/pid_max")
	if threads := numberIn("/proc/sys/kernel/threads-max"); threads > 0 {
		most = min(most, threads)
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return Amount{}
	}
	return Amount{most - int64(info.Procs), most}
}

// Info returns what the node is.
func Info() corev1.NodeSystemInfo {
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	var swap *corev1.NodeSwapStatus
	if n := Swap().Capacity; n > 0 {
		swap = &corev1.NodeSwapStatus{Capacity: &n}
	}
	return corev1.NodeSystemInfo{
		Swap:      swap,
		MachineID: textIn("/etc/machine-id"), SystemUUID: textIn("/sys/class/dmi/id/product_uuid"), BootID: textIn("/proc/sys/kernel/random/boot_id"),
		KernelVersion: kernel, OSImage: osName(), ContainerRuntimeVersion: "containerd://2", KubeletVersion: kubeletVersion,
		OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
	}
}

// kubeletVersion is the release of the API whose kubelet this agent stands in for.
const kubeletVersion = "v1.37.2+trireme"

func osName() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return runtime.GOOS
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

// MemoryBytes returns the size of the node's memory.
func MemoryBytes() int64 { return meminfo("MemTotal") }

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
