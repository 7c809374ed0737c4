package mesos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/api/mesos"
	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
	object_mesos "trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// door is a Mesos door over a store without loops: what they would write, tests write.
type door struct {
	t      *testing.T
	store  *store.Store
	server *mesos.Server
	url    string
	offer  int
}

func newDoor(t *testing.T) *door {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newDoorAt(t, l)
}

func newDoorAt(t *testing.T, l net.Listener) *door {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := store.Open(ctx, store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, store: s}
	d.update(func(tx *store.Tx) {
		system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: "m"}}
		tables.Namespaces.Put(tx, system)
		access.Bootstrap(tx)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"rack": "a"}}}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}
		tables.Nodes.Put(tx, node)
		a := &object_mesos.Agent{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		a.Status.ID = "m-S0"
		if err := tables.PutMesosAgent(tx, a); err != nil {
			t.Fatal(err)
		}
	})
	master := func() *mesosv1.MasterInfo {
		return &mesosv1.MasterInfo{Id: proto.String("m"), Ip: proto.Uint32(0), Port: proto.Uint32(5050)}
	}
	all := basic.Caller{User: access.User{Name: "ann", Groups: []string{access.Masters}}, Key: "ann"}
	server, err := mesos.New(s, mesos.Config{Listener: l, Master: master, Operator: http.NotFoundHandler(), Auth: basic.Auth{Realm: "mesos", Anonymous: &all, Identify: func(req *http.Request) (basic.Caller, error) {
		if req.Header.Get("Authorization") == "Bearer weak" {
			return basic.Caller{User: access.User{Name: "bob"}, Key: "bob"}, nil
		}
		return basic.Caller{}, kind.New(kind.Unauthenticated, "who?")
	}}})
	if err != nil {
		t.Fatal(err)
	}
	d.server = server
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	d.url = "http://" + l.Addr().String() + "/api/v1/scheduler"
	return d
}

func (d *door) update(f func(*store.Tx)) {
	d.t.Helper()
	if _, err := d.store.Update(d.t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		d.t.Fatal(err)
	}
}

// framework is a client of the door.
type framework struct {
	*door
	id, stream string
	events     *codec.Reader
	body       *http.Response
	media      codec.Media
}

func (d *door) post(media codec.Media, header map[string]string, body []byte) *http.Response {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", media.String())
	req.Header.Set("Accept", media.String())
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	return res
}

func (d *door) subscribe(media codec.Media, info *mesosv1.FrameworkInfo) *framework {
	d.t.Helper()
	c := &scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), FrameworkId: info.Id, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: info}}
	body, err := media.Append(nil, c)
	if err != nil {
		d.t.Fatal(err)
	}
	res := d.post(media, nil, body)
	if res.StatusCode != http.StatusOK || res.ContentLength != -1 || res.Header.Get("Content-Type") != media.String() {
		d.t.Fatalf("SUBSCRIBE: %s, length %d, %v", res.Status, res.ContentLength, res.Header)
	}
	d.t.Cleanup(func() { res.Body.Close() })
	return &framework{door: d, media: media, body: res, stream: res.Header.Get("Mesos-Stream-Id"), events: codec.NewReader(res.Body, 1<<20)}
}

// subscribed reads the first two events.
func (f *framework) subscribed() *framework {
	f.t.Helper()
	f.id = f.next(scheduler.Event_SUBSCRIBED).GetSubscribed().GetFrameworkId().GetValue()
	f.next(scheduler.Event_HEARTBEAT)
	return f
}

func (f *framework) next(want scheduler.Event_Type) *scheduler.Event {
	f.t.Helper()
	record, err := f.events.Next()
	if err != nil {
		f.t.Fatalf("waiting for %v: %v", want, err)
	}
	e := &scheduler.Event{}
	if err := f.media.Parse(record, e); err != nil {
		f.t.Fatalf("%v: %.200s", err, record)
	}
	if e.GetType() != want {
		f.t.Fatalf("got %v, want %v", e, want)
	}
	return e
}

func (f *framework) call(want int, c *scheduler.Call) {
	f.t.Helper()
	c.FrameworkId = &mesosv1.FrameworkID{Value: &f.id}
	body, err := f.media.Append(nil, c)
	if err != nil {
		f.t.Fatal(err)
	}
	res := f.post(f.media, map[string]string{"Mesos-Stream-Id": f.stream}, body)
	defer res.Body.Close()
	if res.StatusCode != want {
		b := new(bytes.Buffer)
		b.ReadFrom(res.Body)
		f.t.Fatalf("%v: %s %s, want %d", c.GetType(), res.Status, b, want)
	}
}

func info(name string) *mesosv1.FrameworkInfo {
	return &mesosv1.FrameworkInfo{User: proto.String("root"), Name: &name}
}

// lend puts an offer.
func (d *door) lend(framework string) string {
	d.t.Helper()
	d.offer++
	o := &object_mesos.Offer{Framework: framework, Role: "*", Node: "n", Agent: "m-S0", Resources: []*mesosv1.Resource{
		{Name: proto.String("cpus"), Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: proto.Float64(2)}},
	}}
	o.Name = fmt.Sprintf("m-O%d", d.offer)
	d.update(func(tx *store.Tx) { tables.MesosOffers.Put(tx, o) })
	return o.Name
}

// settled waits until the calls before are written: they are written in order.
func (f *framework) settled() {
	f.t.Helper()
	f.call(202, &scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: &scheduler.Call_Reconcile{Tasks: []*scheduler.Call_Reconcile_Task{{TaskId: &mesosv1.TaskID{Value: proto.String("settled")}}}}})
	if s := f.next(scheduler.Event_UPDATE).GetUpdate().GetStatus(); s.GetTaskId().GetValue() != "settled" || s.GetState() != mesosv1.TaskState_TASK_LOST || s.Uuid != nil {
		f.t.Fatalf("reconciled as %v", s)
	}
}

func TestOffersAreLentDeclinedAndRescinded(t *testing.T) {
	for _, media := range []codec.Media{codec.JSON, codec.Protobuf} {
		d := newDoor(t)
		f := d.subscribe(media, info("a")).subscribed()
		if f.id != "m-0000" {
			t.Fatalf("framework id %s", f.id)
		}
		first := d.lend(f.id)
		offer := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
		if offer.GetId().GetValue() != first || offer.GetUrl().GetAddress().GetIp() != "10.0.0.1" || offer.AllocationInfo != nil || offer.GetAttributes()[0].GetName() != "rack" {
			t.Fatalf("offer %v", offer)
		}
		f.call(202, &scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{OfferIds: []*mesosv1.OfferID{offer.Id}, Filters: &mesosv1.Filters{RefuseSeconds: proto.Float64(100)}}})
		f.settled()
		o, ok := tables.MesosOffers.Get(d.store.Snapshot(), object.Key{Name: first})
		if left := time.Until(o.Until); !ok || !o.Refused || left < 90*time.Second || left > 101*time.Second {
			t.Fatalf("declined: %+v", o)
		}
		f.call(202, &scheduler.Call{Type: scheduler.Call_REVIVE.Enum()})
		f.settled()
		if _, ok := tables.MesosOffers.Get(d.store.Snapshot(), object.Key{Name: first}); ok {
			t.Fatal("the filter is there after REVIVE")
		}
		second := d.lend(f.id)
		f.next(scheduler.Event_OFFERS)
		d.update(func(tx *store.Tx) { tables.MesosOffers.Delete(tx, object.Key{Name: second}) })
		if got := f.next(scheduler.Event_RESCIND).GetRescind().GetOfferId().GetValue(); got != second {
			t.Fatalf("rescinded %s, want %s", got, second)
		}
	}
}

func TestUpdatesWaitForTheirAcknowledgement(t *testing.T) {
	d := newDoor(t)
	f := d.subscribe(codec.JSON, info("a")).subscribed()
	task := &object_mesos.Task{Agent: "m-S0", Node: "n", Info: &mesosv1.TaskInfo{}}
	task.Namespace, task.Name = f.id, "t"
	for i, state := range []mesosv1.TaskState{mesosv1.TaskState_TASK_STARTING, mesosv1.TaskState_TASK_RUNNING} {
		s := task.Status(state, "", time.Now())
		s.Uuid = object_mesos.Digest(i)
		task.Append(s)
	}
	d.update(func(tx *store.Tx) { tables.MesosTasks.Put(tx, task) })
	for _, want := range []mesosv1.TaskState{mesosv1.TaskState_TASK_STARTING, mesosv1.TaskState_TASK_RUNNING} {
		s := f.next(scheduler.Event_UPDATE).GetUpdate().GetStatus()
		if s.GetState() != want {
			t.Fatalf("got %v, want %v", s, want)
		}
		ack := &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{AgentId: s.AgentId, TaskId: s.TaskId, Uuid: s.Uuid}}
		f.call(202, ack)
		f.call(202, ack) // it is no other's
	}
	f.settled()
	if got, _ := tables.MesosTasks.Get(d.store.Snapshot(), object.KeyOf(task)); len(got.Pending) != 0 {
		t.Fatalf("pending %v", got.Pending)
	}
	f.call(400, &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{AgentId: &mesosv1.AgentID{Value: proto.String("m-S0")}, TaskId: &mesosv1.TaskID{Value: proto.String("t")}, Uuid: []byte("short")}})
	f.call(202, &scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: &scheduler.Call_Reconcile{}})
	if s := f.next(scheduler.Event_UPDATE).GetUpdate().GetStatus(); s.GetState() != mesosv1.TaskState_TASK_RUNNING || s.GetReason() != mesosv1.TaskStatus_REASON_RECONCILIATION || s.Uuid != nil {
		t.Fatalf("reconciled as %v", s)
	}
}

func TestAFrameworkFailsOver(t *testing.T) {
	d := newDoor(t)
	one := info("a")
	one.FailoverTimeout = proto.Float64(1000)
	f := d.subscribe(codec.JSON, one).subscribed()
	d.lend(f.id)
	f.next(scheduler.Event_OFFERS)
	again := proto.Clone(one).(*mesosv1.FrameworkInfo)
	again.Id = &mesosv1.FrameworkID{Value: &f.id}
	g := d.subscribe(codec.Protobuf, again).subscribed()
	if g.id != f.id || g.stream == f.stream {
		t.Fatalf("%s came back as %s", f.id, g.id)
	}
	for {
		record, err := f.events.Next()
		if err != nil {
			t.Fatalf("the old stream ended without a word: %v", err)
		}
		e := &scheduler.Event{}
		if err := codec.ParseJSON(record, e); err != nil {
			t.Fatal(err)
		}
		if e.GetType() == scheduler.Event_ERROR {
			if e.GetError().GetMessage() != "Framework failed over" {
				t.Fatal(e)
			}
			break
		}
	}
	if _, err := f.events.Next(); err == nil {
		t.Fatal("the old stream goes on")
	}
	f.call(400, &scheduler.Call{Type: scheduler.Call_REVIVE.Enum()}) // by the old stream's id
	g.settled()
	if n := tables.MesosOffers.Len(d.store.Snapshot()); n != 0 {
		t.Fatalf("%d offers are left", n)
	}
	g.body.Body.Close()
	for {
		snap := d.store.Snapshot()
		fw, _ := tables.MesosFramework(snap, f.id)
		if !fw.Status.Connected {
			if left := time.Until(fw.Status.RemoveAt.Time); left < 900*time.Second {
				t.Fatalf("it is removed in %v", left)
			}
			break
		}
		<-snap.Next()
	}
	g.call(403, &scheduler.Call{Type: scheduler.Call_REVIVE.Enum()})
}

func TestRefusals(t *testing.T) {
	d := newDoor(t)
	f := d.subscribe(codec.JSON, info("a")).subscribed()
	for name, c := range map[string]struct {
		body   string
		header map[string]string
		status int
		text   string
	}{
		"no type":       {`{}`, nil, 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"},
		"no body":       {`{"type":"ACCEPT","framework_id":{"value":"x"}}`, nil, 400, "Failed to validate scheduler::Call: Expecting 'accept' to be present"},
		"no id":         {`{"type":"REVIVE"}`, nil, 400, "Failed to validate scheduler::Call: Expecting 'framework_id' to be present"},
		"unknown id":    {`{"type":"REVIVE","framework_id":{"value":"x"}}`, nil, 400, "Framework cannot be found"},
		"no stream":     {`{"type":"REVIVE","framework_id":{"value":"` + f.id + `"}}`, nil, 400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"},
		"another":       {`{"type":"REVIVE","framework_id":{"value":"` + f.id + `"}}`, map[string]string{"Mesos-Stream-Id": "x"}, 400, "The stream ID 'x' included in this request didn't match the stream ID currently associated with framework ID " + f.id},
		"unknown type":  {`{"type":"UNKNOWN","framework_id":{"value":"` + f.id + `"}}`, nil, 501, "Received 'UNKNOWN' call"},
		"stream twice":  {`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"a","name":"b"}}}`, map[string]string{"Mesos-Stream-Id": "x"}, 400, "Subscribe calls should not include the 'Mesos-Stream-Id' header"},
		"two ids":       {`{"type":"SUBSCRIBE","framework_id":{"value":"x"},"subscribe":{"framework_info":{"user":"a","name":"b","id":{"value":"y"}}}}`, nil, 400, "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'"},
		"not complete":  {`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"a"}}}`, nil, 400, "Failed to validate scheduler::Call: Not initialized: subscribe.framework_info.name"},
		"bad token":     {`{}`, map[string]string{"Authorization": "Bearer x"}, 401, "who?"},
		"another's":     {`{"type":"REVIVE","framework_id":{"value":"` + f.id + `"}}`, map[string]string{"Authorization": "Bearer weak"}, 400, "Authenticated principal 'bob' does not match principal 'ann' set in `FrameworkInfo`"},
		"wrong accept":  {`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"a","name":"b"}}}`, map[string]string{"Accept": "text/html"}, 406, ""},
		"wrong content": {`{}`, map[string]string{"Content-Type": "text/plain"}, 415, ""},
	} {
		res := d.post(codec.JSON, c.header, []byte(c.body))
		b := new(bytes.Buffer)
		b.ReadFrom(res.Body)
		res.Body.Close()
		if res.StatusCode != c.status || c.text != "" && b.String() != c.text {
			t.Errorf("%s: %d %q, want %d %q", name, res.StatusCode, b, c.status, c.text)
		}
		if c.status == 401 && res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no challenge", name)
		}
	}
}

func TestASubscriptionIsRefusedForItsContent(t *testing.T) {
	d := newDoor(t)
	multi := []*mesosv1.FrameworkInfo_Capability{{Type: mesosv1.FrameworkInfo_Capability_MULTI_ROLE.Enum()}}
	for name, change := range map[string]func(*mesosv1.FrameworkInfo){
		"role and roles":  func(i *mesosv1.FrameworkInfo) { i.Role, i.Capabilities = proto.String("a"), multi },
		"roles":           func(i *mesosv1.FrameworkInfo) { i.Roles = []string{"a"} },
		"twice":           func(i *mesosv1.FrameworkInfo) { i.Roles, i.Capabilities = []string{"a", "a"}, multi },
		"bad role":        func(i *mesosv1.FrameworkInfo) { i.Role = proto.String("../x") },
		"bad timeout":     func(i *mesosv1.FrameworkInfo) { i.FailoverTimeout = proto.Float64(-1) },
		"path as an id":   func(i *mesosv1.FrameworkInfo) { i.Id = &mesosv1.FrameworkID{Value: proto.String("../etc")} },
		"endless timeout": func(i *mesosv1.FrameworkInfo) { i.FailoverTimeout = proto.Float64(1e308) },
	} {
		i := info("a")
		change(i)
		f := d.subscribe(codec.JSON, i)
		if why := f.next(scheduler.Event_ERROR).GetError().GetMessage(); why == "" {
			t.Errorf("%s: no reason", name)
		}
		if _, err := f.events.Next(); err == nil {
			t.Errorf("%s: the stream goes on", name)
		}
	}
	for range tables.MesosFrameworks(d.store.Snapshot()) {
		t.Fatal("a framework was written")
	}
}
