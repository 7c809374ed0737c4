// Package happen turns the changes of tables into the events of docker's clients, and
// hands them to those who follow. Most events nobody asks for: they are told apart from
// the rows' heads, and written out when somebody reads them.
//
// It is bounded: the newest events are kept, and a follower that is too slow is cut. It
// is not for the HTTP side nor for filters (package docker).
//
// How to debug: `docker events --since 10m`.
package happen

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/store"
)

// Say writes an event out that happened at the time; false: it is none that docker's
// clients know.
type Say func(at time.Time) (events.Message, bool)

// Message returns an event.
func Message(of events.Type, action events.Action, actor events.Actor, scope string, at time.Time) events.Message {
	return events.Message{Type: of, Action: action, Actor: actor, Scope: scope, Time: at.Unix(), TimeNano: at.UnixNano()}
}

// What is kept of what happened, and how far a follower may be behind.
const (
	keptMax     = 1024
	followedMax = 1024
)

// Table is any of package tables.
type Table interface {
	ID() store.TableID
	GVK() schema.GroupVersionKind
}

// Happening is an event, told apart from others without being written out: most of them
// nobody asks for.
type Happening struct {
	At    time.Time
	Table Table      // of the object that it is of
	Key   object.Key // the same
	say   Say
	once  sync.Once
	msg   events.Message
	known bool
	line  []byte
}

// Message returns it, as docker's clients know it; false: it is none that they do.
func (h *Happening) Message() (events.Message, bool) {
	h.once.Do(func() {
		if h.msg, h.known = h.say(h.At); h.known {
			h.line, _ = json.Marshal(h.msg) // strings and numbers alone
			h.line = append(h.line, '\n')
		}
	})
	return h.msg, h.known
}

// Line returns it as a line of JSON, shared; nil where Message says false.
func (h *Happening) Line() []byte {
	h.Message()
	return h.line
}

// Hub hands what happens to those who follow.
type Hub struct {
	mu        sync.Mutex
	followers map[chan *Happening]bool
	kept      []*Happening
}

// NewHub returns one that nobody follows.
func NewHub() *Hub { return &Hub{followers: map[chan *Happening]bool{}} }

// Join returns what was and, in the channel, what comes. The channel is closed on a
// follower that is too slow.
func (h *Hub) Join() ([]*Happening, chan *Happening) {
	ch := make(chan *Happening, followedMax)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.followers[ch] = true
	return slices.Clone(h.kept), ch
}

// Leave ends a following.
func (h *Hub) Leave(ch chan *Happening) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.followers, ch)
}

// Tell hands on what happens now.
func (h *Hub) Tell(t Table, key object.Key, say Say) {
	x := &Happening{At: time.Now(), Table: t, Key: key, say: say}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.kept) >= keptMax {
		h.kept = slices.Clone(h.kept[keptMax/4:])
	}
	h.kept = append(h.kept, x)
	for ch := range h.followers {
		select {
		case ch <- x:
		default:
			delete(h.followers, ch)
			close(ch)
		}
	}
}
