package shim

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	cgroupMount  = "/sys/fs/cgroup"
	unifiedMount = cgroupMount + "/unified"
)

// hideUnified: this machine has control groups of version 1 and, beside them, a
// hierarchy of version 2 with controllers nobody uses. crun refuses that ("drop
// all controllers from cgroupv2"), and works where it does not see the latter.
var hideUnified = hybridWithControllers()

func hybridWithControllers() bool {
	var st unix.Statfs_t
	if unix.Statfs(cgroupMount, &st) != nil || st.Type == unix.CGROUP2_SUPER_MAGIC {
		return false
	}
	b, err := os.ReadFile(unifiedMount + "/cgroup.controllers")
	return err == nil && strings.TrimSpace(string(b)) != ""
}

// withoutUnified gives the calling thread, and what it starts, a mount namespace
// in which that hierarchy is not there. All other mounts stay what they are, so
// that what containers share with the node is shared still.
func withoutUnified() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", cgroupMount, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making %s private: %w", cgroupMount, err)
	}
	if err := unix.Unmount(unifiedMount, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hiding %s: %w", unifiedMount, err)
	}
	return nil
}
