package storm

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/sim"
)

// callsAtOnce is how many calls a Launcher has on their way.
const callsAtOnce = 32

// Launcher is a framework that fills offers with small tasks on hollow nodes.
type Launcher struct {
	*Framework
	Ledger *Ledger

	want    int
	perNode int           // at most, of one offer
	runFor  time.Duration // of a task; 0: for ever

	Launched int
	Began    time.Time // of the first ACCEPT
}

// NewLauncher returns a framework that is to launch so many tasks, each of which runs so long.
func NewLauncher(dial func() (net.Conn, error), want, perNode int, runFor time.Duration) *Launcher {
	info := &mesosv1.FrameworkInfo{
		User: proto.String("root"), Name: proto.String("storm"), FailoverTimeout: proto.Float64(600), Roles: []string{"*"},
		Capabilities: []*mesosv1.FrameworkInfo_Capability{
			{Type: mesosv1.FrameworkInfo_Capability_MULTI_ROLE.Enum()}, {Type: mesosv1.FrameworkInfo_Capability_PARTITION_AWARE.Enum()},
		},
	}
	return &Launcher{
		Framework: &Framework{Dial: dial, Info: info, Calls: callsAtOnce}, Ledger: NewLedger(), want: want, perNode: perNode, runFor: runFor,
	}
}

// Step handles an event: offers are filled, updates acknowledged, beside what is on its way.
func (l *Launcher) Step() error {
	e, err := l.Next()
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
	return l.Ledger.Acknowledge(l.Framework, s)
}

// fill answers an offer: what is left of it is refused for a while where tasks run for ever.
func (l *Launcher) fill(o *mesosv1.Offer) error {
	refuse := 0.0
	if l.runFor == 0 || l.Launched >= l.want {
		refuse = 600
	}
	filters := &mesosv1.Filters{RefuseSeconds: &refuse}
	var tasks []*mesosv1.TaskInfo
	for range min(l.perNode, l.want-l.Launched, fits(o)) {
		if l.Launched == 0 {
			l.Began = time.Now()
		}
		tasks = append(tasks, l.task("storm-"+strconv.Itoa(l.Launched), o))
		l.Launched++
	}
	c := &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{
		OfferIds: []*mesosv1.OfferID{o.Id}, Filters: filters,
		Operations: []*mesosv1.Offer_Operation{{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{TaskInfos: tasks}}},
	}}
	if len(tasks) == 0 {
		c = &scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{OfferIds: []*mesosv1.OfferID{o.Id}, Filters: filters}}
	}
	return l.Go(c, func() {})
}

// What a task asks for.
const (
	taskCPUs = 0.1
	taskMem  = 32
)

// fits returns how many tasks fit in an offer.
func fits(o *mesosv1.Offer) int {
	has := map[string]float64{}
	for _, r := range o.GetResources() {
		has[r.GetName()] += r.GetScalar().GetValue()
	}
	return int(min((has["cpus"]+1e-6)/taskCPUs, (has["mem"]+1e-6)/taskMem))
}

func (l *Launcher) task(id string, o *mesosv1.Offer) *mesosv1.TaskInfo {
	scalar := func(name string, v float64) *mesosv1.Resource {
		return &mesosv1.Resource{
			Name: &name, Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: &v},
			AllocationInfo: &mesosv1.Resource_AllocationInfo{Role: proto.String("*")},
		}
	}
	t := &mesosv1.TaskInfo{
		Name: &id, TaskId: &mesosv1.TaskID{Value: &id}, AgentId: o.AgentId, Command: &mesosv1.CommandInfo{Value: proto.String("sleep 1000")},
		Resources: []*mesosv1.Resource{scalar("cpus", taskCPUs), scalar("mem", taskMem)},
	}
	if l.runFor > 0 {
		t.Command.Environment = &mesosv1.Environment{Variables: []*mesosv1.Environment_Variable{{Name: proto.String(sim.RunForEnv), Value: proto.String(l.runFor.String())}}}
	}
	return t
}

// End removes the framework with its tasks.
func (l *Launcher) End() error {
	err := l.Call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
	return errors.Join(err, l.Leave(), l.Close())
}
