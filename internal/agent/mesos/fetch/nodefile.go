package fetch

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sys/unix"

	"trireme/internal/object/sandbox"
)

// openAs opens a file of the node with the rights of a user, and of one group, alone.
func openAs(uid, gid int, open func() (*os.File, error)) (f *os.File, err error) {
	if uid == 0 {
		return open()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: with the goroutine ends its thread, which is root's no more
		if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			err = fmt.Errorf("leaving the agent's groups: %w", e)
			return
		}
		if err = errors.Join(unix.Setfsgid(gid), unix.Setfsuid(uid)); err == nil {
			f, err = open()
		}
	}()
	<-done
	return f, err
}

// OpenFor opens a file of the node that the container could read too: below a folder of
// the node that it mounts, with the rights of its user.
func OpenFor(pod *corev1.Pod, c *corev1.Container, path string) (*os.File, error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		mounted := func(m corev1.VolumeMount) bool { return m.Name == v.Name && m.SubPath == "" && m.SubPathExpr == "" }
		if v.HostPath == nil || !slices.ContainsFunc(c.VolumeMounts, mounted) {
			continue
		}
		below, err := filepath.Rel(v.HostPath.Path, path)
		if err != nil || !filepath.IsLocal(below) {
			continue
		}
		uid, gid, err := userOf(pod, c)
		if err != nil {
			return nil, err
		}
		return openAs(uid, gid, func() (*os.File, error) {
			if filepath.Clean(v.HostPath.Path) == "/" {
				return os.Open(path)
			}
			return os.OpenInRoot(v.HostPath.Path, below)
		})
	}
	return nil, fmt.Errorf("the container mounts no folder of the node that %s is in", path)
}

// userOf returns whom the container's program runs as; what an image says of it is not known
// here.
func userOf(pod *corev1.Pod, c *corev1.Container) (uid, gid int, err error) {
	if sandbox.OnHost(pod, c) {
		name := sandbox.UserOf(c)
		if name == "" {
			return 0, 0, nil
		}
		if id, err := strconv.Atoi(name); err == nil {
			return id, id, nil
		}
		u, err := user.Lookup(name)
		if err != nil {
			return 0, 0, fmt.Errorf("the node knows no user %s", name)
		}
		uid, err := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		return uid, gid, errors.Join(err, err2)
	}
	for _, id := range []*int64{runAs(pod.Spec.SecurityContext), runAsOf(c.SecurityContext)} {
		if id != nil {
			uid = int(*id)
		}
	}
	return uid, uid, nil
}

func runAs(sc *corev1.PodSecurityContext) *int64 {
	if sc == nil {
		return nil
	}
	return sc.RunAsUser
}

func runAsOf(sc *corev1.SecurityContext) *int64 {
	if sc == nil {
		return nil
	}
	return sc.RunAsUser
}
