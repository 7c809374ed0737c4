package mesos_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	object_mesos "trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/test/storm"
)

// pipes is a listener whose connections hold not one byte that nobody reads.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) dial() (net.Conn, error) {
	here, there := net.Pipe()
	p.conns <- there
	return here, nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// piped returns a door within the test's bubble, whose time passes while nothing else can.
func piped(t *testing.T) (*door, *pipes) {
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	return newDoorAt(t, p), p
}

func (d *door) joined(p *pipes, name string) (*storm.Framework, string) {
	d.t.Helper()
	f := &storm.Framework{Dial: p.dial, Info: info(name), Calls: 1}
	f.Info.FailoverTimeout = new(float64(1000))
	if err := f.Subscribe(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { f.Leave() }) // it may have been cut
	return f, f.Info.GetId().GetValue()
}

// awaitUpdate reads until an update of the task comes.
func (d *door) awaitUpdate(f *storm.Framework, task string) {
	d.t.Helper()
	for {
		e, err := f.Next()
		if err != nil {
			d.t.Fatal(err)
		}
		if e.GetType() == scheduler.Event_UPDATE && e.GetUpdate().GetStatus().GetTaskId().GetValue() == task {
			return
		}
	}
}

func (d *door) connected(id string) bool {
	f, _ := tables.MesosFramework(d.store.Snapshot(), id)
	return f.Status.Connected
}

// change writes the same few tasks and offers of a framework again and again.
func (d *door) change(id string, rows, times int) {
	d.t.Helper()
	for n := range times {
		d.update(func(tx *store.Tx) {
			for i := range rows {
				task := &object_mesos.Task{Agent: "m-S0", Node: "n", Info: &mesosv1.TaskInfo{}}
				task.Namespace, task.Name = id, fmt.Sprint("t", i)
				s := task.Status(mesosv1.TaskState_TASK_RUNNING, "", tx.Now())
				s.Uuid = object_mesos.Digest(i, n)
				task.Append(s)
				tables.MesosTasks.Put(tx, task)
				o := &object_mesos.Offer{Framework: id, Role: "*", Node: "n", Agent: "m-S0", Made: tx.Now()}
				o.Name = fmt.Sprint(id, "-", i)
				tables.MesosOffers.Put(tx, o)
			}
		})
	}
}

// TestSlowReadersAreCut: of a client that reads nothing, or a byte a second, no more is kept than
// which rows it has not seen, and it is cut after 30 s; others hear everything at once.
func TestSlowReadersAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rows = 50
		d, p := piped(t)
		_, silent := d.joined(p, "silent")
		slow, drip := d.joined(p, "drip")
		well, good := d.joined(p, "good")
		body := slow.Body()
		go func() {
			for one := make([]byte, 1); ; {
				if _, err := io.ReadFull(body, one); err != nil {
					return
				}
				select {
				case <-time.After(time.Second):
				case <-t.Context().Done():
					return
				}
			}
		}()
		began := time.Now()
		for _, id := range []string{silent, drip} {
			d.change(id, rows, 100)
		}
		d.change(good, 1, 1)
		d.awaitUpdate(well, "t0")
		if waited := time.Since(began); waited > 0 {
			t.Errorf("the one that reads heard it after %v", waited)
		}
		synctest.Wait()
		for _, id := range []string{silent, drip} {
			if n := d.server.Dirty(id); n > 2*rows {
				t.Errorf("%d rows are noted for %s, of %d that there are", n, id, 2*rows)
			}
			if !d.connected(id) {
				t.Errorf("%s is cut at once", id)
			}
		}
		go func() { // it goes on reading
			for {
				if _, err := well.Next(); err != nil {
					return
				}
			}
		}()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if d.connected(silent) {
			t.Error("the one that reads nothing is not cut after 31 s")
		}
		time.Sleep(time.Minute) // a byte a second takes a heartbeat in time, and no update
		synctest.Wait()
		if d.connected(drip) || !d.connected(good) {
			t.Errorf("after 91 s the one that reads a byte a second is connected: %t, the one that reads: %t", d.connected(drip), d.connected(good))
		}
	})
}

// TestManyStreams: 500 frameworks hear of theirs at once, and what each costs is bounded.
func TestManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams, bytesMax = 500, 128 << 10
		d, p := piped(t)
		before, began := inUse(), time.Now()
		var all []*storm.Framework
		for n := range streams {
			f, id := d.joined(p, fmt.Sprint("f", n))
			all = append(all, f)
			d.change(id, 1, 1)
		}
		if each := (inUse() - before) / streams; each > bytesMax {
			t.Errorf("a stream takes %d bytes, at most %d", each, bytesMax)
		} else {
			t.Logf("a stream takes %d bytes, its client included", each)
		}
		for _, f := range all {
			d.awaitUpdate(f, "t0")
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("the last heard it after %v", waited)
		}
	})
}

// inUse returns the bytes of heap and stacks.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
