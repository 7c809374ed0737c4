package runtime

import "slices"

// The paths under /proc and /sys that a container must not see or write unless
// its procMount is Unmasked: those of the OCI runtimes and of Kubernetes'
// (k8s.io/api/core/v1, ProcMountType).
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// HiddenPaths returns what a container must not see, and what it must not write,
// unless its procMount is Unmasked. The slices are the caller's.
func HiddenPaths() (masked, readonly []string) {
	return slices.Clone(maskedPaths), slices.Clone(readonlyPaths)
}

// Groups returns a container's own supplemental groups and its pod's, fsGroup
// included, in order and without repetition.
func Groups(sandbox *SandboxConfig, own []int64) []int64 {
	all := slices.Clone(own)
	if sc := sandbox.Security; sc != nil {
		all = append(all, sc.SupplementalGroups...)
		if sc.FSGroup != nil {
			all = append(all, *sc.FSGroup)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
