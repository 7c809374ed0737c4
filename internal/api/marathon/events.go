package marathon

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"trireme/internal/object/marathon"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// keepAlive is how often a stream says that it is there.
const keepAlive = 10 * time.Second

// event is one of the stream: its type, and what it tells.
type event struct {
	kind string
	body map[string]any
}

// hub hands what happens in the door itself to those who follow.
type hub struct {
	mu        sync.Mutex
	followers map[chan event]bool
}

// followedMax is how far a follower may be behind.
const followedMax = 256

func newHub() *hub { return &hub{followers: map[chan event]bool{}} }

func (h *hub) join() chan event {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := make(chan event, followedMax)
	h.followers[ch] = true
	return ch
}

func (h *hub) leave(ch chan event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.followers, ch)
}

// tell hands an event on. Who is too slow for it misses it.
func (h *hub) tell(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.followers {
		select {
		case ch <- e:
		default:
		}
	}
}

// followEvents answers with what happens, as server-sent events, until the client goes.
func followEvents(c *call) (any, error) {
	if !strings.Contains(c.Header.Get("Accept"), "text/event-stream") {
		return nil, failure{http.StatusBadRequest, message{Message: "events come as text/event-stream: send the header Accept: text/event-stream"}}
	}
	flusher, ok := c.out.(http.Flusher)
	if !ok {
		return nil, failure{http.StatusInternalServerError, message{Message: "this connection cannot stream"}}
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	own := c.door.hub.join()
	defer c.door.hub.leave(own)
	snap := c.door.store.Snapshot()
	happened := make(chan []event)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for _, table := range []*store.Table[store.Object, any]{tables.Pods.Any(), tables.CustomObjects.Any()} {
		all.Go(func() {
			defer cancel() // one that falls behind ends the stream: the client looks again
			c.follow(ctx, snap, table, happened)
		})
	}
	c.out.Header().Set("Content-Type", "text/event-stream")
	c.out.Header().Set("Connection", "close")
	c.out.WriteHeader(http.StatusOK)
	flusher.Flush()
	c.door.hub.tell(event{"event_stream_attached", map[string]any{"remoteAddress": c.RemoteAddr}})
	defer c.door.hub.tell(event{"event_stream_detached", map[string]any{"remoteAddress": c.RemoteAddr}})
	c.stream(ctx, flusher, own, happened)
	return streamed, nil
}

// stream writes events until ctx ends.
func (c *call) stream(ctx context.Context, flusher http.Flusher, own chan event, happened chan []event) {
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	wanted := c.query()["event_type"]
	for {
		var b bytes.Buffer
		var batch []event
		select {
		case <-ctx.Done():
			return
		case e := <-own:
			batch = []event{e}
		case batch = <-happened:
		case <-alive.C:
			b.WriteString("\r\n")
		}
		for _, e := range batch {
			if len(wanted) > 0 && !slices.Contains(wanted, e.kind) {
				continue
			}
			e.body["eventType"] = e.kind
			if e.body["timestamp"] == nil {
				e.body["timestamp"] = marathon.Stamp(time.Now())
			}
			text, err := json.Marshal(e.body)
			if err != nil {
				return
			}
			b.WriteString("event: " + e.kind + "\r\ndata: ")
			b.Write(text)
			b.WriteString("\r\n\r\n")
		}
		if b.Len() == 0 {
			continue
		}
		if _, err := c.out.Write(b.Bytes()); err != nil {
			return
		}
		flusher.Flush()
	}
}

// follow turns the changes of a table that the caller may see into events.
func (c *call) follow(ctx context.Context, snap *store.Snapshot, table *store.Table[store.Object, any], out chan<- []event) {
	for e, err := range c.door.store.Events(ctx, snap.TableRev(table), table) {
		if err != nil {
			return
		}
		if !c.rights.Sees(table, e.Key()) {
			continue
		}
		batch := c.eventsOf(e)
		if len(batch) == 0 {
			continue
		}
		select {
		case out <- batch:
		case <-ctx.Done():
			return
		}
	}
}
