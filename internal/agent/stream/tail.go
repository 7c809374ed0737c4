package stream

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// tail is what all followers of one log share: they hold no file of their own and are
// woken only where there is more to read.
type tail struct {
	path    string
	running func() bool
	unwatch func()
	stop    chan struct{}
	users   int // guarded by logFiles.mu

	mu      sync.Mutex
	newest  *generation // nil: the log has no file yet
	size    int64       // of the newest file
	ended   bool
	err     error
	changed chan struct{} // closed, and replaced, when any of these changes
}

// generation is one file of a log: rotating renames it, and begins another.
type generation struct {
	f     *os.File
	next  *generation // the file that came after it
	users int         // guarded by tail.mu: followers, the tail, the generation before
}

// endPoll is how often it is asked whether the container still runs: its end writes
// nothing that inotify could tell.
const endPoll = time.Second

// join returns the log's tail, which leave gives back.
func (r *logFiles) join(path string, running func() bool) (*tail, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tails[path]
	if t == nil {
		written, unwatch, err := r.watches.add(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		t = &tail{path: path, running: running, unwatch: unwatch, stop: make(chan struct{}), changed: make(chan struct{})}
		if r.tails == nil {
			r.tails = map[string]*tail{}
		}
		r.tails[path] = t
		t.refresh()
		go t.run(written)
	}
	t.users++
	return t, nil
}

func (r *logFiles) leave(t *tail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(r.tails, t.path)
		t.unwatch()
		close(t.stop)
	}
}

func (t *tail) run(written <-chan struct{}) {
	defer t.close()
	tick := time.NewTicker(endPoll)
	defer tick.Stop()
	for {
		select {
		case <-written:
		case <-tick.C:
		case <-t.stop:
			return
		}
		t.refresh()
	}
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newest.leftLocked()
	t.newest = nil
}

// refresh looks at the log and wakes the followers where that changed anything.
func (t *tail) refresh() {
	on := t.running() // before the file: what it wrote until its end is there
	t.mu.Lock()
	defer t.mu.Unlock()
	was, size, ended := t.newest, t.size, t.ended
	t.err = t.openLocked()
	t.ended = !on
	if t.newest != was || t.size != size || t.ended != ended || t.err != nil {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// openLocked opens the file that is at the path, if it is another by now.
func (t *tail) openLocked() error {
	var have os.FileInfo
	if t.newest != nil {
		var err error
		if have, err = t.newest.f.Stat(); err != nil {
			return err
		}
		t.size = have.Size()
	}
	st, err := os.Stat(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it is being rotated, or nothing was written yet
	}
	if err != nil || have != nil && os.SameFile(st, have) {
		return err
	}
	f, err := os.Open(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	next := &generation{f: f, users: 1}
	if t.newest != nil {
		t.newest.next = next
		next.users++
		t.newest.leftLocked()
	}
	t.newest, t.size = next, st.Size()
	return nil
}

// view is what a follower has to know of the log.
type view struct {
	next    *generation // to go on with, acquired; nil: none yet
	ended   bool        // nothing will be written any more
	err     error
	changed <-chan struct{}
}

// look returns what is known of the log by a follower that reads file; nil: none yet.
func (t *tail) look(file *generation) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{ended: t.ended, err: t.err, changed: t.changed}
	if v.next = t.newest; file != nil {
		v.next = file.next
	}
	if v.next != nil {
		v.next.users++
	}
	return v
}

// release gives a file back; nil is as good.
func (t *tail) release(file *generation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	file.leftLocked()
}

// leftLocked closes the file that nobody reads any more, and then lets go of what came
// after it.
func (g *generation) leftLocked() {
	for ; g != nil; g = g.next {
		if g.users--; g.users > 0 {
			return
		}
		g.f.Close()
	}
}
