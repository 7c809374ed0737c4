package stream

import (
	"slices"
	"sync"

	"k8s.io/client-go/tools/remotecommand"
)

// Attachments are the sessions of clients that are attached, by the id of their container.
type Attachments struct {
	mu   sync.Mutex
	all  map[string][]*Session
	free func(id string) // a container has no reader any more
}

// NewAttachments returns none. free is told of containers that have no reader any more.
func NewAttachments(free func(id string)) *Attachments {
	return &Attachments{all: map[string][]*Session{}, free: free}
}

// Join adds a session; leave with the result.
func (a *Attachments) Join(id string, s *Session) (leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[id] = append(a.all[id], s)
	return func() {
		if a.leave(id, s) {
			a.free(id)
		}
	}
}

// leave reports whether it was the last session of the container.
func (a *Attachments) leave(id string, s *Session) (last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[id] = slices.DeleteFunc(a.all[id], func(other *Session) bool { return other == s })
	if last = len(a.all[id]) == 0; last {
		delete(a.all, id)
	}
	return last
}

// End ends all sessions of the container.
func (a *Attachments) End(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.all[id] {
		s.end()
	}
}

// Read reports whether somebody reads of the container.
func (a *Attachments) Read(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all[id]) > 0
}

// Resize sets the size of all terminals that are attached to the container.
func (a *Attachments) Resize(id string, s remotecommand.TerminalSize) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.all[id] {
		one.Terminal.Resize(s)
	}
}
