package peergroup

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/peers"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of peer groups.
type Loop struct {
	policies map[object.Key][]string // IDs of the groups that policies name
	groups   map[string]*group
	near     map[string]map[*group]bool // by namespace: the groups that may have members there
	dirty    map[object.Key]bool        // rows
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/peergroups" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.NetworkPolicies.ID(), tables.Namespaces.ID(), tables.Pods.ID(), tables.PeerGroups.ID()}
}

func (l *Loop) Writes() []store.TableID { return []store.TableID{tables.PeerGroups.ID()} }

func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		*l = Loop{map[object.Key][]string{}, map[string]*group{}, map[string]map[*group]bool{}, map[object.Key]bool{}}
	}
	for key := range tables.NetworkPolicies.Changed(tx) {
		l.observePolicy(tx, key)
	}
	for key := range tables.Namespaces.Changed(tx) {
		l.observeNamespace(tx, key.Name)
	}
	for key := range tables.Pods.Changed(tx) {
		row, ok := tables.Pods.Row(tx, key)
		for g := range l.near[key.Namespace] {
			l.take(g, key, row, ok)
		}
	}
	for key := range tables.PeerGroups.Changed(tx) {
		l.dirty[key] = true
	}
	for i, key := range object.SortedKeys(l.dirty) {
		if i == loop.StepWritesMax {
			break
		}
		delete(l.dirty, key)
		l.write(tx, key)
	}
	return time.Time{}, nil
}

// observePolicy takes in a policy that changed.
func (l *Loop) observePolicy(tx *store.Tx, key object.Key) {
	was := l.policies[key]
	delete(l.policies, key)
	if np, ok := tables.NetworkPolicies.Get(tx, key); ok {
		p := peers.Read(np)
		for id, g := range p.Groups() {
			l.policies[key] = append(l.policies[key], id)
			if l.groups[id] == nil {
				l.add(tx, id, g)
			}
			l.groups[id].users++
		}
	}
	for _, id := range was {
		g := l.groups[id]
		if g.users--; g.users > 0 {
			continue
		}
		delete(l.groups, id)
		for ns, near := range l.near {
			if delete(near, g); len(near) == 0 {
				delete(l.near, ns)
			}
		}
		for node := range g.members {
			l.dirty[object.Key{Namespace: id, Name: node}] = true
		}
	}
}

// add makes a group and finds its members.
func (l *Loop) add(tx *store.Tx, id string, is peers.Group) {
	g := &group{Group: is, id: id, at: map[object.Key]string{}, members: map[string]map[object.Key][]peers.Member{}}
	l.groups[id] = g
	if is.Namespaces == nil {
		l.enter(tx, g, is.Namespace)
		return
	}
	for ns := range tables.Namespaces.All(tx) {
		if is.Within(ns.Name, ns.Labels) {
			l.enter(tx, g, ns.Name)
		}
	}
}

// enter looks for members in a namespace, from now on.
func (l *Loop) enter(tx *store.Tx, g *group, namespace string) {
	if l.near[namespace] == nil {
		l.near[namespace] = map[*group]bool{}
	}
	l.near[namespace][g] = true
	if tx.FullPass() {
		return // every pod is looked at anyway
	}
	for row := range tables.Pods.Rows(tx, namespace) {
		l.take(g, row.Key(), row, true)
	}
}

// observeNamespace takes in a namespace whose labels may have changed.
func (l *Loop) observeNamespace(tx *store.Tx, name string) {
	var labels map[string]string
	ns, ok := tables.Namespaces.Get(tx, object.Key{Name: name})
	if ok {
		labels = ns.Labels
	}
	for _, id := range slices.Sorted(maps.Keys(l.groups)) {
		g := l.groups[id]
		if g.Namespaces == nil {
			continue
		}
		switch is, was := ok && g.Within(name, labels), l.near[name][g]; {
		case is && !was:
			l.enter(tx, g, name)
		case was && !is:
			delete(l.near[name], g)
			for pod := range g.at {
				if pod.Namespace == name {
					l.put(g, pod, "", nil)
				}
			}
		}
	}
}

// write brings a row in line with what its group has on its node.
func (l *Loop) write(tx *store.Tx, key object.Key) {
	var want []peers.Member
	if g := l.groups[key.Namespace]; g != nil {
		for _, of := range g.members[key.Name] {
			want = append(want, of...)
		}
	}
	slices.SortFunc(want, peers.Member.Compare)
	want = slices.Compact(want)
	have, ok := tables.PeerGroups.Get(tx, key)
	switch {
	case len(want) == 0 && ok:
		tables.PeerGroups.Delete(tx, key)
	case len(want) > 0 && (!ok || !slices.Equal(have.Members, want)):
		next := &peers.Part{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Members: want}
		if ok {
			next.ObjectMeta = *have.ObjectMeta.DeepCopy()
		}
		tables.PeerGroups.Put(tx, next)
	}
}
