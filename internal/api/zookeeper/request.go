package zookeeper

import "fmt"

// The requests' types (ZooKeeper, ZooDefs.OpCode).
const (
	opExists       = 3
	opGetData      = 4
	opGetACL       = 6
	opGetChildren  = 8
	opSync         = 9
	opPing         = 11
	opGetChildren2 = 12
	opAuth         = 100
	opSetWatches   = 101
	opClose        = -11
)

// Errors (KeeperException.Code) and the events of watches (Watcher.Event.EventType).
const (
	codeNoNode       = -101
	codeBadArguments = -8
	codeNotReadOnly  = -119

	eventCreated         = 1
	eventDeleted         = 2
	eventDataChanged     = 3
	eventChildrenChanged = 4

	syncConnected = 3
	xidEvent      = -1
)

// answer answers one request. done: the client has ended its session.
func (c *conn) answer(r *reader) (done bool, err error) {
	xid, op := r.int(), r.int()
	if r.err != nil {
		return false, r.err
	}
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	w := newWriter()
	w.int(xid)
	w.long(c.tree.zxid)
	code := int32(0)
	body := newWriter()
	switch op {
	case opPing, opAuth, opClose:
	case opSetWatches:
		c.again(r)
	case opSync:
		body.string(r.string())
	case opExists, opGetData, opGetChildren, opGetChildren2, opGetACL:
		code = c.read(op, r, body)
	default:
		code = codeNotReadOnly
	}
	if r.err != nil {
		return false, fmt.Errorf("a request of type %d: %w", op, r.err)
	}
	w.int(code)
	if code == 0 {
		w.b = append(w.b, body.b[4:]...)
	}
	c.send(w.frame())
	return op == opClose, nil
}

// read answers what asks for one node. Called with the tree's lock.
func (c *conn) read(op int32, r *reader, w *writer) (code int32) {
	p := r.string()
	watch := op != opGetACL && r.bool()
	if r.err != nil || !clean(p) || watch && len(c.data)+len(c.children) >= watchesMax {
		return codeBadArguments
	}
	n := c.tree.nodes[p]
	watched := c.data
	if op == opGetChildren || op == opGetChildren2 {
		watched = c.children
	}
	if watch && (n != nil || op == opExists) {
		watched[p] = true
	}
	if n == nil {
		return codeNoNode
	}
	switch op {
	case opGetData:
		w.string(string(n.data))
	case opGetChildren, opGetChildren2:
		names := c.tree.list(p)
		w.int(int32(len(names)))
		for _, name := range names {
			w.string(name)
		}
	case opGetACL:
		w.int(1)
		w.int(1) // READ
		w.string("world")
		w.string("anyone")
	}
	if op != opGetChildren {
		c.tree.stat(w, p, n)
	}
	return 0
}

// again sets the watches of a client that has connected again, and tells it at once of
// what has changed since the zxid that it names.
func (c *conn) again(r *reader) {
	since := r.long()
	data, exist, children := r.strings(), r.strings(), r.strings()
	if len(data)+len(exist)+len(children) > watchesMax {
		r.err = fmt.Errorf("%d watches", len(data)+len(exist)+len(children))
		return
	}
	for _, p := range data {
		c.data[p] = true
		switch n := c.tree.nodes[p]; {
		case n == nil:
			c.event(p, eventDeleted)
		case n.changed > since:
			c.event(p, eventDataChanged)
		}
	}
	for _, p := range exist {
		c.data[p] = true
		if c.tree.nodes[p] != nil {
			c.event(p, eventCreated)
		}
	}
	for _, p := range children {
		c.children[p] = true
		switch n := c.tree.nodes[p]; {
		case n == nil:
			c.event(p, eventDeleted)
		case n.children > since:
			c.event(p, eventChildrenChanged)
		}
	}
}

// event tells the client of a change if it watches for it, once. Called with the tree's lock.
func (c *conn) event(p string, what int32) {
	watched := what != eventChildrenChanged && c.data[p]
	if what == eventChildrenChanged || what == eventDeleted {
		watched = watched || c.children[p]
	}
	if !watched {
		return
	}
	if what != eventChildrenChanged {
		delete(c.data, p)
	}
	if what == eventChildrenChanged || what == eventDeleted {
		delete(c.children, p)
	}
	w := newWriter()
	w.int(xidEvent)
	w.long(-1)
	w.int(0)
	w.int(what)
	w.int(syncConnected)
	w.string(p)
	c.send(w.frame())
}
