package allocate

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// subnetBits is the size of a node's subnet: 253 pods beside the gateway.
func subnetBits(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 24
	}
	return 64
}

// nodes is the loop that gives each node its pod subnets. A node has one number, and
// the subnet of that number in each of the pod networks.
type nodes struct {
	cidrs []netip.Prefix
	used  map[uint32]string // by number
	held  map[string]uint32
	lack  map[string]bool // nodes without a subnet of every family
	next  uint32          // the number to try next
}

func newNodes(cfg Config) *nodes { return &nodes{cidrs: cfg.PodCIDRs} }

func (l *nodes) Name() string            { return "allocate/nodes" }
func (l *nodes) Reads() []store.TableID  { return []store.TableID{tables.Nodes.ID()} }
func (l *nodes) Writes() []store.TableID { return []store.TableID{tables.Nodes.ID()} }

// Reconcile gives subnets to the nodes that lack some.
func (l *nodes) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.used, l.held, l.lack = map[uint32]string{}, map[string]uint32{}, map[string]bool{}
	}
	for key := range tables.Nodes.Changed(tx) {
		n, _ := tables.Nodes.Get(tx, key)
		l.take(key.Name, n)
	}
	for _, name := range slices.Sorted(maps.Keys(l.lack)) {
		number, ok := l.held[name]
		if !ok {
			number, ok = l.free()
		}
		if !ok {
			continue // every subnet is taken: one that is freed serves the rest
		}
		old, _ := tables.Nodes.Get(tx, keyOf("", name))
		next := *old
		next.Spec.PodCIDRs = nil
		for _, p := range l.cidrs {
			next.Spec.PodCIDRs = append(next.Spec.PodCIDRs, subnetAt(p, number).String())
		}
		next.Spec.PodCIDR = next.Spec.PodCIDRs[0]
		tables.Nodes.Put(tx, &next)
		l.used[number], l.held[name] = name, number
		delete(l.lack, name)
	}
	return time.Time{}, nil
}

// take takes in a node; nil: it is gone. A node of before the cluster had a second
// family keeps its number, and lacks the second subnet.
func (l *nodes) take(name string, n *corev1.Node) {
	if number, ok := l.held[name]; ok { // a node may be another of the same name than the one that was seen
		delete(l.used, number)
		delete(l.held, name)
	}
	delete(l.lack, name)
	switch {
	case n == nil:
	case n.Spec.PodCIDR == "":
		l.lack[name] = true
	default:
		p, err := netip.ParsePrefix(n.Spec.PodCIDR)
		if err != nil || !l.cidrs[0].Overlaps(p) || p.Bits() != subnetBits(p) {
			return // somebody else's choice
		}
		number := numberOf(l.cidrs[0], p)
		l.used[number], l.held[name] = name, number
		l.lack[name] = len(n.Spec.PodCIDRs) < len(l.cidrs)
		if !l.lack[name] {
			delete(l.lack, name)
		}
	}
}

func (l *nodes) free() (uint32, bool) {
	count := uint32(1) << 31
	for _, p := range l.cidrs {
		count = min(count, 1<<min(31, max(0, subnetBits(p)-p.Bits())))
	}
	for range count {
		i := l.next % count
		l.next = i + 1
		if l.used[i] == "" {
			return i, true
		}
	}
	return 0, false
}

// subnetAt returns the subnet of that number.
func subnetAt(p netip.Prefix, number uint32) netip.Prefix {
	b := p.Masked().Addr().AsSlice()
	bits := subnetBits(p)
	for i := bits/8 - 1; i >= 0 && number > 0; i-- {
		sum := uint32(b[i]) + number&0xff
		b[i] = byte(sum)
		number = number>>8 + sum>>8
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, bits)
}

// numberOf is the inverse of subnetAt.
func numberOf(p, subnet netip.Prefix) (number uint32) {
	base, b := p.Masked().Addr().AsSlice(), subnet.Addr().AsSlice()
	for i := range subnetBits(p) / 8 {
		number = number<<8 + uint32(b[i]) - uint32(base[i])
	}
	return number
}
