package zookeeper

import (
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// node is one node of the tree.
type node struct {
	data              []byte
	created, changed  int64 // zxids
	children          int64 // zxid of the last change of the list of children
	made, wrote       int64 // milliseconds since 1970
	version, cversion int32
}

// tree is what clients see, and who waits for a change of it.
type tree struct {
	mu    sync.Mutex
	zxid  int64
	nodes map[string]*node
	conns map[*conn]bool
}

func newTree() *tree { return &tree{nodes: map[string]*node{"/": {}}, conns: map[*conn]bool{}} }

// set makes the tree have exactly these nodes, and those above them, and tells who
// watches what changed.
func (t *tree) set(want map[string][]byte, now time.Time) {
	all := map[string][]byte{"/": nil}
	for p, data := range want {
		for up := path.Dir(p); up != "/"; up = path.Dir(up) {
			if _, ok := all[up]; !ok {
				all[up] = nil
			}
		}
		all[p] = data
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.zxid++
	ms := now.UnixMilli()
	for p := range t.nodes {
		if _, ok := all[p]; !ok {
			delete(t.nodes, p)
			t.moved(p, eventDeleted)
		}
	}
	for p, data := range all {
		switch n := t.nodes[p]; {
		case n == nil:
			t.nodes[p] = &node{data: data, created: t.zxid, changed: t.zxid, children: t.zxid, made: ms, wrote: ms}
			t.moved(p, eventCreated)
		case string(n.data) != string(data):
			n.data, n.changed, n.wrote = data, t.zxid, ms
			n.version++
			t.tell(p, eventDataChanged)
		}
	}
}

// moved notes that a node came or went.
func (t *tree) moved(p string, what int32) {
	t.tell(p, what)
	up := path.Dir(p)
	if n := t.nodes[up]; n != nil && up != p {
		n.children = t.zxid
		n.cversion++
	}
	t.tell(up, eventChildrenChanged)
}

func (t *tree) tell(p string, what int32) {
	for c := range t.conns {
		c.event(p, what)
	}
}

// list returns the names of a node's children in order.
func (t *tree) list(p string) []string {
	var names []string
	for other := range t.nodes {
		if other != "/" && path.Dir(other) == p {
			names = append(names, path.Base(other))
		}
	}
	slices.Sort(names)
	return names
}

// stat writes the node's Stat.
func (t *tree) stat(w *writer, p string, n *node) {
	for _, v := range []int64{n.created, n.changed, n.made, n.wrote} {
		w.long(v)
	}
	for _, v := range []int32{n.version, n.cversion, 0} {
		w.int(v)
	}
	w.long(0) // nobody's ephemeral
	w.int(int32(len(n.data)))
	w.int(int32(len(t.list(p))))
	w.long(n.children)
}

// clean reports whether the path is one of ZooKeeper's: absolute, without empty, "." or
// ".." parts.
func clean(p string) bool { return strings.HasPrefix(p, "/") && path.Clean(p) == p }
