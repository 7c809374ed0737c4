package workdir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/stream"
	"trireme/internal/object/sandbox"
)

// Config is what a Keeper needs; all is required.
type Config struct {
	Dir  string                  // Mesos' work directory
	Has  func(types.UID) bool    // whether the node still has the pod
	Free func() (float64, error) // how much of the disk is free, 0 to 1
	Log  *slog.Logger
}

// Keeper keeps the sandboxes of one node.
type Keeper struct {
	cfg   Config
	logs  stream.Logs
	works sync.WaitGroup // who copy outputs

	mu      sync.Mutex
	used    map[string]types.UID  // sandboxes, and whose they are
	outputs map[string]*following // by container ID
}

// New returns a keeper of what lies in the directory already.
func New(cfg Config) *Keeper {
	return &Keeper{cfg: cfg, used: map[string]types.UID{}, outputs: map[string]*following{}}
}

// Dir returns where the pod's sandbox lies; false: it has none.
func (k *Keeper) Dir(pod *corev1.Pod) (string, bool, error) {
	place, ok, err := sandbox.PlaceOf(pod)
	if !ok || err != nil {
		return "", ok, err
	}
	dir, err := place.Dir()
	if err != nil {
		return "", true, fmt.Errorf("annotation %s: %w", sandbox.PlaceAnnotation, err)
	}
	return filepath.Join(k.cfg.Dir, dir), true, nil
}

// The modes of the folders above sandboxes. Who runs on the node's root file system finds its
// own; others have theirs mounted, and no user of the node finds it.
const (
	modeAbove   = 0o711
	modePrivate = 0o700
	modeOwn     = 0o777 // an image's users are nobody's here, as with an emptyDir
	modeHost    = 0o755 // the program that enters the root gives it to the task's user
)

// Make makes the pod's sandbox, and the link to the newest of its executor.
func (k *Keeper) Make(pod *corev1.Pod) (string, bool, error) {
	dir, ok, err := k.Dir(pod)
	if !ok || err != nil {
		return "", ok, err
	}
	onHost := false
	for i := range pod.Spec.Containers {
		onHost = onHost || sandbox.OnHost(pod, &pod.Spec.Containers[i])
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if owner, taken := k.used[dir]; taken && owner != pod.UID {
		return "", true, fmt.Errorf("annotation %s: the sandbox %s is another pod's", sandbox.PlaceAnnotation, dir)
	}
	k.used[dir] = pod.UID
	if _, err := os.Lstat(dir); err == nil {
		return dir, true, nil
	}
	if err := makeDirs(dir, pod.Namespace, onHost); err != nil {
		return "", true, fmt.Errorf("making the sandbox: %w", err)
	}
	return dir, true, nil
}

func makeDirs(dir, namespace string, onHost bool) error {
	runs := filepath.Dir(dir)
	executor := filepath.Dir(runs)
	if err := os.MkdirAll(filepath.Dir(executor), modeAbove); err != nil {
		return err
	}
	above, own := fs.FileMode(modePrivate), fs.FileMode(modeOwn)
	if onHost {
		above, own = modeAbove, modeHost
	}
	if err := os.Mkdir(executor, above); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(executor, namespaceFile), []byte(namespace), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, modeAbove); err != nil {
		return err
	}
	if err := os.Chmod(dir, own); err != nil { // past the umask
		return err
	}
	next := filepath.Join(runs, ".latest")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(dir), next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(runs, "latest"))
}

// Left says that the pod is gone: its sandbox is kept for a while. It returns once all that
// its containers, which have ended, wrote is in there.
func (k *Keeper) Left(pod *corev1.Pod) error {
	dir, ok, err := k.Dir(pod)
	if !ok {
		return nil
	}
	if err != nil {
		return err
	}
	k.finish(pod.UID)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.used[dir] != pod.UID {
		return nil
	}
	delete(k.used, dir)
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// openFile opens a file of a sandbox that a task may have tampered with.
func openFile(root *os.Root, name string, flags int) (*os.File, error) {
	f, err := root.OpenFile(name, flags|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is not a file", name))
	}
	return f, nil
}

// MakeSubDir makes a task's folder in the sandbox, which whoever uses the sandbox may use.
func MakeSubDir(dir, sub string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	st, err := root.Stat(".")
	if err == nil {
		err = root.MkdirAll(sub, 0o755)
	}
	if err == nil {
		err = root.Chmod(sub, st.Mode().Perm())
	}
	if err != nil {
		return fmt.Errorf("making the task's folder: %w", err)
	}
	return nil
}

// RootShared reports whether mounts of the node reach other mount namespaces.
func RootShared() bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 6 && f[4] == "/" {
			return strings.HasPrefix(f[6], "shared:") || strings.HasPrefix(f[6], "master:")
		}
	}
	return false
}
