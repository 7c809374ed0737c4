package allocate

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/family"
	"trireme/internal/object/floating"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// floats is the loop that gives FloatingIPs their addresses. An address stays as
// long as the spec allows it; one that was freed goes to whoever waits, by key.
type floats struct {
	cfg   Config
	ips   map[object.Key]*floating.IP
	nodes map[string][]netip.Addr // addresses that no pool may give out
	pools []offer
}

// offer is an AddressPool as it can be given out.
type offer struct {
	name   string
	isDef  bool
	ranges []floating.Range
	fault  error // why it can not
}

func (l *floats) Name() string { return "allocate/floating" }

func (l *floats) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Nodes.ID()}
}

func (l *floats) Writes() []store.TableID { return []store.TableID{tables.CustomObjects.ID()} }

// Reconcile looks at every FloatingIP where one, a pool or a node's address changed.
func (l *floats) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.ips, l.nodes, l.pools = map[object.Key]*floating.IP{}, map[string][]netip.Addr{}, nil
	}
	if !l.take(tx) {
		return time.Time{}, nil
	}
	used := map[netip.Addr]object.Key{}
	wants := map[object.Key]grant{}
	for _, key := range object.SortedKeys(l.ips) {
		ip := l.ips[key]
		g := l.keep(ip)
		if g.addr.IsValid() {
			if _, taken := used[g.addr]; taken {
				g = grant{} // two of one address: restored from elsewhere
			} else {
				used[g.addr] = key
			}
		}
		wants[key] = g
	}
	for _, key := range object.SortedKeys(l.ips) {
		g := wants[key]
		if !g.addr.IsValid() {
			if g = l.give(key, l.ips[key], used); g.addr.IsValid() {
				used[g.addr] = key
			}
		}
		if err := l.write(tx, key, g); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, nil
}

// take takes in what changed and reports whether anything of ours did.
func (l *floats) take(tx *store.Tx) (changed bool) {
	for key := range tables.Nodes.Changed(tx) {
		var has []netip.Addr
		if n, ok := tables.Nodes.Get(tx, key); ok {
			has = object.NodeAddresses(n)
		}
		if !slices.Equal(l.nodes[key.Name], has) {
			l.nodes[key.Name], changed = has, true
		}
	}
	again := false
	for at := range tables.CustomObjects.Changed(tx) {
		if key, ok := tables.FloatingIPKey(at); ok {
			ip, there := tables.FloatingIP(tx, key)
			if l.ips[key] = ip; !there {
				delete(l.ips, key)
			}
			changed = true
		} else if p := tables.ParseCustomKey(at); p.Group == floating.Pools.Group && p.Plural == floating.Pools.Resource {
			again = true
		}
	}
	if again {
		l.readPools(tx)
	}
	return changed || again
}

func (l *floats) readPools(tx *store.Tx) {
	l.pools = nil
	for p := range tables.AddressPools(tx) {
		if p.DeletionTimestamp != nil {
			continue
		}
		next := offer{name: p.Name, isDef: p.Spec.Default}
		next.ranges, next.fault = p.Ranges()
		for _, r := range next.ranges {
			for name, all := range map[string][]netip.Prefix{"pods": l.cfg.PodCIDRs, "services": l.cfg.ServiceCIDRs} {
				for _, n := range all {
					if r.Overlaps(n) {
						next.fault = fmt.Errorf("spec.addresses: %s-%s is part of %s, the network of %s: give the pool other addresses", r.First, r.Last, n, name)
					}
				}
			}
		}
		l.pools = append(l.pools, next)
	}
}

// grant is an address, or why there is none.
type grant struct {
	addr            netip.Addr
	reason, message string
}

// keep returns the address that the FloatingIP has, if its spec still allows it.
func (l *floats) keep(ip *floating.IP) grant {
	addr := ip.Held()
	if !addr.IsValid() || !suits(ip.Spec.IPFamily, addr) {
		return grant{}
	}
	if wish, err := floating.ParseAddr(ip.Spec.Address); ip.Spec.Address != "" && (err != nil || wish != addr) {
		return grant{}
	}
	for _, p := range l.pools {
		if p.fault == nil && (ip.Spec.Pool == "" || ip.Spec.Pool == p.name) && p.contains(addr) {
			return granted(addr, p)
		}
	}
	return grant{}
}

// suits reports whether an address is of the family that is asked for.
func suits(f corev1.IPFamily, a netip.Addr) bool { return f == "" || f == family.Of(a) }

func granted(addr netip.Addr, p offer) grant {
	return grant{addr, "Allocated", fmt.Sprintf("%s is of pool %s", addr, p.name)}
}

func (p offer) contains(a netip.Addr) bool {
	return slices.ContainsFunc(p.ranges, func(r floating.Range) bool { return r.Contains(a) })
}

// of returns the pool's ranges of a family; empty: of all.
func (p offer) of(f corev1.IPFamily) (out []floating.Range) {
	for _, r := range p.ranges {
		if suits(f, r.First) {
			out = append(out, r)
		}
	}
	return out
}

// give chooses an address for a FloatingIP that has none.
func (l *floats) give(key object.Key, ip *floating.IP, used map[netip.Addr]object.Key) grant {
	wish, err := floating.ParseAddr(ip.Spec.Address)
	if ip.Spec.Address != "" && err != nil {
		return grant{reason: "AddressInvalid", message: fmt.Sprintf("spec.address: %v", err)}
	}
	f := ip.Spec.IPFamily
	if wish.IsValid() && !suits(f, wish) {
		return grant{reason: "AddressInvalid", message: fmt.Sprintf("spec.address: %s is no address of spec.ipFamily %s", wish, f)}
	}
	p, none := l.choose(ip.Spec.Pool, wish, f)
	switch {
	case p == nil:
		return none
	case p.fault != nil:
		return grant{reason: "PoolInvalid", message: fmt.Sprintf("pool %s: %v", p.name, p.fault)}
	case wish.IsValid() && !p.contains(wish):
		return grant{reason: "AddressOutsidePool", message: fmt.Sprintf("spec.address: %s is not among the addresses of pool %s", wish, p.name)}
	case wish.IsValid():
		if by := l.taken(wish, used); by != "" {
			return grant{reason: "AddressTaken", message: fmt.Sprintf("spec.address: %s belongs to %s", wish, by)}
		}
		return granted(wish, *p)
	case len(p.of(f)) == 0:
		return grant{reason: "PoolWithoutFamily", message: fmt.Sprintf("pool %s has no %s addresses: add some to its spec.addresses, or name another pool", p.name, f)}
	}
	addr, ok := l.free(p.of(f), hash(key.String()), used)
	if !ok {
		return grant{reason: "PoolExhausted", message: fmt.Sprintf("every %saddress of pool %s is taken: add addresses to it, or release a floating IP (`trireme fip ls -A`)", spaced(f), p.name)}
	}
	return granted(addr, *p)
}

// spaced returns the family as it stands before a noun.
func spaced(f corev1.IPFamily) string {
	if f == "" {
		return ""
	}
	return string(f) + " "
}

// choose returns the pool that is meant, or why there is none.
func (l *floats) choose(name string, wish netip.Addr, f corev1.IPFamily) (*offer, grant) {
	var byDefault *offer // has addresses of the family, if one does
	for i := range l.pools {
		p := &l.pools[i]
		switch {
		case name != "" && p.name == name, name == "" && wish.IsValid() && p.contains(wish):
			return p, grant{}
		case p.isDef && (byDefault == nil || len(byDefault.of(f)) == 0 && len(p.of(f)) > 0):
			byDefault = p
		}
	}
	switch {
	case name != "":
		return nil, grant{reason: "PoolNotFound", message: fmt.Sprintf("there is no AddressPool %s (`trireme kubectl get addresspools` lists them)", name)}
	case wish.IsValid():
		return nil, grant{reason: "AddressOutsidePool", message: fmt.Sprintf("no AddressPool has the address %s (`trireme kubectl get addresspools` lists them)", wish)}
	case byDefault != nil:
		return byDefault, grant{}
	}
	return nil, grant{reason: "NoDefaultPool", message: "no AddressPool is the default one: name one in spec.pool, or set spec.default of one to true"}
}

// taken says who has the address, empty: nobody.
func (l *floats) taken(a netip.Addr, used map[netip.Addr]object.Key) string {
	if by, ok := used[a]; ok {
		return "floating IP " + by.String()
	}
	for name, has := range l.nodes {
		if slices.Contains(has, a) {
			return "node " + name
		}
	}
	return ""
}

// free returns an address of the ranges that nobody has. The search starts at a
// place that depends on who asks, so that who comes back finds its address again,
// and one that was just freed is rarely the next to be given out.
func (l *floats) free(ranges []floating.Range, start uint32, used map[netip.Addr]object.Key) (netip.Addr, bool) {
	count := uint64(0)
	for _, r := range ranges {
		count += r.Size()
	}
	for i := range count {
		at := (uint64(start) + i) % count
		for _, r := range ranges {
			if at >= r.Size() {
				at -= r.Size()
				continue
			}
			if a := r.At(at); l.taken(a, used) == "" {
				return a, true
			}
			break
		}
	}
	return netip.Addr{}, false
}

// write writes what the FloatingIP got, if that is news.
func (l *floats) write(tx *store.Tx, key object.Key, g grant) error {
	old := l.ips[key]
	c := metav1.Condition{
		Type: floating.Allocated, Status: metav1.ConditionTrue, Reason: g.reason, Message: g.message,
		ObservedGeneration: old.Generation, LastTransitionTime: metav1.NewTime(tx.Now().Truncate(time.Second)),
	}
	address := ""
	if g.addr.IsValid() {
		address = g.addr.String()
	} else {
		c.Status = metav1.ConditionFalse
	}
	next := old.DeepCopyObject().(*floating.IP)
	if !meta.SetStatusCondition(&next.Status.Conditions, c) && old.Status.Address == address {
		return nil
	}
	next.Status.Address = address
	l.ips[key] = next
	return tables.PutFloatingIP(tx, next)
}

// ingress returns the addresses of pools that the service has, none while it waits.
func ingress(tx *store.Tx, svc *corev1.Service) (out []corev1.LoadBalancerIngress) {
	vip := corev1.LoadBalancerIPModeVIP
	for _, f := range family.OfService(svc) {
		ip, ok := tables.FloatingIP(tx, floating.ForService(object.KeyOf(svc), f))
		if ok && ip.OwnedBy(svc) && ip.Held().IsValid() {
			out = append(out, corev1.LoadBalancerIngress{IP: ip.Status.Address, IPMode: &vip})
		}
	}
	return out
}

// fromDefaultPool writes into a new load balancer, whose families are settled, which
// pool it is served from, and keeps that in one that is replaced by a text that does
// not know it.
func fromDefaultPool(tx *store.Tx, svc, old *corev1.Service) {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.LoadBalancerIP != "" {
		return
	}
	if c := svc.Spec.LoadBalancerClass; c != nil && *c != floating.Class {
		return
	}
	if _, named := svc.Annotations[floating.PoolAnnotation]; named {
		return
	}
	name := ""
	if old != nil && old.Spec.Type == corev1.ServiceTypeLoadBalancer {
		name = old.Annotations[floating.PoolAnnotation]
	} else {
		name = defaultPool(tx, family.OfService(svc))
	}
	if name != "" {
		metav1.SetMetaDataAnnotation(&svc.ObjectMeta, floating.PoolAnnotation, name)
	}
}

// defaultPool returns the default pool that has addresses of the most of the families,
// the first by name of several; empty: none is the default one.
func defaultPool(tx *store.Tx, families []corev1.IPFamily) (name string) {
	most := -1
	for p := range tables.AddressPools(tx) {
		if !p.Spec.Default || p.DeletionTimestamp != nil {
			continue
		}
		ranges, err := p.Ranges()
		has := 0
		for _, f := range families {
			if err == nil && slices.ContainsFunc(ranges, func(r floating.Range) bool { return r.Family() == f }) {
				has++
			}
		}
		if has > most {
			name, most = p.Name, has
		}
	}
	return name
}
