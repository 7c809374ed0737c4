// Package storm is a lean client of Mesos' scheduler API, for benchmarks and tests in which
// the client is not to be the bottleneck: protobuf, one connection for the stream and some
// that are kept for calls, one call at a time on each. It does what a framework has to, and
// keeps a ledger of its updates.
//
// It is not an example of a framework (examples/mesos/framework is).
package storm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
)

const recordMax = 64 << 20

// Framework is a framework. It belongs to one goroutine, but for what Go starts.
type Framework struct {
	Dial  func() (net.Conn, error)
	Info  *mesosv1.FrameworkInfo // its id is filled in once it has one
	Calls int                    // how many calls may be on their way

	stream string // id
	open   net.Conn
	body   io.Reader
	events *codec.Reader

	turns   chan *line // that are free; nil: one that has not been dialled
	pending sync.WaitGroup
	mu      sync.Mutex
	err     error // of the first call of Go's that failed
}

// Subscribe opens the stream, once more where there was one: its updates that were not
// acknowledged come again.
func (f *Framework) Subscribe() error {
	if f.turns == nil {
		f.turns = make(chan *line, f.Calls)
		for range f.Calls {
			f.turns <- nil
		}
	}
	conn, err := f.Dial()
	if err != nil {
		return err
	}
	f.stream = ""
	body, err := f.encode(&scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: f.Info}})
	if err != nil {
		return err
	}
	if _, err := conn.Write(f.request(body)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return refused(scheduler.Call_SUBSCRIBE, resp)
	}
	f.open, f.stream, f.body = conn, resp.Header.Get("Mesos-Stream-Id"), resp.Body
	f.events = codec.NewReader(f.body, recordMax)
	e, err := f.Next()
	if err != nil {
		return err
	}
	if f.Info.Id = e.GetSubscribed().GetFrameworkId(); f.Info.Id == nil {
		return fmt.Errorf("subscribing: %v", e)
	}
	return nil
}

func refused(kind scheduler.Call_Type, resp *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	return fmt.Errorf("%v: the master answers %s: %s", kind, resp.Status, bytes.TrimSpace(said))
}

// Next returns the next event.
func (f *Framework) Next() (*scheduler.Event, error) {
	record, err := f.events.Next()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading events: %w", err), f.failed())
	}
	e := &scheduler.Event{}
	if err := codec.Protobuf.Parse(record, e); err != nil {
		return nil, err
	}
	if e.GetType() == scheduler.Event_ERROR {
		return nil, errors.New("the master refuses: " + e.GetError().GetMessage())
	}
	return e, nil
}

// Body returns the stream's bytes: who reads them reads no more events.
func (f *Framework) Body() io.Reader { return f.body }

// Leave closes the stream, once all calls are answered.
func (f *Framework) Leave() error { return errors.Join(f.Wait(), f.open.Close()) }

// Close closes the connections of calls, once all are answered.
func (f *Framework) Close() error {
	err := f.Wait()
	for range f.Calls {
		if l := <-f.turns; l != nil {
			err = errors.Join(err, l.conn.Close())
		}
	}
	return err
}

// Go makes a call and returns before it is answered, waiting while too many are on their
// way; then is called where it was taken, by another goroutine. It says what failed before.
func (f *Framework) Go(c *scheduler.Call, then func()) error {
	body, err := f.encode(c)
	if err != nil {
		return err
	}
	req := f.request(body)
	l, open := <-f.turns, f.open
	f.pending.Go(func() {
		l, err := f.roundTrip(l, c.GetType(), req)
		if f.turns <- l; err == nil {
			then()
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err == nil {
			f.err = err
		}
		_ = open.Close() // who waits for an event is to learn it; it fails where it was closed before
	})
	return f.failed()
}

func (f *Framework) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Wait returns when all calls are answered, with what failed first.
func (f *Framework) Wait() error {
	f.pending.Wait()
	return f.failed()
}

// Call makes a call and waits for its answer.
func (f *Framework) Call(c *scheduler.Call) error {
	return errors.Join(f.Go(c, func() {}), f.Wait())
}

func (f *Framework) encode(c *scheduler.Call) ([]byte, error) {
	c.FrameworkId = f.Info.Id
	return proto.Marshal(c)
}

func (f *Framework) request(body []byte) []byte {
	b := []byte("POST /api/v1/scheduler HTTP/1.1\r\nHost: mesos\r\nContent-Type: application/x-protobuf\r\nAccept: application/x-protobuf\r\n")
	if f.stream != "" {
		b = append(b, "Mesos-Stream-Id: "+f.stream+"\r\n"...)
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	return append(append(b, "\r\n\r\n"...), body...)
}

// line is a connection for calls.
type line struct {
	conn net.Conn
	r    *bufio.Reader
}

func (f *Framework) roundTrip(l *line, kind scheduler.Call_Type, req []byte) (*line, error) {
	if l == nil {
		conn, err := f.Dial()
		if err != nil {
			return nil, err
		}
		l = &line{conn, bufio.NewReader(conn)}
	}
	if _, err := l.conn.Write(req); err != nil {
		return l, err
	}
	return l, l.answer(kind)
}

// answer reads one without a body, and what a refusal says.
func (l *line) answer(kind scheduler.Call_Type) error {
	const accepted = "HTTP/1.1 202"
	if head, err := l.r.Peek(len(accepted)); err != nil || string(head) != accepted {
		if err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		resp, err := http.ReadResponse(l.r, nil)
		if err != nil {
			return err
		}
		return refused(kind, resp)
	}
	for { // no header of a 202 has a body
		head, err := l.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		if len(head) <= len("\r\n") {
			return nil
		}
	}
}
