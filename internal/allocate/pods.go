package allocate

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// pods is the loop that gives a pod its addresses once it has a node. A pod has one
// number on its node, and the address of that number in each of the node's subnets.
type pods struct {
	subnets map[string]*subnet // by node
	held    map[object.Key]held
}

// subnet is the addresses of one node. A node that is not there yet, or has no
// subnet yet, has no prefixes and pods that wait.
type subnet struct {
	foreign  bool // CNI plugins give the pods on it their addresses
	prefixes []netip.Prefix
	node     []netip.Addr // its own addresses, for pods on its network
	used     [256]bool
	next     byte
	waiting  map[object.Key]bool
}

type held struct {
	node string
	host byte // the addresses' last byte; 0: none of the subnets'
}

func newPods() *pods { return &pods{} }

func keyOf(ns, name string) object.Key { return object.Key{Namespace: ns, Name: name} }

func (l *pods) Name() string { return "allocate/pods" }

func (l *pods) Reads() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.Nodes.ID()}
}

func (l *pods) Writes() []store.TableID { return []store.TableID{tables.Pods.ID()} }

// Reconcile takes in what changed and then serves the nodes where pods wait.
func (l *pods) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.subnets, l.held = map[string]*subnet{}, map[object.Key]held{}
	}
	touched := map[string]bool{}
	for key := range tables.Nodes.Changed(tx) {
		n, _ := tables.Nodes.Get(tx, key)
		l.setNode(key.Name, n)
		touched[key.Name] = true
	}
	for key := range tables.Pods.Changed(tx) {
		row, ok := tables.Pods.Row(tx, key)
		var h *tables.PodHead
		if ok {
			h = row.Head()
		}
		if node := l.setPod(key, h); node != "" {
			touched[node] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(touched)) {
		l.serve(tx, l.subnets[name])
	}
	return time.Time{}, nil
}

func (l *pods) subnet(name string) *subnet {
	s := l.subnets[name]
	if s == nil {
		s = &subnet{waiting: map[object.Key]bool{}}
		l.subnets[name] = s
	}
	return s
}

func (l *pods) setNode(name string, n *corev1.Node) {
	s := l.subnet(name)
	s.prefixes, s.node, s.foreign = nil, nil, false
	if n == nil {
		return
	}
	s.foreign = object.PluginAddresses(n)
	for _, c := range podCIDRs(n) {
		if p, err := netip.ParsePrefix(c); err == nil {
			s.prefixes = append(s.prefixes, p)
		}
	}
	s.node = object.NodeAddresses(n)
}

func podCIDRs(n *corev1.Node) []string {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		return []string{n.Spec.PodCIDR}
	}
	return n.Spec.PodCIDRs
}

// setPod takes in a pod's row; nil: it is gone. It returns the node to serve,
// empty where nothing waits because of it.
func (l *pods) setPod(key object.Key, h *tables.PodHead) string {
	was, had := l.held[key]
	if h == nil || h.Node == "" || h.Ended() {
		if !had {
			return ""
		}
		s := l.subnet(was.node)
		s.used[was.host] = false
		delete(s.waiting, key)
		delete(l.held, key)
		return was.node
	}
	s := l.subnet(h.Node)
	if h.IP == "" {
		if had { // another pod of the name, made in the same tick: the old one's address is free
			old := l.subnet(was.node)
			old.used[was.host] = false
			delete(old.waiting, key)
		}
		s.waiting[key] = true
		l.held[key] = held{node: h.Node}
		return h.Node
	}
	delete(s.waiting, key)
	if had && was.host != 0 {
		return ""
	}
	now := held{node: h.Node}
	if a, err := netip.ParseAddr(h.IP); err == nil && !slices.Contains(s.node, a) {
		b := a.AsSlice()
		now.host = b[len(b)-1]
		s.used[now.host] = true
	}
	l.held[key] = now
	return ""
}

// serve gives addresses to the pods that wait on one node, in key order.
func (l *pods) serve(tx *store.Tx, s *subnet) {
	if len(s.waiting) == 0 {
		return
	}
	for _, key := range sortedKeys(s.waiting) {
		p, ok := tables.Pods.Get(tx, key)
		if !ok {
			delete(s.waiting, key)
			continue
		}
		addrs, host := s.node, byte(0)
		switch {
		case p.Spec.HostNetwork:
		case s.foreign:
			continue // the node reports them
		default:
			addrs, host = s.free()
		}
		if len(addrs) == 0 {
			continue // the node has no subnet yet, or it is full: an address that is freed serves it
		}
		s.used[host] = host != 0
		delete(s.waiting, key)
		l.held[key] = held{l.held[key].node, host}
		next := *p
		next.Status.PodIPs = nil
		for _, a := range addrs {
			next.Status.PodIPs = append(next.Status.PodIPs, corev1.PodIP{IP: a.String()})
		}
		next.Status.PodIP = addrs[0].String()
		if p.Spec.HostNetwork {
			next.Status.HostIP, next.Status.HostIPs = next.Status.PodIP, nil
			for _, ip := range next.Status.PodIPs {
				next.Status.HostIPs = append(next.Status.HostIPs, corev1.HostIP(ip))
			}
		}
		tables.Pods.Put(tx, &next)
	}
}

func compareKeys(a, b object.Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// The addresses of a subnet that no pod gets: the network, the gateway, the
// broadcast address.
const (
	hostMin = 2
	hostMax = 254
)

func (s *subnet) free() ([]netip.Addr, byte) {
	if len(s.prefixes) == 0 {
		return nil, 0
	}
	for range hostMax - hostMin + 1 {
		if s.next < hostMin || s.next > hostMax {
			s.next = hostMin
		}
		h := s.next
		s.next++
		if !s.used[h] {
			return s.at(h), h
		}
	}
	return nil, 0
}

// at returns the addresses of a number.
func (s *subnet) at(host byte) (all []netip.Addr) {
	for _, p := range s.prefixes {
		b := p.Addr().AsSlice()
		b[len(b)-1] = host
		a, _ := netip.AddrFromSlice(b)
		all = append(all, a)
	}
	return all
}
