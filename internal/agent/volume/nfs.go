package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// nfsTimeout is how long a server may take to answer a mount.
const nfsTimeout = 2 * time.Minute

// nfs mounts what an NFS server exports, as the node's own mount helper does it
// (mount.nfs(8)), and returns where. It goes as all mounts below the pod's directory do.
func (m *Manager) nfs(pod *corev1.Pod, name string, src *corev1.NFSVolumeSource, options []string) (string, error) {
	dir := m.dir(pod.UID, "nfs", name)
	if mounted(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	server := src.Server
	if strings.Contains(server, ":") { // an address of IPv6
		server = "[" + server + "]"
	}
	from := server + ":" + src.Path
	if !installed("mount.nfs") {
		return "", fmt.Errorf("mounting %s: this node has no program mount.nfs: install nfs-common there (Debian; nfs-utils elsewhere)", from)
	}
	if src.ReadOnly {
		options = append(options[:len(options):len(options)], "ro")
	}
	args := []string{"-t", "nfs"}
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	ctx, cancel := context.WithTimeout(context.Background(), nfsTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mount", append(args, "--", from, dir)...).CombinedOutput()
	if err == nil {
		return dir, nil
	}
	err = fmt.Errorf("mounting %s: %w: %s", from, err, strings.TrimSpace(string(out)))
	if b, unread := os.ReadFile("/proc/filesystems"); unread == nil && !strings.Contains(string(b), "\tnfs") {
		err = fmt.Errorf("%w; this node's kernel has no NFS client: load the module nfs, or run a kernel that is built with CONFIG_NFS_FS", err)
	}
	return "", err
}

// installed reports whether mount(8) finds a helper of the name.
func installed(name string) bool {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/sbin", "/usr/sbin") {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return true
		}
	}
	return false
}
