package stream

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/agent/host"
	"trireme/internal/agent/scrape"
	"trireme/internal/dataplane/link"
)

// Summary is the answer of /stats/summary, as far as it is known here: the shape
// of k8s.io/kubelet's stats/v1alpha1.
type Summary struct {
	Node NodeStats  `json:"node"`
	Pods []PodStats `json:"pods"`
}

// NodeStats is what the whole machine uses.
type NodeStats struct {
	NodeName string       `json:"nodeName"`
	CPU      *CPUStats    `json:"cpu,omitempty"`
	Memory   *MemoryStats `json:"memory,omitempty"`
	Swap     *SwapStats   `json:"swap,omitempty"`
	FS       *FSStats     `json:"fs,omitempty"`
	Runtime  RuntimeStats `json:"runtime"`
}

// RuntimeStats is what the container runtime uses.
type RuntimeStats struct {
	ImageFS *FSStats `json:"imageFs,omitempty"`
}

// PodStats is what one pod uses.
type PodStats struct {
	PodRef     PodRef           `json:"podRef"`
	StartTime  metav1.Time      `json:"startTime"`
	Containers []ContainerStats `json:"containers"`
	CPU        *CPUStats        `json:"cpu,omitempty"`
	Memory     *MemoryStats     `json:"memory,omitempty"`
	Swap       *SwapStats       `json:"swap,omitempty"`
	Network    *NetworkStats    `json:"network,omitempty"`
	// What the pod shows of itself, where that was asked for, or why it could not be read.
	UserDefinedMetrics []scrape.Series `json:"userDefinedMetrics,omitempty"`
	ScrapeError        string          `json:"scrapeError,omitempty"`
}

// PodRef names a pod.
type PodRef struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
}

// ContainerStats is what one container uses.
type ContainerStats struct {
	Name      string       `json:"name"`
	StartTime metav1.Time  `json:"startTime"`
	CPU       *CPUStats    `json:"cpu,omitempty"`
	Memory    *MemoryStats `json:"memory,omitempty"`
	Swap      *SwapStats   `json:"swap,omitempty"`
	RootFS    *FSStats     `json:"rootfs,omitempty"`
}

// CPUStats is CPU time: since the start, and a second now.
type CPUStats struct {
	Time                 metav1.Time `json:"time"`
	UsageNanoCores       *uint64     `json:"usageNanoCores,omitempty"`
	UsageCoreNanoSeconds *uint64     `json:"usageCoreNanoSeconds,omitempty"`
}

// MemoryStats is memory that cannot be taken back.
type MemoryStats struct {
	Time            metav1.Time `json:"time"`
	WorkingSetBytes *uint64     `json:"workingSetBytes,omitempty"`
}

// SwapStats is what was swapped out, and what more may be.
type SwapStats struct {
	Time           metav1.Time `json:"time"`
	AvailableBytes *uint64     `json:"swapAvailableBytes,omitempty"`
	UsageBytes     *uint64     `json:"swapUsageBytes,omitempty"`
}

// FSStats is a file system, or what somebody uses of one.
type FSStats struct {
	Time           metav1.Time `json:"time"`
	AvailableBytes *uint64     `json:"availableBytes,omitempty"`
	CapacityBytes  *uint64     `json:"capacityBytes,omitempty"`
	UsedBytes      *uint64     `json:"usedBytes,omitempty"`
	InodesFree     *uint64     `json:"inodesFree,omitempty"`
	Inodes         *uint64     `json:"inodes,omitempty"`
	InodesUsed     *uint64     `json:"inodesUsed,omitempty"`
}

// NetworkStats is what a pod has received and sent by its own link.
type NetworkStats struct {
	Time metav1.Time `json:"time"`
	InterfaceStats
	Interfaces []InterfaceStats `json:"interfaces"`

	traffic link.Traffic // packets and what was dropped are for cAdvisor's names alone
}

// InterfaceStats is that of one interface.
type InterfaceStats struct {
	Name     string `json:"name"`
	RxBytes  uint64 `json:"rxBytes"`
	RxErrors uint64 `json:"rxErrors"`
	TxBytes  uint64 `json:"txBytes"`
	TxErrors uint64 `json:"txErrors"`
}

// Network returns the statistics of a pod's link.
func Network(at metav1.Time, t link.Traffic) *NetworkStats {
	one := InterfaceStats{"eth0", t.Received.Bytes, t.Received.Errors, t.Sent.Bytes, t.Sent.Errors}
	return &NetworkStats{Time: at, InterfaceStats: one, Interfaces: []InterfaceStats{one}, traffic: t}
}

// FS returns the statistics of a whole file system.
func FS(at metav1.Time, bytes, inodes host.Amount) *FSStats {
	n := func(v int64) *uint64 { u := uint64(max(v, 0)); return &u }
	return &FSStats{
		Time: at, AvailableBytes: n(bytes.Available), CapacityBytes: n(bytes.Capacity), UsedBytes: n(bytes.Capacity - bytes.Available),
		InodesFree: n(inodes.Available), Inodes: n(inodes.Capacity), InodesUsed: n(inodes.Capacity - inodes.Available),
	}
}

// CPU returns the statistics of CPU time; nanoCores 0 is left out.
func CPU(at metav1.Time, total, nanoCores uint64) *CPUStats {
	s := &CPUStats{Time: at, UsageCoreNanoSeconds: &total}
	if nanoCores > 0 {
		s.UsageNanoCores = &nanoCores
	}
	return s
}

// Memory returns the statistics of memory.
func Memory(at metav1.Time, bytes uint64) *MemoryStats {
	return &MemoryStats{Time: at, WorkingSetBytes: &bytes}
}

// Swap returns the statistics of swap of which limit bytes may be used.
func Swap(at metav1.Time, used, limit uint64) *SwapStats {
	left := limit - min(used, limit)
	return &SwapStats{Time: at, AvailableBytes: &left, UsageBytes: &used}
}

// Add returns both together; either may be nil.
func (s *SwapStats) Add(o *SwapStats) *SwapStats {
	if s == nil || o == nil {
		return cmp.Or(s, o)
	}
	used, left := *s.UsageBytes+*o.UsageBytes, *s.AvailableBytes+*o.AvailableBytes
	return &SwapStats{Time: s.Time, AvailableBytes: &left, UsageBytes: &used}
}
