package stream

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/agent/scrape"
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
}

// PodStats is what one pod uses.
type PodStats struct {
	PodRef     PodRef           `json:"podRef"`
	StartTime  metav1.Time      `json:"startTime"`
	Containers []ContainerStats `json:"containers"`
	CPU        *CPUStats        `json:"cpu,omitempty"`
	Memory     *MemoryStats     `json:"memory,omitempty"`
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
