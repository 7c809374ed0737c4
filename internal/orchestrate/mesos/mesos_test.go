package mesos_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	ours "trireme/internal/object/mesos"
	"trireme/internal/orchestrate/mesos"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// cell is the loops over one node n (10.0.0.1), a framework fw-0000 and what they need.
type cell struct {
	*looptest.World
	t      *testing.T
	runner *loop.Runner
	offers int
}

func loops() []loop.Reconciler {
	return []loop.Reconciler{mesos.NewAgents(0), mesos.NewFrameworks(), mesos.NewAccepts(sow.Rules{}), mesos.NewTasks()}
}

func newCell(t *testing.T, capabilities ...mesosv1.FrameworkInfo_Capability_Type) *cell {
	c := &cell{World: looptest.New(t, append(tables.All(), tables.Samples()...)), t: t}
	c.runner = c.Runner(loops()...)
	c.Update(func(tx *store.Tx) {
		for _, name := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
			tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"}})
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		tables.Nodes.Put(tx, node)
		f := &ours.Framework{ObjectMeta: metav1.ObjectMeta{Name: "fw-0000"}}
		info := &mesosv1.FrameworkInfo{User: proto.String("root"), Name: proto.String("f"), Id: &mesosv1.FrameworkID{Value: proto.String("fw-0000")}}
		for _, one := range capabilities {
			info.Capabilities = append(info.Capabilities, &mesosv1.FrameworkInfo_Capability{Type: one.Enum()})
		}
		f.Spec = ours.FrameworkSpec{ID: "fw-0000", Info: ours.Message[*mesosv1.FrameworkInfo]{M: info}, User: "ann"}
		f.Status.Connected = true
		if err := tables.PutMesosFramework(tx, f); err != nil {
			t.Fatal(err)
		}
	})
	c.Settle(c.runner)
	return c
}

// lend makes an offer of resources in the text form of operators: cpus:2;mem:512.
func (c *cell) lend(framework, resources string) string {
	c.offers++
	o := &ours.Offer{Framework: framework, Role: "*", Node: "n", Agent: "u-S0"}
	o.Name = fmt.Sprintf("u-O%d", c.offers)
	o.Resources = resourcesOf(c.t, resources)
	c.Update(func(tx *store.Tx) { tables.MesosOffers.Put(tx, o) })
	return o.Name
}

func resourcesOf(t *testing.T, text string) (all []*mesosv1.Resource) {
	for _, one := range strings.Split(text, ";") {
		name, value, _ := strings.Cut(one, ":")
		form := `{"name":"` + name + `","type":"SCALAR","scalar":{"value":` + value + `}}`
		if strings.HasPrefix(value, "[") {
			from, to, _ := strings.Cut(strings.Trim(value, "[]"), "-")
			form = `{"name":"` + name + `","type":"RANGES","ranges":{"range":[{"begin":` + from + `,"end":` + to + `}]}}`
		}
		r := &mesosv1.Resource{}
		if err := codec.ParseJSON([]byte(form), r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func (c *cell) task(id, resources, rest string) *mesosv1.TaskInfo {
	c.t.Helper()
	info := &mesosv1.TaskInfo{}
	if err := codec.ParseJSON([]byte(`{"name":"`+id+`","agent_id":{"value":"u-S0"}`+rest+`}`), info); err != nil {
		c.t.Fatal(err)
	}
	info.TaskId = &mesosv1.TaskID{Value: &id}
	if resources != "" {
		info.Resources = resourcesOf(c.t, resources)
	}
	return info
}

const command = `,"command":{"value":"sleep 9"},"container":{"type":"DOCKER","docker":{"image":"busybox"}}`

// accept takes offers with operations, and returns what the framework is told at once.
func (c *cell) accept(wait time.Duration, offers []string, ops ...*mesosv1.Offer_Operation) []string {
	c.t.Helper()
	a := &ours.Accept{Offers: offers, Operations: ops, RefuseFor: wait}
	a.Namespace, a.Name = "fw-0000", "1"
	c.Update(func(tx *store.Tx) { tables.MesosAccepts.Put(tx, a) })
	c.Settle(c.runner)
	return c.told()
}

func launch(tasks ...*mesosv1.TaskInfo) *mesosv1.Offer_Operation {
	return &mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{TaskInfos: tasks}}
}

// told takes the notices away and returns them as text.
func (c *cell) told() (all []string) {
	c.Update(func(tx *store.Tx) {
		for n := range tables.MesosNotices.All(tx) {
			switch e := n.Event; {
			case e.Update != nil:
				s := e.GetUpdate().GetStatus()
				all = append(all, fmt.Sprintf("%s %v %v: %s", s.GetTaskId().GetValue(), s.GetState(), s.GetReason(), s.GetMessage()))
			case e.UpdateOperationStatus != nil:
				s := e.GetUpdateOperationStatus().GetStatus()
				all = append(all, fmt.Sprintf("%s %v: %s", s.GetOperationId().GetValue(), s.GetState(), s.GetMessage()))
			default:
				all = append(all, e.GetType().String())
			}
			tables.MesosNotices.Delete(tx, object.KeyOf(n))
		}
	})
	return all
}

func (c *cell) row(id string) *ours.Task {
	c.t.Helper()
	t, ok := tables.MesosTasks.Get(c.Store.Head(), object.Key{Namespace: "fw-0000", Name: id})
	if !ok {
		c.t.Fatalf("there is no task %s", id)
	}
	return t
}

// pod changes the Pod of a task, and has the loops look.
func (c *cell) pod(id string, change func(*corev1.Pod)) {
	c.t.Helper()
	at := c.row(id).Pod
	c.Update(func(tx *store.Tx) {
		p, ok := tables.Pods.Get(tx, at)
		if !ok {
			c.t.Fatalf("task %s has no pod", id)
		}
		p = p.DeepCopy()
		change(p)
		tables.Pods.Put(tx, p)
	})
	c.Settle(c.runner)
}

func bound(p *corev1.Pod) {
	p.Spec.NodeName = "n"
	now := metav1.NewTime(looptest.Start)
	p.Status.StartTime = &now
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}}
}

func running(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = nil
	for _, one := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: one.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(looptest.Start.Add(time.Second))}},
		})
	}
}

func ended(code int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodSucceeded
		if code != 0 {
			p.Status.Phase = corev1.PodFailed
		}
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, ContainerID: "x", StartedAt: metav1.NewTime(looptest.Start.Add(time.Second)), FinishedAt: metav1.NewTime(looptest.Start.Add(time.Minute)),
		}}
	}
}

// states returns the statuses of a task that wait for their acknowledgement.
func (c *cell) states(id string) string {
	var all []string
	for _, s := range c.row(id).Pending {
		text := strings.TrimPrefix(s.GetState().String(), "TASK_")
		if s.Healthy != nil {
			text += fmt.Sprintf("(healthy %v)", s.GetHealthy())
		}
		if m := s.GetMessage(); m != "" {
			text += ": " + m
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// acknowledge acknowledges all that waits.
func (c *cell) acknowledge(id string) {
	t := c.row(id).Clone()
	t.Pending = nil
	c.Update(func(tx *store.Tx) { tables.MesosTasks.Put(tx, t) })
	c.Settle(c.runner)
}

func (c *cell) want(what, got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestATaskLives(t *testing.T) {
	c := newCell(t)
	if got := c.accept(5*time.Second, []string{c.lend("fw-0000", "cpus:2;mem:512;ports:[31000-31005]")}, launch(c.task("t.1", "cpus:0.5;mem:64;ports:[31001-31001]", command))); got != nil {
		t.Fatalf("told %v", got)
	}
	task := c.row("t.1")
	pod, _ := tables.Pods.Get(c.Store.Head(), task.Pod)
	if pod.Namespace != "default" || !strings.HasPrefix(pod.Name, "t-1-") || !pod.Spec.HostNetwork || pod.Spec.Containers[0].Ports[0].HostPort != 31001 {
		t.Errorf("pod %s: %+v", object.KeyOf(pod), pod.Spec)
	}
	c.want("memory", pod.Spec.Containers[0].Resources.Limits.Memory().String(), "64Mi")
	refused, _ := tables.MesosOffers.Get(c.Store.Head(), object.Key{Name: "u-O1"})
	if !refused.Refused || !refused.Until.Equal(looptest.Start.Add(5*time.Second)) || len(refused.Resources) != 3 {
		t.Errorf("what is left: %+v", refused)
	}
	c.pod("t.1", bound)
	c.want("bound", c.states("t.1"), "STARTING")
	c.pod("t.1", running)
	c.pod("t.1", ended(0))
	c.want("ended", c.states("t.1"), "STARTING, RUNNING, FINISHED: Command exited with status 0")
	was := c.row("t.1").Pending
	c.AtRest("loops that were just made", loops())
	c.Update(func(tx *store.Tx) { tables.MesosTasks.Delete(tx, object.Key{Namespace: "fw-0000", Name: "t.1"}) })
	c.runner = c.Runner(loops()...) // a leader that takes over has no rows
	c.Settle(c.runner)
	for i, s := range c.row("t.1").Pending {
		if string(s.GetUuid()) != string(was[i].GetUuid()) || s.GetState() != was[i].GetState() {
			t.Errorf("a new leader tells %v, the old one %v", s, was[i])
		}
	}
	c.acknowledge("t.1")
	if task := c.row("t.1"); task.Completed == nil {
		t.Error("it is not completed")
	}
	if n := tables.Pods.Len(c.Store.Head()); n != 0 {
		t.Errorf("%d pods are left", n)
	}
	if got := c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task("t.1", "cpus:0.5;mem:64", command))); got != nil {
		t.Errorf("its id cannot be used again: %v", got)
	}
}

func TestATaskIsKilled(t *testing.T) {
	c := newCell(t, mesosv1.FrameworkInfo_Capability_TASK_KILLING_STATE)
	c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task("t", "cpus:0.5;mem:64", command)))
	c.pod("t", bound)
	c.pod("t", running)
	c.acknowledge("t")
	task := c.row("t").Clone()
	grace := 7 * time.Second
	task.Kill = &ours.Kill{Grace: &grace, By: mesosv1.TaskStatus_SOURCE_EXECUTOR}
	c.Update(func(tx *store.Tx) { tables.MesosTasks.Put(tx, task) })
	c.Settle(c.runner)
	pod, _ := tables.Pods.Get(c.Store.Head(), task.Pod)
	if pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 7 {
		t.Errorf("the pod gets %v", pod.DeletionGracePeriodSeconds)
	}
	c.pod("t", ended(143))
	c.want("killed", c.states("t"), "KILLING, KILLED: Command terminated with signal Terminated")
}

func TestOffersThatAreNotGood(t *testing.T) {
	c := newCell(t)
	for name, offers := range map[string][]string{
		"none": nil, "unknown": {"x"}, "twice": {c.lend("fw-0000", "cpus:1"), "u-O1"}, "another's": {c.lend("fw-0001", "cpus:1")},
	} {
		got := c.accept(0, offers, launch(c.task("t", "cpus:1", command)))
		if len(got) != 1 || !strings.HasPrefix(got[0], "t TASK_LOST REASON_INVALID_OFFERS: Task launched with invalid offers: ") {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, ok := tables.MesosOffers.Get(c.Store.Head(), object.Key{Name: "u-O1"}); ok {
		t.Error("the good offer among bad ones was not released")
	}
	if n := tables.Pods.Len(c.Store.Head()); n != 0 {
		t.Errorf("%d pods were made", n)
	}
}

func TestTasksThatCannotBe(t *testing.T) {
	c := newCell(t)
	c.accept(0, []string{c.lend("fw-0000", "cpus:1;mem:64")}, launch(c.task("there", "cpus:1;mem:64", command)))
	other := c.task("t", "cpus:1", command)
	other.AgentId = &mesosv1.AgentID{Value: proto.String("x")}
	for want, task := range map[string]*mesosv1.TaskInfo{
		"Task has duplicate ID: there":                                  c.task("there", "cpus:1", command),
		"Task uses no resources":                                        c.task("t", "", command),
		"Task uses more resources cpus:3 than available cpus:2":         c.task("t", "cpus:3", command),
		"Task uses more resources cpus:1; gpus:1 than available cpus:2": c.task("t", "cpus:1;gpus:1", command),
		"Task uses invalid agent x while agent u-S0 is expected":        other,
		"Task should have at least one (but not both)":                  c.task("t", "cpus:1", ""),
		`task_id: "../x" cannot be the name of a folder`:                c.task("../x", "cpus:1", command),
		`task_id: ".." cannot be the name of a folder`:                  c.task("..", "cpus:1", command),
		"Task uses invalid resources: resources[0] (cpus)":              c.task("t", "cpus:-1", command),
		"Task uses invalid resources: resources[0] (cpus): scalar":      c.task("t", "cpus:1e308", command),
		"container.docker.parameters[0].key: ":                          c.task("t", "cpus:1", `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i","parameters":[{"key":"device","value":"/dev/sda"}]}}`),
		"container.docker.network: NONE cannot be had":                  c.task("t", "cpus:1", `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i","network":"NONE"}}`),
		"container.docker.image: is missing":                            c.task("t", "cpus:1", `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":""}}`),
		"command.value: is missing":                                     c.task("t", "cpus:1", `,"command":{}`),
		"health_check.type: is missing":                                 c.task("t", "cpus:1", command+`,"health_check":{}`),
	} {
		got := c.accept(0, []string{c.lend("fw-0000", "cpus:2")}, launch(task))
		if len(got) != 1 || !strings.HasPrefix(got[0], task.GetTaskId().GetValue()+" TASK_ERROR REASON_TASK_INVALID: "+want) {
			t.Errorf("%s: %v", want, got)
		}
	}
	if n := tables.Pods.Len(c.Store.Head()); n != 1 {
		t.Errorf("%d pods, want one", n)
	}
}

func TestAGroupEndsAsOne(t *testing.T) {
	c := newCell(t)
	group := &mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_LAUNCH_GROUP.Enum(), LaunchGroup: &mesosv1.Offer_Operation_LaunchGroup{
		Executor: &mesosv1.ExecutorInfo{Type: mesosv1.ExecutorInfo_DEFAULT.Enum(), ExecutorId: &mesosv1.ExecutorID{Value: proto.String("e")}, Resources: resourcesOf(t, "cpus:0.1;mem:32")},
		TaskGroup: &mesosv1.TaskGroupInfo{Tasks: []*mesosv1.TaskInfo{
			c.task("a", "cpus:0.5;mem:64", `,"command":{"value":"x"}`), c.task("b", "cpus:0.5;mem:64", `,"command":{"value":"y"}`),
		}},
	}}
	if got := c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, group); got != nil {
		t.Fatalf("told %v", got)
	}
	pod, _ := tables.Pods.Get(c.Store.Head(), c.row("a").Pod)
	if len(pod.Spec.Containers) != 2 || c.row("b").Pod != c.row("a").Pod {
		t.Fatalf("containers %v", pod.Spec.Containers)
	}
	c.want("the first container", pod.Spec.Containers[0].Resources.Requests.Cpu().String(), "600m")
	c.pod("a", bound)
	c.pod("a", running)
	c.pod("a", func(p *corev1.Pod) { ended(1)(p); p.Status.Phase = corev1.PodRunning })
	c.want("a", c.states("a"), "STARTING, RUNNING, FAILED: Command exited with status 1")
	if pod, _ = tables.Pods.Get(c.Store.Head(), c.row("a").Pod); pod.DeletionTimestamp == nil {
		t.Error("the rest of the group goes on")
	}
	c.Update(func(tx *store.Tx) { tables.Pods.Delete(tx, object.KeyOf(pod)) })
	c.Settle(c.runner)
	c.want("b", c.states("b"), "STARTING, RUNNING, KILLED: Killed")
}

func TestReservationsAndVolumesInOneAccept(t *testing.T) {
	c := newCell(t)
	reserved := resourcesOf(t, "cpus:1;mem:64;disk:100")
	for _, r := range reserved {
		r.Reservations = []*mesosv1.Resource_ReservationInfo{{Type: mesosv1.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String("ads")}}
	}
	volume := proto.Clone(reserved[2]).(*mesosv1.Resource)
	volume.Disk = &mesosv1.Resource_DiskInfo{
		Persistence: &mesosv1.Resource_DiskInfo_Persistence{Id: proto.String("v")},
		Volume:      &mesosv1.Volume{ContainerPath: proto.String("data"), Mode: mesosv1.Volume_RW.Enum()},
	}
	task := c.task("t", "cpus:1", command)
	task.Resources = []*mesosv1.Resource{reserved[0], reserved[1], volume}
	o := c.lend("fw-0000", "cpus:2;mem:512;disk:500")
	c.Update(func(tx *store.Tx) {
		was, _ := tables.MesosOffers.Get(tx, object.Key{Name: o})
		next := was.Clone()
		next.Role = "ads"
		tables.MesosOffers.Put(tx, next)
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ads"}})
	})
	got := c.accept(0, []string{o},
		&mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_RESERVE.Enum(), Id: &mesosv1.OperationID{Value: proto.String("r")}, Reserve: &mesosv1.Offer_Operation_Reserve{Resources: reserved}},
		&mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_CREATE.Enum(), Id: &mesosv1.OperationID{Value: proto.String("c")}, Create: &mesosv1.Offer_Operation_Create{Volumes: []*mesosv1.Resource{volume}}},
		launch(task),
		&mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_DESTROY.Enum(), Id: &mesosv1.OperationID{Value: proto.String("d")}, Destroy: &mesosv1.Offer_Operation_Destroy{Volumes: []*mesosv1.Resource{volume}}})
	if len(got) != 3 || got[0] != "r OPERATION_FINISHED: " || got[1] != "c OPERATION_FINISHED: " || !strings.HasPrefix(got[2], "d OPERATION_ERROR: destroy.volumes: persistent volume \"v\" is in use by task t") {
		t.Errorf("told %q", got)
	}
	agent, _ := tables.MesosAgent(c.Store.Head(), "n")
	list, err := ours.Reserved(agent)
	c.want("reserved", fmt.Sprint(list, err), "cpus(reservations: [(DYNAMIC,ads)]):1; mem(reservations: [(DYNAMIC,ads)]):64; disk(reservations: [(DYNAMIC,ads)])[v]:data:100 <nil>")
	pod, _ := tables.Pods.Get(c.Store.Head(), c.row("t").Pod)
	c.want("namespace", pod.Namespace, "ads")
	if m := pod.Spec.Containers[0].VolumeMounts; len(m) != 2 || m[1].MountPath != "/mnt/mesos/sandbox/data" {
		t.Errorf("mounts %v", m)
	}
	c.runner = c.Runner(loops()...) // those of another manager
	c.Settle(c.runner)
	c.want("told again", strings.Join(c.told(), "; "), "r OPERATION_FINISHED: ; c OPERATION_FINISHED: ")
}

func TestAFrameworkIsRemoved(t *testing.T) {
	c := newCell(t)
	c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task("t", "cpus:0.5;mem:64", command)))
	c.pod("t", bound)
	c.pod("t", running)
	c.lend("fw-0000", "cpus:1")
	c.Update(func(tx *store.Tx) {
		f, _ := tables.MesosFramework(tx, "fw-0000")
		at := metav1.NewTime(tx.Now().Add(time.Minute))
		f.Status.RemoveAt = &at
		if err := tables.PutMesosFramework(tx, f); err != nil {
			t.Fatal(err)
		}
	})
	c.Settle(c.runner)
	if c.row("t").Completed != nil {
		t.Fatal("it is removed too early")
	}
	c.Advance(time.Minute)
	c.Settle(c.runner)
	task := c.row("t")
	c.want("task", task.State.String()+" "+task.Statuses[len(task.Statuses)-1].GetReason().String(), "TASK_KILLED REASON_FRAMEWORK_REMOVED")
	if pod, _ := tables.Pods.Get(c.Store.Head(), task.Pod); pod.DeletionTimestamp == nil {
		t.Error("its pod goes on")
	}
	if n := tables.MesosOffers.Len(c.Store.Head()); n != 0 {
		t.Errorf("%d offers are left", n)
	}
}

func TestAnAgentIsNotReached(t *testing.T) {
	for _, aware := range []bool{true, false} {
		var capabilities []mesosv1.FrameworkInfo_Capability_Type
		if aware {
			capabilities = append(capabilities, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE)
		}
		c := newCell(t, capabilities...)
		c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task("t", "cpus:0.5;mem:64", command)))
		c.pod("t", bound)
		c.pod("t", running)
		c.acknowledge("t")
		ready := func(status corev1.ConditionStatus) {
			c.Update(func(tx *store.Tx) {
				n, _ := tables.Nodes.Get(tx, object.Key{Name: "n"})
				n = n.DeepCopy()
				n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: metav1.NewTime(tx.Now())}}
				tables.Nodes.Put(tx, n)
			})
			c.Settle(c.runner)
		}
		ready(corev1.ConditionUnknown)
		c.Advance(59 * time.Second)
		c.Settle(c.runner)
		if got := c.told(); got != nil {
			t.Errorf("told too early: %v", got)
		}
		c.Advance(time.Second)
		c.Settle(c.runner)
		got := strings.Join(c.told(), "; ")
		if !aware {
			c.want("lost", got, "t TASK_LOST REASON_AGENT_REMOVED: Agent is unreachable; FAILURE")
			continue
		}
		c.want("unreachable", got, "t TASK_UNREACHABLE REASON_AGENT_REMOVED: Agent is unreachable; FAILURE")
		ready(corev1.ConditionTrue)
		c.want("back", strings.Join(c.told(), "; "), "t TASK_RUNNING REASON_AGENT_REREGISTERED: Agent reregistered")
		c.want("state", c.row("t").State.String(), "TASK_RUNNING")

		ready(corev1.ConditionUnknown)
		c.Advance(75 * time.Second)
		c.Settle(c.runner)
		c.told()
		c.Update(func(tx *store.Tx) {
			killed := c.row("t").Clone()
			killed.Kill = &ours.Kill{By: mesosv1.TaskStatus_SOURCE_EXECUTOR}
			tables.MesosTasks.Put(tx, killed)
		})
		c.Settle(c.runner)
		if pod, ok := tables.Pods.Get(c.Store.Head(), c.row("t").Pod); !ok || pod.DeletionTimestamp == nil {
			t.Error("the pod of a task that was killed while its agent is away does not say so")
		}
		c.want("killed, and not reached", c.row("t").State.String(), "TASK_UNREACHABLE")
		c.AtRest("loops that were just made", loops())
		ready(corev1.ConditionTrue)
		c.pod("t", ended(143))
		c.want("killed", c.row("t").State.String(), "TASK_KILLED")
	}
}

func TestAnExecutorOfItsOwn(t *testing.T) {
	c := newCell(t)
	const executor = `,"executor":{"executor_id":{"value":"e"},"command":{"value":"./run","uris":[{"value":"http://x/run","executable":true}]},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":32}}]}`
	if got := c.accept(0, []string{c.lend("fw-0000", "cpus:2;mem:512")}, launch(c.task("a", "cpus:0.5;mem:64", executor), c.task("b", "cpus:0.5;mem:64", executor))); got != nil {
		t.Fatalf("told %v", got)
	}
	if c.row("a").Pod != c.row("b").Pod || !c.row("a").Custom {
		t.Fatalf("tasks %+v, %+v", c.row("a"), c.row("b"))
	}
	asks := func(want string) {
		t.Helper()
		pod, _ := tables.Pods.Get(c.Store.Head(), c.row("a").Pod)
		r := pod.Spec.Containers[0].Resources
		c.want("asks", r.Requests.Cpu().String()+" "+r.Limits.Memory().String(), want)
	}
	asks("1100m 160Mi")
	other := strings.Replace(executor, "./run", "./other", 1)
	if got := c.accept(0, []string{c.lend("fw-0000", "cpus:1;mem:64")}, launch(c.task("c", "cpus:0.5;mem:64", other))); len(got) != 1 || !strings.Contains(got[0], `not compatible with existing ExecutorInfo with same ExecutorID "e"`) {
		t.Errorf("told %v", got)
	}
	end := func(id string) {
		task := c.row(id).Clone()
		s := task.Status(mesosv1.TaskState_TASK_FINISHED, "", looptest.Start)
		s.Uuid = ours.Digest(id)
		task.Append(s)
		c.Update(func(tx *store.Tx) { tables.MesosTasks.Put(tx, task) })
		c.Settle(c.runner)
	}
	c.pod("a", bound)
	c.pod("a", running)
	c.want("what its Pod shows", c.states("a"), "")
	end("b")
	asks("600m 96Mi")
	c.acknowledge("b")
	end("a")
	c.acknowledge("a")
	asks("100m 32Mi")
	c.pod("a", ended(0))
	if n := tables.Pods.Len(c.Store.Head()); n != 0 {
		t.Error("the executor that has ended is there")
	}
}
