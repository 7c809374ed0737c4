package agent

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/machine"
	mesosapi "trireme/internal/agent/mesos"
	"trireme/internal/agent/mesos/executor"
	"trireme/internal/kind"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// openExecutors makes who serves executors that frameworks bring themselves.
func (a *Agent) openExecutors() (err error) {
	a.executors, err = executor.New(executor.Config{
		Dir: a.path("agent", "mesos"), Session: func() executor.Session { return a.session }, Agent: a.mesosAgent, NodeIPs: a.cfg.NodeIPs,
		Has: func(uid types.UID) bool { return a.worker(uid) != nil || a.objects.Pod(uid) }, End: a.failPod, Log: a.cfg.Log,
	})
	return err
}

// mesosPort returns the port of Mesos' API on this node.
func (a *Agent) mesosPort() uint16 {
	if a.cfg.Mesos == nil {
		return mesos.AgentPort
	}
	at, err := netip.ParseAddrPort(a.cfg.Mesos.Addr().String())
	if err != nil {
		return mesos.AgentPort
	}
	return at.Port()
}

func (a *Agent) mesosEndpoint() string {
	return netip.AddrPortFrom(a.cfg.NodeIPs[0], a.mesosPort()).String()
}

// mesosAgent returns what Mesos' clients are told of this node.
func (a *Agent) mesosAgent(id string) *mesosv1.AgentInfo {
	return &mesosv1.AgentInfo{Hostname: &a.cfg.Node, Port: proto.Int32(int32(a.mesosPort())), Id: &mesosv1.AgentID{Value: &id}}
}

// mesosServer returns what serves Mesos' API on this node.
func (a *Agent) mesosServer() *mesosapi.Server {
	usage := func(*corev1.Pod) (uint64, uint64) { return 0, 0 }
	if tree, ok := a.cgroups.(*cgroup.Tree); ok {
		usage = tree.Usage
	}
	port := strconv.Itoa(int(a.mesosPort()))
	return mesosapi.New(mesosapi.Config{
		Node: a.cfg.Node, Release: a.cfg.Release, Flags: map[string]string{
			"port": port, "work_dir": a.path("mesos"), "hostname": a.cfg.Node, "pid": "slave(1)@" + a.mesosEndpoint(), "executor_registration_timeout": "1mins", "gc_delay": "1weeks",
		},
		Agent: func() *mesosv1.AgentInfo { return a.mesosAgent(a.mesosID()) }, Pods: a, Runtime: a.cfg.Runtime,
		Stop: func(ctx context.Context, id string, grace time.Duration) error {
			return a.cfg.Runtime.StopContainer(ctx, id, grace)
		},
		Usage: usage, Allowed: a.mesosAllowed, Sandboxes: a.sandboxes, Executors: a.executors, Tasks: a.executors.Tasks, Log: a.cfg.Log,
	})
}

// mesosID returns the id that Mesos' agent of this node has, as a manager told it last.
func (a *Agent) mesosID() string {
	if id := a.mesosKnown.Load(); id != nil {
		return *id
	}
	return ""
}

// mesosAllowed asks a manager whether somebody may do something to pods.
func (a *Agent) mesosAllowed(ctx context.Context, authorization string, r mesosapi.Right) (bool, error) {
	resp, err := a.session.Allow(ctx, &wire.AllowRequest{Authorization: authorization, Verb: r.Verb, Subresource: r.Subresource, Namespace: r.Namespace})
	switch {
	case err != nil:
		return false, kind.New(kind.Unavailable, "no manager says who may ask: %w", err)
	case !resp.Known:
		return false, kind.New(kind.Unauthenticated, "%s", resp.Why)
	}
	a.mesosKnown.Store(&resp.Agent)
	return resp.Allowed, nil
}

// failPod ends a pod that has failed for a reason of its node's.
func (a *Agent) failPod(uid types.UID, reason, message string) {
	w := a.worker(uid)
	if w == nil {
		return
	}
	w.tell(a.runContext(), func() {
		if w.o.Failure == nil && !w.o.Ended {
			w.o.Failure = &machine.Failure{Reason: reason, Message: message}
			w.event(corev1.EventTypeWarning, reason, message, "")
		}
	})
}

// orders hands the tasks of custom executors on. That a whole set does not have one says
// nothing: a manager that was elected just now knows them by what their agents report.
func (a *Agent) orders(items []wire.Item) {
	for _, i := range items {
		if i.Table != mesos.OrdersTable {
			continue
		}
		if o, ok := i.Object.(*mesos.Order); ok && !i.Deleted {
			a.executors.Order(o)
		} else if i.Deleted {
			a.executors.Cancel(i.Key)
		}
	}
}

// executorEnv adds the environment of a custom executor, which its command's own wins over.
func (j *startJob) executorEnv(cfg *runtime.ContainerConfig) error {
	env, err := j.w.a.executors.Env(j.pod, j.w.a.mesosEndpoint())
	for _, one := range env {
		if !slices.ContainsFunc(cfg.Env, func(have runtime.KeyValue) bool { return have.Key == one.Key }) {
			cfg.Env = append(cfg.Env, one)
		}
	}
	return err
}
