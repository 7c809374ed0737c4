package mesos

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/loop"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// refuseMin is the least time that a filter holds: one interval of allocation.
const refuseMin = time.Second

// Accepts is the loop mesos/accept.
type Accepts struct {
	rules sow.Rules
	known registry
}

// NewAccepts returns the loop.
func NewAccepts(rules sow.Rules) *Accepts { return &Accepts{rules: rules} }

// The methods of loop.Reconciler.

func (l *Accepts) Name() string { return "mesos/accept" }

func (l *Accepts) Reads() []store.TableID {
	return []store.TableID{tables.MesosAccepts.ID(), tables.MesosOffers.ID(), tables.MesosTasks.ID(), tables.Pods.ID(), tables.CustomObjects.ID(), tables.Namespaces.ID(), tables.Nodes.ID()}
}

func (l *Accepts) Writes() []store.TableID {
	return append(sow.Writes(), tables.MesosAccepts.ID(), tables.MesosOffers.ID(), tables.MesosTasks.ID(), tables.MesosNotices.ID(), tables.CustomObjects.ID())
}

func (l *Accepts) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.known = registry{}
	}
	start, pods := tx.Writes(), map[string]*corev1.Pod{}
	for a := range tables.MesosAccepts.All(tx) {
		if tx.Writes()-start >= loop.StepWritesMax {
			return tx.Now(), nil
		}
		tables.MesosAccepts.Delete(tx, object.KeyOf(a))
		f := l.known.framework(tx, a.Namespace)
		if f == nil || f.Status.Removed != nil {
			continue
		}
		if err := (&accept{tx: tx, rules: l.rules, known: &l.known, pods: pods, f: f, row: a}).run(); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, nil
}

// accept is one ACCEPT that is taken apart.
type accept struct {
	tx    *store.Tx
	rules sow.Rules
	known *registry
	pods  map[string]*corev1.Pod // of this step, complete and valid, by what launches have in common
	f     *mesos.Framework
	row   *mesos.Accept

	offers []*mesos.Offer // that are still valid
	role   string
	node   string
	agent  *mesos.Agent
	left   resource.List // of what was offered
	made   resource.List // of left, what operations made of it: it comes back with no filter
}

func (a *accept) run() error {
	why, err := a.open()
	if err != nil {
		return err
	}
	for _, o := range a.offers {
		tables.MesosOffers.Delete(a.tx, object.KeyOf(o))
	}
	if why != nil {
		for _, op := range a.row.Operations {
			if err := a.drop(op, why); err != nil {
				return err
			}
		}
		return nil
	}
	for _, op := range a.row.Operations {
		if err := a.operate(op); err != nil {
			return err
		}
	}
	a.filter()
	return nil
}

// refusal is why the operations of an ACCEPT are not done.
type refusal struct {
	message string
	reason  mesosv1.TaskStatus_Reason
}

// open finds the offers, and says why they are not good for anything.
func (a *accept) open() (*refusal, error) {
	fault := ""
	seen := map[string]bool{}
	for _, id := range a.row.Offers {
		o, ok := tables.MesosOffers.Get(a.tx, object.Key{Name: id})
		switch {
		case seen[id]:
			fault = "Duplicate offer " + id + " in offer list"
			continue
		case !ok || o.Refused || o.Inverse:
			fault = "Offer " + id + " is no longer valid"
			continue
		case o.Framework != a.f.Spec.ID:
			fault = "Offer " + id + " has invalid framework " + o.Framework + " while framework " + a.f.Spec.ID + " is expected"
			continue
		}
		seen[id] = true
		if len(a.offers) > 0 && o.Node != a.node {
			fault = "Aggregated offers must belong to one single agent. Offer " + id + " uses agent " + o.Agent
		} else if len(a.offers) > 0 && o.Role != a.role {
			fault = "Aggregated offers must be allocated to the same role. Offer " + id + " uses role " + o.Role
		}
		a.node, a.role = o.Node, o.Role
		a.offers = append(a.offers, o)
		list, err := resource.From("offer", o.Resources)
		if err != nil {
			return nil, fmt.Errorf("reading offer %s: %w", id, err)
		}
		a.left = a.left.Plus(list.AllocatedTo(""))
	}
	if len(a.row.Offers) == 0 {
		fault = "No offers specified"
	}
	if fault != "" {
		return &refusal{"Task launched with invalid offers: " + fault, mesosv1.TaskStatus_REASON_INVALID_OFFERS}, nil
	}
	agent := a.known.agent(a.tx, a.node)
	if agent == nil || agent.Spec.Gone || agent.Spec.Down || agent.Status.Unreachable != nil {
		return &refusal{"Agent removed", mesosv1.TaskStatus_REASON_AGENT_REMOVED}, nil
	}
	if node, ok := tables.Nodes.Get(a.tx, object.Key{Name: a.node}); !ok || object.NodeReadiness(&node.Status) != corev1.ConditionTrue {
		return &refusal{"Agent disconnected", mesosv1.TaskStatus_REASON_AGENT_DISCONNECTED}, nil
	}
	a.agent = agent
	return nil, nil
}

// filter has what nobody touched refused for as long as the framework said.
func (a *accept) filter() {
	if a.row.RefuseFor <= 0 {
		return
	}
	rest := a.left.Minus(a.made)
	if len(rest) == 0 {
		return
	}
	o := a.offers[0].Clone()
	o.Refused, o.Resources, o.Until = true, rest.AllocatedTo(a.role).Messages(true), a.tx.Now().Add(max(a.row.RefuseFor, refuseMin))
	tables.MesosOffers.Put(a.tx, o)
}

// operate does one operation.
func (a *accept) operate(op *mesosv1.Offer_Operation) error {
	switch op.GetType() {
	case mesosv1.Offer_Operation_LAUNCH:
		for _, t := range op.GetLaunch().GetTaskInfos() {
			if op.Id != nil {
				a.fail(t, refusal{"Operation.id: must not be set for LAUNCH", mesosv1.TaskStatus_REASON_TASK_INVALID})
				continue
			}
			if err := a.launch(t); err != nil {
				return err
			}
		}
		return nil
	case mesosv1.Offer_Operation_LAUNCH_GROUP:
		return a.launchGroup(op)
	}
	return a.move(op)
}

// drop answers an operation that is not done because of its offers.
func (a *accept) drop(op *mesosv1.Offer_Operation, why *refusal) error {
	tasks := op.GetLaunch().GetTaskInfos()
	if op.GetType() == mesosv1.Offer_Operation_LAUNCH_GROUP {
		tasks = op.GetLaunchGroup().GetTaskGroup().GetTasks()
	}
	for _, t := range tasks {
		a.answer(t, lost(a.f, mesosv1.TaskState_TASK_DROPPED), *why)
	}
	if len(tasks) > 0 {
		return nil
	}
	return a.told(op, mesosv1.OperationState_OPERATION_ERROR, "Operation attempted with invalid resources: "+why.message, nil)
}

// fail answers that a task is an error.
func (a *accept) fail(t *mesosv1.TaskInfo, why refusal) {
	a.answer(t, mesosv1.TaskState_TASK_ERROR, why)
}

func (a *accept) answer(info *mesosv1.TaskInfo, state mesosv1.TaskState, why refusal) {
	t := &mesos.Task{Agent: info.GetAgentId().GetValue(), Executor: info.GetExecutor()}
	t.Name = info.GetTaskId().GetValue()
	s := t.Status(state, why.message, a.tx.Now())
	s.Reason = why.reason.Enum()
	if info.GetExecutor() == nil {
		s.ExecutorId = nil
	}
	update(a.tx, a.f.Spec.ID, s)
}
