package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// memoryDir is the folder below root that lies in memory, one file system for all
// pods of the node: what is secret never reaches the disk.
const memoryDir = "secrets"

// secret reports whether a kind of volume holds secrets: projected ones hold tokens
// and keys.
func secret(kind string) bool { return kind == "secret" || kind == "projected" }

// hugeSize returns the mount option of a medium of huge pages; false: it is another.
func hugeSize(m corev1.StorageMedium) (option string, ok bool) {
	if m == corev1.StorageMediumHugePages {
		return "", true // the kernel's usual size
	}
	size, ok := strings.CutPrefix(string(m), string(corev1.StorageMediumHugePagesPrefix))
	if !ok {
		return "", false
	}
	return "pagesize=" + strings.TrimSuffix(size, "i"), true
}

// memory returns the directory in memory that holds what is secret of a pod.
func (m *Manager) memory(uid types.UID) string { return filepath.Join(m.root, memoryDir, string(uid)) }

// mountMemory makes the file system for what is secret, once.
func (m *Manager) mountMemory() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := filepath.Join(m.root, memoryDir)
	if mounted(dir) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("making the folder for secrets: %w", err)
	}
	if err := mountTmpfs(dir, unix.MS_NOEXEC, "mode=0711"); err != nil {
		return fmt.Errorf("mounting memory for secrets at %s: %w", dir, err)
	}
	return nil
}

// mountTmpfs mounts memory at dir. It stays in memory where the kernel can see to that,
// whatever the node swaps (tmpfs(5), noswap; Linux 6.4).
func mountTmpfs(dir string, flags uintptr, options string) error {
	flags |= unix.MS_NOSUID | unix.MS_NODEV
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", dir, "tmpfs", flags, options)
	}
	return err
}
