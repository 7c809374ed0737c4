package schedule

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/schedule/neighbours"
	"trireme/internal/schedule/profile"
	"trireme/internal/schedule/room"
	"trireme/internal/schedule/volumes"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// cell is what the scheduler knows of all nodes.
type cell struct {
	nodes    map[string]*node
	list     []*node // the same by their slots; nil: the slot is free
	spots    []spot  // what most looks at a node need, by slot
	free     []int32 // slots
	named    []*node // in the order of their names; behind while unranked
	ranks    []int32 // by slot: how many nodes' names come before; behind while unranked
	unranked bool
	clock    uint64              // of versions: no two changes have the same
	uses     map[object.Key]*use // of pods that have a node
	kin      map[types.UID]kin   // by controller
	near     *neighbours.Index   // who is beside whom (spread.go)
	// better is near's count of what may let pods in, when it was last looked at.
	better uint64
	// frames are what nodes' rows say to classes, by what these ask of them.
	frames  map[uint64]*frame
	judged  int // how many frames keep what they found
	claimed volumes.Users
	// nominated is the room kept for pods that wait, by their keys.
	nominated map[object.Key]*use
	// priorities counts the pods with a node by priority.
	priorities map[int32]int
	freed      []string // claims that pods let go since the last look
	tenants
	lent map[string]*lent // by the offer's id
	slow map[string]bool  // frameworks, by name, that did not answer in time: no room is left to them
	// stored are the volumes that lie on nodes' disks.
	stored map[object.Key]volumes.Stored
	// improved lists the nodes that may take what they refused, in order; a class
	// remembers how far it has read. base is how many were dropped from its front.
	improved []*node
	base     int
	// changed lists the nodes that have changed, by slot, like improved; it is kept if follows.
	changed     []int32
	changedBase int
	follows     bool
	profiles    map[string]*profile.Profile             // by the names of schedulers
	services    map[string]map[string]map[string]string // selectors, by namespace and name
}

// node is one node of the cell. It exists while pods name it, with a nil row
// where the node itself is not there.
type node struct {
	name string
	slot int32 // where it is in the cell's list
	row  *corev1.Node
	seen uint64 // moves with every change of the row
	near *neighbours.Node
	room.Room
	volumes volumes.Node
	held    []*use // of the pods, in no order
	order   []*use // the same, the most important first, as they were when the spot had the version orderAt
	orderAt uint64
	lent    []*lent
	kept    []kept
	extras  object.Demand // what its agent says that it has and its row does not
	// nominated is the room that is kept here for pods that wait.
	nominated map[object.Key]*use
	guests    []*use // of a copy: for whom it has room kept
}

// kin is where the pods of one controller are: how many, by the nodes' slots.
type kin map[int32]int64

// use is what one pod takes of its node.
type use struct {
	key      object.Key
	uid      types.UID
	node     *node
	at       int // in the node's held
	demand   object.Demand
	owner    types.UID
	ports    []object.HostPort
	claims   []string         // keys
	served   []volumes.Served // the volumes behind them
	created  int64            // when the pod was made, in seconds
	priority int32
	leaving  bool // the pod is deleted, and its node has yet to let go
	tenant   *share.Node
	near     neighbours.Pod
}

func newCell(profiles []profile.Profile) *cell {
	c := &cell{
		services: map[string]map[string]map[string]string{},
		nodes:    map[string]*node{}, near: neighbours.New(ownLabels...), uses: map[object.Key]*use{}, kin: map[types.UID]kin{}, frames: map[uint64]*frame{}, claimed: volumes.Users{},
		nominated: map[object.Key]*use{}, priorities: map[int32]int{}, stored: map[object.Key]volumes.Stored{},
		tenants: newTenants(), lent: map[string]*lent{}, slow: map[string]bool{},
	}
	c.setProfiles(profiles)
	return c
}

func (c *cell) node(name string) *node {
	n := c.nodes[name]
	if n == nil {
		n = &node{name: name, Room: room.Of(), near: &neighbours.Node{}, nominated: map[object.Key]*use{}}
		c.nodes[name] = n
		c.seat(n)
	}
	return n
}

// improvedMax bounds the list of improvements; a class that has not read what
// is dropped looks at every node again.
const improvedMax = 4096

func (c *cell) improve(n *node) {
	c.touch(n)
	if len(c.improved) >= improvedMax {
		c.base += len(c.improved) / 2
		c.improved = append(c.improved[:0], c.improved[len(c.improved)/2:]...)
	}
	c.improved = append(c.improved, n)
}

// mark returns how far the list of improvements goes.
func (c *cell) mark() int { return c.base + len(c.improved) }

// setNode takes in a node's row; nil: it is gone.
func (c *cell) setNode(name string, row *corev1.Node) {
	n := c.node(name)
	n.row, n.seen = row, c.tick()
	c.near.SetNode(n.near, row)
	c.better = c.near.Better()
	c.measure(n)
	c.improve(n) // also one that is gone: what is said of the nodes changes
	c.drop(n)
}

// drop forgets a node that is gone and that no pod names.
func (c *cell) drop(n *node) {
	if n.row == nil && n.Pods == 0 && len(n.nominated) == 0 && n.volumes.Blank() && len(n.lent) == 0 {
		delete(c.nodes, n.name)
		c.unseat(n)
	}
}

// setPod takes in a pod's row; nil head: it is gone.
func (c *cell) setPod(r store.Reader, key object.Key, h *tables.PodHead) {
	old := c.uses[key]
	if h != nil && h.Node != "" && !h.Ended() {
		if old != nil && old.uid == h.UID {
			if h.Deleting {
				c.leave(old)
			}
			c.near.Relabel(&old.near, h.Labels)
			c.told(old.node)
			if !h.Demand.Equal(old.demand) {
				c.resize(old, h.Demand)
			}
			return // its node does not change once it is bound
		}
		c.release(key)
		claims := claimsOf(r, key)
		u := &use{
			key: key, uid: h.UID, demand: h.Demand, owner: h.Owner, ports: portsOf(r, key, h), claims: claims, served: volumes.ServedOf(r, claims),
			created: h.Created.Unix(), priority: h.Priority, leaving: h.Deleting, tenant: c.tenant(r, key.Namespace),
			near: c.near.Of(key.Namespace, h.Labels, asksOf(c, r, key, h)),
		}
		if u.leaving {
			c.near.Leave(&u.near)
		}
		c.take(c.node(h.Node), u)
		return
	}
	c.release(key)
}

func portsOf(r store.Reader, key object.Key, h *tables.PodHead) []object.HostPort {
	if !h.HostPorts {
		return nil
	}
	p, _ := tables.Pods.Get(r, key)
	return object.HostPorts(p)
}

func (c *cell) take(n *node, u *use) {
	u.node, u.at = n, len(n.held)
	n.held = append(n.held, u)
	c.uses[u.key] = u
	c.priorities[u.priority]++
	c.claimed.Take(u.claims)
	n.add(u, 1)
	n.volumes.Count(u.served, 1)
	c.relate(u, 1)
	c.near.Add(&u.near, n.near)
	c.charge(u.tenant, u.demand, 1)
	c.touch(n)
	c.told(n)
}

// leave notes that a pod is on its way from its node.
func (c *cell) leave(u *use) {
	if !u.leaving && len(u.node.nominated) > 0 {
		c.improve(u.node) // what is kept for others will have its room
	}
	u.leaving = true
	c.near.Leave(&u.near)
	c.told(u.node)
}

// told has those who wait look again where what pods ask of each other may let them in: wherever that is.
func (c *cell) told(n *node) {
	if now := c.near.Better(); now != c.better {
		c.better = now
		c.improve(n)
	}
}

// resize notes that a pod takes more or less of its node than it did.
func (c *cell) resize(u *use, d object.Demand) {
	u.node.add(u, -1)
	c.charge(u.tenant, u.demand, -1)
	u.demand = d
	u.node.add(u, 1)
	c.charge(u.tenant, u.demand, 1)
	c.improve(u.node)
}

func (c *cell) release(key object.Key) {
	u := c.uses[key]
	if u == nil {
		return
	}
	c.freed = append(c.freed, u.claims...)
	c.remove(u)
	c.improve(u.node)
	c.drop(u.node)
}

// remove takes a pod from its node; nobody is told that there is room.
func (c *cell) remove(u *use) {
	delete(c.uses, u.key)
	c.claimed.Free(u.claims)
	if c.priorities[u.priority]--; c.priorities[u.priority] == 0 {
		delete(c.priorities, u.priority)
	}
	n, last := u.node, len(u.node.held)-1
	n.held[u.at], n.held[last].at = n.held[last], u.at
	n.held[last], n.held = nil, n.held[:last]
	u.node.add(u, -1)
	n.volumes.Count(u.served, -1)
	c.relate(u, -1)
	c.near.Remove(&u.near)
	c.better = c.near.Better() // who tells improves the node
	c.charge(u.tenant, u.demand, -1)
	c.touch(u.node)
}

// add counts a pod in (sign 1) or out (sign -1).
func (n *node) add(u *use, sign int64) { n.Count(u.demand, u.ports, sign) }

// relate counts a pod among those of its controller (sign 1) or no more (sign -1).
func (c *cell) relate(u *use, sign int64) {
	if u.owner == "" {
		return
	}
	k := c.kin[u.owner]
	if k == nil {
		k = kin{}
		c.kin[u.owner] = k
	}
	if k[u.node.slot] += sign; k[u.node.slot] > 0 {
		return
	}
	if delete(k, u.node.slot); len(k) == 0 {
		delete(c.kin, u.owner)
	}
}
