package allocate

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"time"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// subnetBits is the size of a node's subnet: 253 pods beside the gateway.
const subnetBits = 24

// nodes is the loop that gives each node its pod subnet.
type nodes struct {
	cidr netip.Prefix
	used map[netip.Prefix]string // by node
	held map[string]netip.Prefix
	lack map[string]bool // nodes without a subnet
	next uint32          // index of the subnet to try next
}

func newNodes(cfg Config) *nodes { return &nodes{cidr: cfg.PodCIDR} }

func (l *nodes) Name() string            { return "allocate/nodes" }
func (l *nodes) Reads() []store.TableID  { return []store.TableID{tables.Nodes.ID()} }
func (l *nodes) Writes() []store.TableID { return []store.TableID{tables.Nodes.ID()} }

// Reconcile gives subnets to the nodes that have none.
func (l *nodes) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.used, l.held, l.lack = map[netip.Prefix]string{}, map[string]netip.Prefix{}, map[string]bool{}
	}
	for key := range tables.Nodes.Changed(tx) {
		n, ok := tables.Nodes.Get(tx, key)
		// A node may be another of the same name than the one that was seen.
		delete(l.used, l.held[key.Name])
		delete(l.held, key.Name)
		delete(l.lack, key.Name)
		switch {
		case !ok:
		case n.Spec.PodCIDR == "":
			l.lack[key.Name] = true
		default:
			if p, err := netip.ParsePrefix(n.Spec.PodCIDR); err == nil {
				l.used[p], l.held[key.Name] = key.Name, p
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.lack)) {
		p, ok := l.free()
		if !ok {
			break // every subnet is taken: one that is freed serves the rest
		}
		old, _ := tables.Nodes.Get(tx, keyOf("", name))
		next := *old
		next.Spec.PodCIDR, next.Spec.PodCIDRs = p.String(), []string{p.String()}
		tables.Nodes.Put(tx, &next)
		l.used[p], l.held[name] = name, p
		delete(l.lack, name)
	}
	return time.Time{}, nil
}

func (l *nodes) free() (netip.Prefix, bool) {
	count := uint32(1) << (subnetBits - min(l.cidr.Bits(), subnetBits))
	base := binary.BigEndian.Uint32(l.cidr.Addr().AsSlice())
	for range count {
		i := l.next % count
		l.next = i + 1
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], base+i<<(32-subnetBits))
		if p := netip.PrefixFrom(netip.AddrFrom4(b), subnetBits); l.used[p] == "" {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
