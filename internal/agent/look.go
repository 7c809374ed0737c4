package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/machine"
	"trireme/internal/agent/podfiles"
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
	if !w.look.wanted || w.look.busy || !w.o.Adopted {
		return
	}
	w.look.wanted = false
	ids := map[string]string{}
	for name, c := range w.o.Containers {
		switch {
		case c.Busy:
			w.look.wanted = true
		case c.Running():
			ids[name] = c.Full.ID
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
				w.observe(w.o.Containers[name], ids[name], full)
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
func (w *worker) observe(c *machine.Container, id string, full *runtime.Container) {
	if full == nil || c == nil || !c.Made || c.Full.ID != id || full.State <= c.Full.State {
		return
	}
	if full.Started.IsZero() {
		full.Started = c.Full.Started
	}
	if full.Finished.IsZero() {
		full.Finished = time.Now()
	}
	full.ImageID, full.Name, full.Attempt = c.Full.ImageID, c.Full.Name, c.Full.Attempt
	c.Full = *full
	if c.Exited() {
		w.afterExit(c)
	}
}

// afterExit notes what follows from a container's end.
func (w *worker) afterExit(c *machine.Container) {
	c.Ready, c.Started, c.Kill = false, false, nil
	if cancel, ok := w.probes[c.Spec.Name]; ok {
		cancel()
		delete(w.probes, c.Spec.Name)
	}
	if message := w.lastWords(c); message != "" {
		c.Full.Message = message
	}
	c.Crashed(time.Now())
	if w.backsOff(c) {
		w.event(corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", c.Spec.Name, w.key.Name, w.key.Namespace, w.uid), c.Spec.Name)
	}
}

// backsOff reports whether a container that has ended waits for its next start,
// and notes that it does.
func (w *worker) backsOff(c *machine.Container) bool {
	if c.Pause <= 0 || !time.Now().Before(c.NotBefore) || !machine.Restarts(w.pod, c) || w.o.Terminating != nil || machine.Finished(w.pod, &w.o) {
		return false
	}
	c.WaitReason = machine.ReasonCrashLoop
	c.WaitMessage = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", c.Pause, c.Spec.Name, w.key.Name, w.key.Namespace, w.uid)
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
func (w *worker) lastWords(c *machine.Container) string {
	b, err := podfiles.End(podfiles.Message(w.a.volumes.PodDir(w.uid), c.Spec.Name, c.Attempt), messageMax)
	if err == nil && len(b) > 0 {
		return string(b)
	}
	if c.Spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || c.Full.ExitCode == 0 {
		return ""
	}
	b, err = podfiles.End(filepath.Join(w.a.logDir(w.pod), c.Spec.Name, strconv.Itoa(int(c.Attempt))+".log"), 4*messageLogMax)
	if err != nil {
		return ""
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(line, " ", 4); len(f) == 4 {
			if f[2] == "P" { // part of a line: its end is not the container's
				f[3] = strings.TrimSuffix(f[3], "\n")
			}
			out = append(out, f[3])
		}
	}
	text := strings.Join(out[max(0, len(out)-messageLogTail):], "")
	return text[max(0, len(text)-messageLogMax):]
}
