package executor

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	mesosv1 "trireme/internal/mesos/v1"
	mesosexecutor "trireme/internal/mesos/v1/executor"
	"trireme/internal/object/sandbox"
)

// endOf is why an executor's tasks have failed.
type endOf struct {
	reason  mesosv1.TaskStatus_Reason
	message string
}

// endOfPod returns why the pod of an executor has ended.
func endOfPod(st *corev1.PodStatus) endOf {
	text := st.Message
	oom := false
	for i := range st.ContainerStatuses {
		if e := st.ContainerStatuses[i].State.Terminated; e != nil && e.Reason == "OOMKilled" {
			oom = true
		}
	}
	switch {
	case st.Reason == sandbox.ReasonFetch:
		return endOf{mesosv1.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED, "Failed to launch container: " + text}
	case st.Reason == ReasonSilent:
		return endOf{mesosv1.TaskStatus_REASON_EXECUTOR_REGISTRATION_TIMEOUT, text}
	case st.Reason == ReasonAway:
		return endOf{mesosv1.TaskStatus_REASON_EXECUTOR_REREGISTRATION_TIMEOUT, text}
	case st.Reason == "Evicted" && strings.Contains(text, "ephemeral"):
		return endOf{mesosv1.TaskStatus_REASON_CONTAINER_LIMITATION_DISK, text}
	case st.Reason == "Evicted":
		return endOf{mesosv1.TaskStatus_REASON_CONTAINER_PREEMPTED, text}
	case oom:
		return endOf{mesosv1.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, "Memory limit exceeded"}
	case text != "":
		return endOf{mesosv1.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor terminated: " + text}
	}
	return endOf{mesosv1.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor terminated"}
}

// waitStatus is an exit code as wait(2) tells it, which is what a FAILURE event holds.
func waitStatus(code int32) int32 {
	const bySignal = 128
	if code > bySignal {
		return code - bySignal
	}
	return code << 8
}

func newUUID() []byte {
	id := uuid.New()
	return id[:]
}

// killMargin is what of the time that an executor has to end is left to the signal.
const killMargin = time.Second

// Finish waits until the executor that a pod is, which was told to shut down, has hung up, or
// there is little time left. Other pods it does not wait for.
func (x *Executors) Finish(ctx context.Context, pod types.UID, deadline time.Time) {
	x.mu.Lock()
	var s *subscriber
	if e := x.all[pod]; e != nil {
		s = e.stream
	}
	x.mu.Unlock()
	if s == nil {
		return
	}
	timer := time.NewTimer(time.Until(deadline) - killMargin)
	defer timer.Stop()
	select {
	case <-s.left:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// tick ends executors that did not subscribe in time, and those of pods that the node has no
// more; the others get their heartbeats.
func (x *Executors) tick(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.all {
		switch limit := e.limit(); {
		case e.ended:
		case !e.silentSince.IsZero() && now.Sub(e.silentSince) >= limit:
			e.silentSince = time.Time{}
			reason, message := ReasonSilent, "Executor did not register within "+limit.String()
			if e.found {
				reason, message = ReasonAway, "Executor did not re-register within "+limit.String()
			}
			go x.cfg.End(e.pod, reason, message) // it comes back with what became of the pod
		case (e.found || now.Sub(e.since) > registerTimeout) && e.stream == nil && e.silentSince.IsZero() && !x.cfg.Has(e.pod):
			e.gone = true
			x.endLocked(e, endOf{mesosv1.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor terminated while its agent was away"}, 0)
		case e.stream != nil && now.Sub(e.stream.beaten) >= heartbeatEvery:
			e.stream.beaten = now
			e.send(&mesosexecutor.Event{Type: mesosexecutor.Event_HEARTBEAT.Enum()})
		}
	}
}

// limit returns how long the executor may run without having subscribed.
func (e *executor) limit() time.Duration {
	if e.found {
		return reregisterTimeout
	}
	return registerTimeout
}
