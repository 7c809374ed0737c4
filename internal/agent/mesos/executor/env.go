package executor

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
	"trireme/internal/runtime"
)

// What executors of frameworks that checkpoint are told of their agent's recovery (Mesos,
// RECOVERY_TIMEOUT, EXECUTOR_REREGISTRATION_TIMEOUT), and how long others have to end.
const (
	recoveryTimeout = "15mins"
	backoffMax      = "2secs"
	graceDefault    = 5 * time.Second
)

// Env returns the environment of the executor that the pod is (Mesos, docs
// "Executor HTTP API", slave/slave.cpp), beside its sandbox; nil: it is none. endpoint is
// ADDRESS:PORT of this agent. kind.Unavailable: what it is to be is not known yet.
func (x *Executors) Env(pod *corev1.Pod, endpoint string) ([]runtime.KeyValue, error) {
	text := pod.Annotations[mesos.ExecutorAnnotation]
	if text == "" || pod.Annotations[mesos.TaskAnnotation] != "" {
		return nil, nil
	}
	info := &mesosv1.ExecutorInfo{}
	if err := codec.ParseJSON([]byte(text), info); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", mesos.ExecutorAnnotation, err)
	}
	grace := graceDefault
	if g := info.GetShutdownGracePeriod(); g != nil {
		grace = time.Duration(g.GetNanoseconds())
	}
	checkpoint, known := x.checkpoints(pod)
	if !known {
		return nil, kind.New(kind.Unavailable, "the executor's first task is not here yet")
	}
	out := []runtime.KeyValue{
		{Key: "MESOS_FRAMEWORK_ID", Value: pod.Annotations[mesos.FrameworkAnnotation]}, {Key: "MESOS_EXECUTOR_ID", Value: info.GetExecutorId().GetValue()},
		{Key: "MESOS_SLAVE_PID", Value: "slave(1)@" + endpoint}, {Key: "MESOS_AGENT_ENDPOINT", Value: endpoint},
		{Key: "MESOS_CHECKPOINT", Value: map[bool]string{true: "1", false: "0"}[checkpoint]}, {Key: "MESOS_HTTP_COMMAND_EXECUTOR", Value: "0"},
		{Key: "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", Value: duration(grace)}, {Key: "LIBPROCESS_PORT", Value: "0"},
	}
	if checkpoint {
		out = append(out, runtime.KeyValue{Key: "MESOS_RECOVERY_TIMEOUT", Value: recoveryTimeout}, runtime.KeyValue{Key: "MESOS_SUBSCRIPTION_BACKOFF_MAX", Value: backoffMax})
	}
	return out, nil
}

// checkpoints reports whether the framework of the executor wants it to outlive its agent;
// known: that was told.
func (x *Executors) checkpoints(pod *corev1.Pod) (checkpoint, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.all[pod.UID]
	if e == nil || e.launchedFor == nil {
		return false, false
	}
	return e.launchedFor.GetCheckpoint(), true
}

// duration writes d as Mesos does: a number and the largest unit in which it is whole.
func duration(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{7 * 24 * time.Hour, "weeks"}, {24 * time.Hour, "days"}, {time.Hour, "hrs"}, {time.Minute, "mins"}, {time.Second, "secs"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d != 0 && d%u.of == 0 {
			return strconv.FormatInt(int64(d/u.of), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}
