package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/sim"
	"trireme/test/cluster"
	"trireme/test/storm"
)

// callsAtOnce is how many calls a framework of these benchmarks has on their way.
const callsAtOnce = 32

// launcher is a framework that fills offers with small tasks on hollow nodes.
type launcher struct {
	fw      *storm.Framework
	ledger  *storm.Ledger
	want    int
	perNode int           // at most, of one offer
	runFor  time.Duration // of a task; 0: for ever

	launched int
	began    time.Time
}

func newLauncher(ctx context.Context, h *cluster.Host, want, perNode int, runFor time.Duration) *launcher {
	info := &mesosv1.FrameworkInfo{
		User: proto.String("root"), Name: proto.String("storm"), FailoverTimeout: proto.Float64(600), Roles: []string{"*"},
		Capabilities: []*mesosv1.FrameworkInfo_Capability{
			{Type: mesosv1.FrameworkInfo_Capability_MULTI_ROLE.Enum()}, {Type: mesosv1.FrameworkInfo_Capability_PARTITION_AWARE.Enum()},
		},
	}
	dial := func() (net.Conn, error) {
		conn, err := h.Dial(ctx, "tcp", h.Address+":5050")
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // who waits for it is to end too
		}
		return conn, err
	}
	return &launcher{
		fw: &storm.Framework{Dial: dial, Info: info, Calls: callsAtOnce}, ledger: storm.NewLedger(), want: want, perNode: perNode, runFor: runFor,
	}
}

// next handles an event: offers are filled, updates acknowledged, beside what is on its way.
func (l *launcher) next() error {
	e, err := l.fw.Next()
	if err != nil {
		return err
	}
	for _, o := range e.GetOffers().GetOffers() {
		if err := l.fill(o); err != nil {
			return err
		}
	}
	if e.GetType() != scheduler.Event_UPDATE {
		return nil
	}
	s := e.GetUpdate().GetStatus()
	switch s.GetState() {
	case mesosv1.TaskState_TASK_STARTING, mesosv1.TaskState_TASK_RUNNING, mesosv1.TaskState_TASK_FINISHED:
	default:
		return fmt.Errorf("task %s: %v: %s", s.GetTaskId().GetValue(), s.GetState(), s.GetMessage())
	}
	return l.ledger.Acknowledge(l.fw, s)
}

// fill answers an offer: what is left of it is refused for a while where tasks run for ever.
func (l *launcher) fill(o *mesosv1.Offer) error {
	refuse := 0.0
	if l.runFor == 0 || l.launched >= l.want {
		refuse = 600
	}
	filters := &mesosv1.Filters{RefuseSeconds: &refuse}
	var tasks []*mesosv1.TaskInfo
	for range min(l.perNode, l.want-l.launched) {
		if l.launched == 0 {
			l.began = time.Now()
		}
		tasks = append(tasks, l.task("storm-"+strconv.Itoa(l.launched), o))
		l.launched++
	}
	c := &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{
		OfferIds: []*mesosv1.OfferID{o.Id}, Filters: filters,
		Operations: []*mesosv1.Offer_Operation{{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{TaskInfos: tasks}}},
	}}
	if len(tasks) == 0 {
		c = &scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{OfferIds: []*mesosv1.OfferID{o.Id}, Filters: filters}}
	}
	return l.fw.Go(c, func() {})
}

func (l *launcher) task(id string, o *mesosv1.Offer) *mesosv1.TaskInfo {
	scalar := func(name string, v float64) *mesosv1.Resource {
		return &mesosv1.Resource{
			Name: &name, Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: &v},
			AllocationInfo: &mesosv1.Resource_AllocationInfo{Role: proto.String("*")},
		}
	}
	t := &mesosv1.TaskInfo{
		Name: &id, TaskId: &mesosv1.TaskID{Value: &id}, AgentId: o.AgentId, Command: &mesosv1.CommandInfo{Value: proto.String("sleep 1000")},
		Resources: []*mesosv1.Resource{scalar("cpus", 0.1), scalar("mem", 32)},
	}
	if l.runFor > 0 {
		t.Command.Environment = &mesosv1.Environment{Variables: []*mesosv1.Environment_Variable{{Name: proto.String(sim.RunForEnv), Value: proto.String(l.runFor.String())}}}
	}
	return t
}

// end removes the framework with its tasks.
func (l *launcher) end() error {
	err := l.fw.Call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
	return errors.Join(err, l.fw.Leave(), l.fw.Close())
}

// spent is what two processes have taken of CPU, in seconds: the manager and this one.
func spent(h *cluster.Host) (manager, client float64, err error) {
	if manager, err = cpuSeconds(h.Pid()); err == nil {
		client, err = cpuSeconds(os.Getpid())
	}
	return manager, client, err
}

// offerTasks measures tasks through one framework, on hollow nodes: from the first ACCEPT
// until it has been told of the last that it runs, and every update is acknowledged.
func offerTasks(ctx context.Context, c *config) ([]line, error) {
	var out line
	err := host(ctx, c, openMesos, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		_, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		profiled := c.profileFor(ctx, h, "offer_tasks", "profile?seconds=8")
		l := newLauncher(ctx, h, c.pods, (c.pods+c.nodes-1)/c.nodes, 0)
		manager, client, err := spent(h)
		if err == nil {
			err = l.fw.Subscribe()
		}
		for err == nil && l.ledger.Came() < 2*c.pods {
			err = l.next()
		}
		if err = errors.Join(err, l.fw.Wait()); err != nil {
			return err
		}
		took := time.Since(l.began).Seconds()
		managerNow, clientNow, err := spent(h)
		if err = errors.Join(err, l.end(), profiled(), c.profile(ctx, h, "offer_tasks_allocs", "allocs")); err != nil {
			return err
		}
		out = line{"offer_tasks_per_s", float64(c.pods) / took, "tasks/s", map[string]any{
			"nodes": c.nodes, "tasks": c.pods, "seconds": took, "updates": l.ledger.Acked(), "manager_cpu_s": managerNow - manager, "client_cpu_s": clientNow - client,
		}}
		return nil
	})
	return []line{out}, err
}

// updatesEach is how many updates a task has that runs and finishes: STARTING, RUNNING, FINISHED.
const updatesEach = 3

// manyUpdates measures how long it takes until a framework, that hangs up and comes back nine
// times in the midst of it, has acknowledged a million updates of short tasks, and counts what
// was lost, and what came though it was acknowledged.
func manyUpdates(ctx context.Context, c *config) ([]line, error) {
	var out line
	err := host(ctx, c, openMesos, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		_, stop, err := hollowNodes(ctx, c, h, c.nodes)
		if err != nil {
			return err
		}
		defer stop()
		const restarts = 9
		l := newLauncher(ctx, h, (c.updates+updatesEach-1)/updatesEach, 10, 100*time.Millisecond)
		all := l.want * updatesEach
		manager, client, err := spent(h)
		if err == nil {
			err = l.fw.Subscribe()
		}
		for next := all / (restarts + 1); err == nil && l.ledger.Came() < all; {
			if err = l.next(); err == nil && l.ledger.Acked() >= next {
				next += all / (restarts + 1)
				err = errors.Join(l.fw.Leave(), l.fw.Subscribe())
			}
		}
		if err = errors.Join(err, l.fw.Wait()); err != nil {
			return fmt.Errorf("after %d updates of %d tasks: %w", l.ledger.Acked(), l.launched, err)
		}
		took := time.Since(l.began).Seconds()
		managerNow, clientNow, err := spent(h)
		if err != nil {
			return err
		}
		mem, err := memory(h.Pid())
		if err = errors.Join(err, l.end()); err != nil {
			return err
		}
		out = line{"mesos_updates_1m_s", took, "s", map[string]any{
			"nodes": c.nodes, "tasks": l.want, "acknowledged": l.ledger.Acked(), "lost": l.ledger.Lost(l.want, updatesEach), "doubled": l.ledger.Twice,
			"again_on_a_new_stream": l.ledger.Again, "out_of_order": len(l.ledger.Wrong), "restarts": restarts,
			"manager_cpu_s": managerNow - manager, "client_cpu_s": clientNow - client, "peak_rss_mb": mem["VmHWM"],
		}}
		return nil
	})
	return []line{out}, err
}
