package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// changed says that the runtime reported a change of the pod.
func (w *worker) changed(ctx context.Context) {
	w.tell(ctx, func() { w.look.wanted = true })
}

// lookNow asks the runtime about the containers that may have changed. One that
// is being started or stopped is looked at when that is done.
func (w *worker) lookNow(ctx context.Context) {
	if !w.look.wanted || w.look.busy || !w.o.adopted {
		return
	}
	w.look.wanted = false
	ids := map[string]string{}
	for name, c := range w.o.containers {
		switch {
		case c.busy:
			w.look.wanted = true
		case c.running():
			ids[name] = c.full.ID
		}
	}
	if len(ids) == 0 {
		return
	}
	w.look.busy = true
	w.op(ctx, func() func() {
		seen := make(map[string]*runtime.Container, len(ids))
		for name, id := range ids {
			seen[name] = w.a.inspect(ctx, id)
		}
		return func() {
			w.look.busy = false
			for name, full := range seen {
				w.observe(w.o.containers[name], ids[name], full)
			}
		}
	})
}

// inspect returns the container; nil where the runtime does not say. One that is
// gone has ended in a way nobody saw.
func (a *Agent) inspect(ctx context.Context, id string) *runtime.Container {
	full, err := a.cfg.Runtime.Container(ctx, id)
	if kind.Is(err, kind.NotFound) {
		return &runtime.Container{
			ID: id, State: runtime.Exited, ExitCode: 137, Reason: "ContainerStatusUnknown", Finished: time.Now(),
			Message: "The container could not be located",
		}
	}
	if err != nil {
		return nil
	}
	return full
}

// observe takes over what the runtime says of the container id. A word that is
// older than what is known is passed over: states only move on.
func (w *worker) observe(c *containerState, id string, full *runtime.Container) {
	if full == nil || c == nil || !c.made || c.full.ID != id || full.State <= c.full.State {
		return
	}
	if full.Started.IsZero() {
		full.Started = c.full.Started
	}
	if full.Finished.IsZero() {
		full.Finished = time.Now()
	}
	full.ImageID, full.Name, full.Attempt = c.full.ImageID, c.full.Name, c.full.Attempt
	c.full = *full
	if c.exited() {
		w.afterExit(c)
	}
}

// afterExit notes what follows from a container's end.
func (w *worker) afterExit(c *containerState) {
	c.ready, c.started, c.kill = false, false, nil
	if cancel, ok := w.probes[c.spec.Name]; ok {
		cancel()
		delete(w.probes, c.spec.Name)
	}
	if message := w.lastWords(c); message != "" {
		c.full.Message = message
	}
	c.crashed()
	if w.backsOff(c) {
		w.event(corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", c.spec.Name, w.key.Name, w.key.Namespace, w.uid), c.spec.Name)
	}
}

// backsOff reports whether a container that has ended waits for its next start,
// and notes that it does.
func (w *worker) backsOff(c *containerState) bool {
	if c.pause <= 0 || !time.Now().Before(c.notBefore) || !restarts(w.pod, c) || w.o.terminating != nil || finished(w.pod, &w.o) {
		return false
	}
	c.waitReason = reasonCrashLoop
	c.waitMessage = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", c.pause, c.spec.Name, w.key.Name, w.key.Namespace, w.uid)
	return true
}

// The bounds of a container's last words (Kubernetes, "Determine the Reason for
// Pod Failure").
const (
	messageMax     = 4096
	messageLogMax  = 2048
	messageLogTail = 80
)

// lastWords returns what the container wrote to its message file, or the end of
// its log if the policy says so.
func (w *worker) lastWords(c *containerState) string {
	b, err := readEnd(w.a.messagePath(w.uid, c.spec.Name, c.attempt), messageMax)
	if err == nil && len(b) > 0 {
		return string(b)
	}
	if c.spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || c.full.ExitCode == 0 {
		return ""
	}
	b, err = readEnd(filepath.Join(w.a.logDir(w.pod), c.spec.Name, strconv.Itoa(int(c.attempt))+".log"), 4*messageLogMax)
	if err != nil {
		return ""
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(line, " ", 4); len(f) == 4 {
			out = append(out, f[3])
		}
	}
	text := strings.Join(out[max(0, len(out)-messageLogTail):], "")
	return text[max(0, len(text)-messageLogMax):]
}

func readEnd(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, st.Size()-limit), limit))
}

func (a *Agent) messagePath(uid types.UID, container string, attempt uint32) string {
	return filepath.Join(a.volumes.PodDir(uid), "containers", container, strconv.Itoa(int(attempt)))
}

// messageFile makes the file for a container's last words.
func (a *Agent) messageFile(pod *corev1.Pod, container string, attempt uint32) (string, error) {
	path := a.messagePath(pod.UID, container, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("making the container's directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return "", fmt.Errorf("making the termination message file: %w", err)
	}
	if err := f.Chmod(0o666); err != nil { // any user of the container may write it
		f.Close()
		return "", err
	}
	return path, f.Close()
}

// hostsFile writes the pod's /etc/hosts.
func (a *Agent) hostsFile(pod *corev1.Pod) (string, error) {
	var node []byte
	if pod.Spec.HostNetwork {
		b, err := os.ReadFile("/etc/hosts")
		if err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("reading the node's hosts file: %w", err)
		}
		node = b
	}
	path := filepath.Join(a.volumes.PodDir(pod.UID), "etc-hosts")
	if _, err := os.Stat(path); err == nil {
		return path, nil // its inode is mounted where other containers run
	}
	if err := os.WriteFile(path, a.node().Hosts(pod, node), 0o644); err != nil {
		return "", fmt.Errorf("writing the pod's hosts file: %w", err)
	}
	return path, os.Chmod(path, 0o644)
}
