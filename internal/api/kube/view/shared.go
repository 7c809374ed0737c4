package view

import (
	"bytes"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"trireme/internal/store"
)

// sharedMax is how many of the latest events of a table keep what was encoded of
// them. A watcher that is further behind encodes for itself.
const sharedMax = 256

// sharing gives all watchers of a table the same object for the same event, so
// that it is decoded once and each form that they ask for is encoded once.
type sharing struct {
	mu     sync.Mutex
	byRev  map[store.Rev]*told
	recent [sharedMax]store.Rev // a ring
	next   int
}

// of returns what is kept of the event.
func (s *sharing) of(e *store.Event) *told {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.byRev[e.Rev]; ok {
		return t
	}
	t := &told{event: e}
	if e.Rev <= s.recent[s.next] { // older than all that is kept
		return t
	}
	if s.byRev == nil {
		s.byRev = map[store.Rev]*told{}
	}
	delete(s.byRev, s.recent[s.next])
	s.recent[s.next] = e.Rev
	s.next = (s.next + 1) % sharedMax
	s.byRev[e.Rev] = t
	return t
}

// told is an event that many watchers are sent.
type told struct {
	event *store.Event

	mu     sync.Mutex
	object *shared // nil: nobody has asked for it
	wires  map[wire]*form
}

// shared returns the event's object, as it is after the write.
func (t *told) shared() *shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.object == nil {
		t.object = &shared{Object: t.event.Object()}
	}
	return t.object
}

// framed returns the event as it goes to clients: from what is stored, where that is
// what they read.
func (t *told) framed(media string, as watch.EventType, in Encoding) ([]byte, error) {
	k := wire{media, as}
	t.mu.Lock()
	if t.wires == nil {
		t.wires = map[wire]*form{}
	}
	f := t.wires[k]
	if f == nil {
		f = &form{}
		t.wires[k] = f
	}
	t.mu.Unlock()
	f.once.Do(func() {
		if row, ok := t.event.Row(); ok && in.Stored != nil {
			if f.b = in.Stored(as, row.Stored()); f.b != nil {
				return
			}
		}
		f.b, f.err = in.Encode(as, t.shared().GetObject())
	})
	return f.b, f.err
}

// shared is an object that many watchers are sent. It implements
// runtime.CacheableObject: the library's encoders ask it for its forms.
type shared struct {
	store.Object // not to be changed: GetObject gives a copy

	mu    sync.Mutex
	forms map[runtime.Identifier]*form
}

// wire is what a client reads: an event of a type in a media type.
type wire struct {
	media string
	t     watch.EventType
}

// form is one encoding, made by the first who asks.
type form struct {
	once sync.Once
	b    []byte
	err  error
}

// GetObject implements runtime.CacheableObject.
func (s *shared) GetObject() runtime.Object { return shallow(s.Object) }

// CacheEncode implements runtime.CacheableObject.
func (s *shared) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	s.mu.Lock()
	if s.forms == nil {
		s.forms = map[runtime.Identifier]*form{}
	}
	f := s.forms[id]
	if f == nil {
		f = &form{}
		s.forms[id] = f
	}
	s.mu.Unlock()
	f.once.Do(func() {
		var b bytes.Buffer
		f.err = encode(s.GetObject(), &b)
		f.b = b.Bytes()
	})
	if f.err != nil {
		return f.err
	}
	_, err := w.Write(f.b)
	return err
}
