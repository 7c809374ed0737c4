package mesos_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
	object_mesos "trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/test/storm"
)

var life = []mesosv1.TaskState{mesosv1.TaskState_TASK_STARTING, mesosv1.TaskState_TASK_RUNNING, mesosv1.TaskState_TASK_FINISHED}

// storm returns a lean framework of the door.
func (d *door) storm(name string) *storm.Framework {
	i := info(name)
	i.FailoverTimeout = new(float64(1000))
	addr := strings.TrimPrefix(strings.TrimSuffix(d.url, "/api/v1/scheduler"), "http://")
	return &storm.Framework{Dial: func() (net.Conn, error) { return new(net.Dialer).DialContext(d.t.Context(), "tcp", addr) }, Info: i, Calls: 8}
}

// live gives a framework tasks that have been through their lives.
func (d *door) live(framework string, tasks int) {
	d.t.Helper()
	const at = 1000
	for from := 0; from < tasks; from += at {
		d.update(func(tx *store.Tx) {
			for n := from; n < min(tasks, from+at); n++ {
				t := &object_mesos.Task{Agent: "m-S0", Node: "n", Info: &mesosv1.TaskInfo{}}
				t.Namespace, t.Name = framework, fmt.Sprint("t", n)
				for _, state := range life {
					s := t.Status(state, "", tx.Now())
					s.Uuid = object_mesos.Digest(framework, n, state)
					t.Append(s)
				}
				tables.MesosTasks.Put(tx, t)
			}
		})
	}
}

// TestUpdatesAreNeitherLostNorDoubled: of all that the tasks of several frameworks have been
// through each is told until it is acknowledged, and then no more, in order, though a framework
// hangs up and comes back in the midst of it.
func TestUpdatesAreNeitherLostNorDoubled(t *testing.T) {
	const frameworks, tasks, restarts = 3, 2000, 3
	d := newDoor(t)
	g := errgroup.Group{}
	for n := range frameworks {
		f, l := d.storm(fmt.Sprint("f", n)), storm.NewLedger()
		if err := f.Subscribe(); err != nil {
			t.Fatal(err)
		}
		id := f.Info.GetId().GetValue()
		d.live(id, tasks)
		g.Go(func() error {
			all, next := tasks*len(life), tasks*len(life)/(restarts+1)
			for l.Acked() < all {
				if n == 0 && l.Acked() >= next { // one that is not restarted stands beside it
					if next += all / (restarts + 1); next > all {
						next = all + 1
					}
					if err := f.Leave(); err != nil {
						return err
					}
					if err := f.Subscribe(); err != nil {
						return err
					}
				}
				e, err := f.Next()
				if err != nil {
					return err
				}
				if e.GetType() != scheduler.Event_UPDATE {
					continue
				}
				if err := l.Acknowledge(f, e.GetUpdate().GetStatus()); err != nil {
					return err
				}
				if l.Came() == all { // the last answers decide, no event
					if err := f.Wait(); err != nil {
						return err
					}
				}
			}
			return f.Leave()
		})
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if lost := l.Lost(tasks, len(life)); lost != 0 || l.Twice != 0 || len(l.Wrong) > 0 || l.In(mesosv1.TaskState_TASK_FINISHED) != tasks {
				t.Errorf("framework %d: %d updates are lost, %d came after their acknowledgement, %d finished, %.5q are out of order", n, lost, l.Twice, l.In(mesosv1.TaskState_TASK_FINISHED), l.Wrong)
			}
			if n > 0 && l.Again > 0 {
				t.Errorf("framework %d: %d updates came twice on one stream", n, l.Again)
			}
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for { // what was taken is written soon
		snap, waits := d.store.Snapshot(), 0
		for task := range tables.MesosTasks.All(snap) {
			waits += len(task.Pending)
		}
		if waits == 0 {
			return
		}
		<-snap.Next()
	}
}

// TestAnAcceptOutlivesItsStream: what a framework has accepted is its own though it hangs up, and
// comes back, before anybody has looked at it; its other offers are gone.
func TestAnAcceptOutlivesItsStream(t *testing.T) {
	d := newDoor(t)
	f := d.storm("a")
	if err := f.Subscribe(); err != nil {
		t.Fatal(err)
	}
	id := f.Info.GetId().GetValue()
	taken, left := d.lend(id), d.lend(id)
	if err := f.Call(&scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{OfferIds: []*mesosv1.OfferID{{Value: &taken}}}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := f.Subscribe(); err != nil {
		t.Fatal(err)
	}
	snap := d.store.Snapshot()
	if _, ok := tables.MesosOffers.Get(snap, object.Key{Name: taken}); !ok || tables.MesosAccepts.Len(snap) != 1 {
		t.Error("the accepted offer is gone")
	}
	if _, ok := tables.MesosOffers.Get(snap, object.Key{Name: left}); ok {
		t.Error("the other offer is there")
	}
	if err := errors.Join(f.Leave(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
