package stream

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watches tells followers when something happens in a folder of logs. However many
// follow, it is one inotify instance, of which a user has 128 (inotify(7),
// max_user_instances), and one watch a folder. The zero value watches nothing.
type watches struct {
	mu      sync.Mutex
	inotify *fsnotify.Watcher // nil: nobody follows
	folders map[string]map[chan<- struct{}]bool
}

// add returns what has an element after something happened in the folder, and what ends
// that.
func (w *watches) add(folder string) (<-chan struct{}, func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inotify == nil {
		inotify, err := fsnotify.NewWatcher()
		if err != nil {
			return nil, nil, fmt.Errorf("watching logs: %w", err)
		}
		w.inotify, w.folders = inotify, map[string]map[chan<- struct{}]bool{}
		go w.run(inotify)
	}
	if w.folders[folder] == nil {
		if err := w.inotify.Add(folder); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("watching the folder of a log: %w", err), w.closeUnused())
		}
		w.folders[folder] = map[chan<- struct{}]bool{}
	}
	c := make(chan struct{}, 1)
	w.folders[folder][c] = true
	return c, func() { w.remove(folder, c) }, nil
}

func (w *watches) remove(folder string, c chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.folders[folder], c); len(w.folders[folder]) > 0 {
		return
	}
	delete(w.folders, folder)
	// The kernel's watch has ended already where the folder is gone, and ends with the
	// instance.
	_ = w.inotify.Remove(folder)
	_ = w.closeUnused()
}

// closeUnused lets the instance go when nobody follows.
func (w *watches) closeUnused() error {
	if len(w.folders) > 0 {
		return nil
	}
	inotify := w.inotify
	w.inotify = nil
	return inotify.Close()
}

// run passes on what the instance says until it is closed. Where the kernel lost events
// all are told.
func (w *watches) run(inotify *fsnotify.Watcher) {
	for {
		select {
		case e, ok := <-inotify.Events:
			if !ok {
				return
			}
			w.tell(inotify, filepath.Dir(e.Name))
		case _, ok := <-inotify.Errors:
			if !ok {
				return
			}
			w.tell(inotify, "")
		}
	}
}

// tell tells the folder's followers, all of them where it is empty.
func (w *watches) tell(from *fsnotify.Watcher, folder string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if from != w.inotify {
		return // it was closed meanwhile, and others follow again
	}
	if folder != "" {
		wake(w.folders[folder])
		return
	}
	for _, followers := range w.folders {
		wake(followers)
	}
}

func wake(followers map[chan<- struct{}]bool) {
	for c := range followers {
		select {
		case c <- struct{}{}:
		default: // it has yet to look
		}
	}
}
