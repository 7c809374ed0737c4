package mesos

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/object/sandbox"
	"trireme/internal/object/validate"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// launch makes a task's Pod, or gives it to its executor that is there already.
func (a *accept) launch(t *mesosv1.TaskInfo) error {
	asks, err := a.check(t)
	if err == nil && (t.GetCommand() == nil) == (t.GetExecutor() == nil) {
		err = fmt.Errorf("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
	}
	if err != nil {
		a.fail(t, invalid(err))
		return nil
	}
	l := &mesos.Launch{Framework: a.f, Role: a.role, Agent: a.agent.Status.ID, Executor: a.filled(t.GetExecutor()), Tasks: []*mesosv1.TaskInfo{t}}
	if l.Executor != nil {
		return a.launchCustom(l, asks)
	}
	if err := a.fits(asks, "Task"); err != nil {
		a.fail(t, invalid(err))
		return nil
	}
	if why := a.sow(l); why != nil {
		a.fail(t, *why)
		return nil
	}
	a.left = a.left.Minus(asks)
	return nil
}

func invalid(err error) refusal { return refusal{err.Error(), mesosv1.TaskStatus_REASON_TASK_INVALID} }

// check returns what the task asks for, and what is wrong with it (Mesos, master/validation.cpp).
func (a *accept) check(t *mesosv1.TaskInfo) (resource.List, error) {
	id := t.GetTaskId().GetValue()
	if err := sandbox.CheckID("task_id", id); err != nil {
		return nil, err
	}
	if old, ok := tables.MesosTasks.Get(a.tx, object.Key{Namespace: a.f.Spec.ID, Name: id}); ok && old.Completed == nil {
		return nil, fmt.Errorf("Task has duplicate ID: %s", id)
	}
	if got := t.GetAgentId().GetValue(); got != a.agent.Status.ID {
		return nil, fmt.Errorf("Task uses invalid agent %s while agent %s is expected", got, a.agent.Status.ID)
	}
	return a.read("Task", t.GetResources())
}

// read returns the resources of a task or an executor.
func (a *accept) read(whose string, messages []*mesosv1.Resource) (resource.List, error) {
	list, err := resource.From("resources", messages)
	if err != nil {
		return nil, fmt.Errorf("%s uses invalid resources: %w", whose, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s uses no resources", whose)
	}
	revocable := map[string]bool{}
	for i := range list {
		r := &list[i]
		if r.Allocated != "" && r.Allocated != a.role {
			return nil, fmt.Errorf("%s uses invalid resources: %s is allocated to role %s, the offer to %s", whose, r.Name, r.Allocated, a.role)
		}
		if was, ok := revocable[r.Name]; ok && was != r.Revocable {
			return nil, fmt.Errorf("%s uses invalid resources: %s is revocable in part", whose, r.Name)
		}
		revocable[r.Name] = r.Revocable
	}
	return list.AllocatedTo(""), nil
}

// fits says no where the offers have not as much.
func (a *accept) fits(asks resource.List, whose string) error {
	if !a.left.Contains(asks) {
		return fmt.Errorf("%s uses more resources %s than available %s", whose, asks, a.left)
	}
	return nil
}

// filled returns the executor with what Mesos fills in; nil of nil.
func (a *accept) filled(e *mesosv1.ExecutorInfo) *mesosv1.ExecutorInfo {
	if e == nil || e.FrameworkId != nil && e.Type != nil {
		return e
	}
	e = proto.Clone(e).(*mesosv1.ExecutorInfo)
	if e.FrameworkId == nil {
		e.FrameworkId = &mesosv1.FrameworkID{Value: &a.f.Spec.ID}
	}
	if e.Type == nil {
		e.Type = mesosv1.ExecutorInfo_CUSTOM.Enum()
	}
	return e
}

// checkExecutor says what is wrong with an executor, and returns a task that it runs already;
// nil: it is to be started.
func (a *accept) checkExecutor(e *mesosv1.ExecutorInfo) (*mesos.Task, error) {
	id := e.GetExecutorId().GetValue()
	if err := sandbox.CheckID("executor.executor_id", id); err != nil {
		return nil, err
	}
	if e.GetFrameworkId().GetValue() != a.f.Spec.ID {
		return nil, fmt.Errorf("ExecutorInfo has an invalid FrameworkID (Actual: %s vs Expected: %s)", e.GetFrameworkId().GetValue(), a.f.Spec.ID)
	}
	for row := range tables.MesosTasks.By(a.tx, tables.MesosByExecutor, tables.MesosExecutor(a.f.Spec.ID, id, a.node)) {
		t := row.Object()
		if !proto.Equal(t.Executor, e) {
			return nil, fmt.Errorf("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID %q", id)
		}
		if pod, ok := tables.Pods.Row(a.tx, t.Pod); ok && pod.Head().UID == t.PodUID && !pod.Head().Deleting && !pod.Head().Ended() {
			return t, nil
		}
	}
	pod, err := a.idle(e)
	if pod == nil || err != nil {
		return nil, err
	}
	return &mesos.Task{Executor: e, Custom: true, Node: a.node, Pod: object.KeyOf(pod), PodUID: pod.UID}, nil
}

// launchCustom gives the task to an executor of the framework's own.
func (a *accept) launchCustom(l *mesos.Launch, asks resource.List) error {
	t, e := l.Tasks[0], l.Executor
	if !l.Custom() {
		a.fail(t, invalid(fmt.Errorf("'ExecutorInfo.type' must be CUSTOM, not %s: DEFAULT runs task groups", e.GetType())))
		return nil
	}
	running, err := a.checkExecutor(e)
	if err == nil && running == nil && len(e.GetResources()) > 0 {
		var own resource.List
		if own, err = a.read("Executor", e.GetResources()); err == nil {
			asks = asks.Plus(own)
		}
	}
	if err == nil {
		err = a.fits(asks, "Task")
	}
	if err != nil {
		a.fail(t, invalid(err))
		return nil
	}
	why := a.place(l, running)
	if why != nil {
		a.fail(t, *why)
		return nil
	}
	a.left = a.left.Minus(asks)
	return nil
}

// place gives the tasks to their executor, where it is the framework's own and runs, or sows
// the Pod of the launch.
func (a *accept) place(l *mesos.Launch, running *mesos.Task) (why *refusal) {
	if !l.Custom() || running == nil {
		return a.sow(l)
	}
	return a.join(l, running)
}

// join gives the tasks to an executor that runs: its Pod grows by what they ask for.
func (a *accept) join(l *mesos.Launch, running *mesos.Task) (why *refusal) {
	bad, _ := reasons(l)
	pod, ok := tables.Pods.Get(a.tx, running.Pod)
	if !ok {
		return &refusal{fmt.Sprintf("executor %s of framework %s has no pod", l.ExecutorID(), a.f.Spec.ID), bad}
	}
	var all resource.List
	for _, t := range l.Tasks {
		list, err := resource.From("resources", t.GetResources())
		if err != nil {
			return &refusal{err.Error(), bad}
		}
		all = all.Plus(list)
	}
	grown, err := mesos.Resized(pod, all, 1)
	if err != nil {
		return &refusal{err.Error(), bad}
	}
	tables.Pods.Put(a.tx, grown)
	for _, t := range l.Tasks {
		tables.MesosTasks.Put(a.tx, taskOf(l, t, grown))
	}
	return nil
}

// launchGroup makes the Pod of a group, or gives it to an executor of the framework's own: all
// of its tasks or none.
func (a *accept) launchGroup(op *mesosv1.Offer_Operation) error {
	g := op.GetLaunchGroup()
	tasks := g.GetTaskGroup().GetTasks()
	l := &mesos.Launch{Framework: a.f, Role: a.role, Agent: a.agent.Status.ID, Executor: g.GetExecutor(), Tasks: tasks, Group: true}
	asks, running, why := a.checkGroup(op, l)
	if why == nil {
		why = a.place(l, running)
	}
	if why != nil {
		for _, t := range tasks {
			a.fail(t, *why)
		}
		return nil
	}
	a.left = a.left.Minus(asks)
	return nil
}

func (a *accept) checkGroup(op *mesosv1.Offer_Operation, l *mesos.Launch) (asks resource.List, running *mesos.Task, why *refusal) {
	refuse := func(err error) (resource.List, *mesos.Task, *refusal) {
		return nil, nil, &refusal{err.Error(), mesosv1.TaskStatus_REASON_TASK_GROUP_INVALID}
	}
	e := l.Executor
	switch {
	case op.Id != nil:
		return refuse(fmt.Errorf("Operation.id: must not be set for LAUNCH_GROUP"))
	case len(l.Tasks) == 0:
		return refuse(fmt.Errorf("Task group cannot be empty"))
	case e.Type == nil || e.GetType() == mesosv1.ExecutorInfo_UNKNOWN:
		return refuse(fmt.Errorf("'ExecutorInfo.type' must be set: DEFAULT or CUSTOM"))
	case e.GetType() == mesosv1.ExecutorInfo_DEFAULT && e.GetCommand() != nil:
		return refuse(fmt.Errorf("'ExecutorInfo.command' must not be set for 'DEFAULT' executor"))
	case e.GetType() == mesosv1.ExecutorInfo_CUSTOM && e.GetCommand() == nil:
		return refuse(fmt.Errorf("'ExecutorInfo.command' must be set for 'CUSTOM' executor"))
	}
	l.Executor = a.filled(e)
	running, err := a.checkExecutor(l.Executor)
	if err != nil {
		return refuse(err)
	}
	if l.Joins = running != nil; !l.Joins {
		if asks, err = a.read("Executor", e.GetResources()); err != nil {
			return refuse(err)
		}
	}
	seen := map[string]bool{}
	for _, t := range l.Tasks {
		id := t.GetTaskId().GetValue()
		one, err := a.check(t)
		switch {
		case err != nil:
		case seen[id]:
			err = fmt.Errorf("Task has duplicate ID: %s", id)
		case t.GetExecutor() != nil && !proto.Equal(a.filled(t.GetExecutor()), l.Executor):
			err = fmt.Errorf("Task %s has another executor than its group", id)
		case t.Container != nil && t.GetContainer().GetType() == mesosv1.ContainerInfo_DOCKER:
			err = fmt.Errorf("Docker ContainerInfo is not supported on the task %s of a group: use type MESOS", id)
		case len(t.GetContainer().GetNetworkInfos()) > 0:
			err = fmt.Errorf("NetworkInfos must not be set on the task %s of a group: set them on the executor", id)
		}
		if err != nil {
			return refuse(err)
		}
		seen[id] = true
		asks = asks.Plus(one)
	}
	if err := a.fits(asks, "Task group"); err != nil {
		return refuse(err)
	}
	return asks, running, nil
}

// reasons are why the tasks of a launch are errors: for what they are, or because of whose they are.
func reasons(l *mesos.Launch) (bad, denied mesosv1.TaskStatus_Reason) {
	if l.Group {
		return mesosv1.TaskStatus_REASON_TASK_GROUP_INVALID, mesosv1.TaskStatus_REASON_TASK_GROUP_UNAUTHORIZED
	}
	return mesosv1.TaskStatus_REASON_TASK_INVALID, mesosv1.TaskStatus_REASON_TASK_UNAUTHORIZED
}

// sow makes the Pod of a launch and the rows of its tasks; why says what speaks against it.
func (a *accept) sow(l *mesos.Launch) (why *refusal) {
	bad, denied := reasons(l)
	if reap.Terminating(a.tx, mesos.Namespace(a.role)) {
		return &refusal{"Role " + a.role + ": its namespace " + mesos.Namespace(a.role) + " is going away, or is not there", denied}
	}
	alike := l.Alike()
	pod, err := a.like(l, alike)
	if err != nil {
		return &refusal{err.Error(), bad}
	}
	made := pod == nil
	if made {
		if pod, err = l.Pod(); err != nil {
			return &refusal{err.Error(), bad}
		}
	}
	pod.UID = a.tx.NewID()
	sow.Pin(&pod.Spec, a.node)
	if made {
		if err := a.rules.Ready(a.tx, pod); err != nil {
			return &refusal{err.Error(), reasonOf(err, bad, denied)}
		}
	}
	for pod.Name = a.tx.NewName(mesos.PodName(l.ExecutorID())); taken(a.tx, pod); {
		pod.Name = a.tx.NewName(mesos.PodName(l.ExecutorID()))
	}
	if made {
		if errs := validate.Object(pod); len(errs) > 0 {
			return &refusal{errs.ToAggregate().Error(), bad}
		}
		a.remember(pod, alike)
	}
	if err := a.rules.Put(a.tx, pod); err != nil {
		return &refusal{err.Error(), reasonOf(err, bad, denied)}
	}
	for _, t := range l.Tasks {
		tables.MesosTasks.Put(a.tx, taskOf(l, t, pod))
	}
	return nil
}

// like returns a Pod for the launch that was made from one of this step's, complete and valid as
// that is; nil: there is none.
func (a *accept) like(l *mesos.Launch, alike string) (*corev1.Pod, error) {
	if of := a.pods[alike]; of != nil {
		return l.Like(of)
	}
	return nil, nil
}

// remember keeps a Pod that is complete and valid for launches that are alike. Not for longer than
// the step: what completes Pods may say something else then.
func (a *accept) remember(pod *corev1.Pod, alike string) {
	if alike == "" {
		return
	}
	of := *pod
	of.Name, of.UID = "", ""
	a.pods[alike] = &of
}

func reasonOf(err error, bad, denied mesosv1.TaskStatus_Reason) mesosv1.TaskStatus_Reason {
	if k := kind.Of(err); k == kind.Denied || k == kind.Exhausted {
		return denied
	}
	return bad
}

func taken(tx *store.Tx, pod *corev1.Pod) bool {
	key := object.KeyOf(pod)
	_, ok := tables.Pods.Row(tx, key)
	return ok || tables.Pods.Removed(tx, key)
}
