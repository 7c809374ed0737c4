package dataplane

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/floating"
)

// shouts is how often an address that came is announced: with it, and with the
// renewals that follow, in case neighbours miss one.
const shouts = 3

// floats is the floating addresses that this node answers for.
type floats struct {
	ips     map[types.NamespacedName]*floating.IP
	pods    map[netip.Addr]netip.Addr // the addresses, to the pods that have them
	shouts  map[netip.Addr]int        // announcements to come
	lease   time.Duration
	until   time.Time // when the lease ends
	renewed time.Time
}

func newFloats() floats {
	return floats{ips: map[types.NamespacedName]*floating.IP{}, shouts: map[netip.Addr]int{}}
}

// Renew lets the node answer for its floating addresses for that long, from now. An
// address that nobody renews goes, even where this process does not live to see it.
func (d *Dataplane) Renew(lease time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &d.floats
	now := time.Now()
	first := f.until.Before(now)
	f.lease, f.until = lease, now.Add(lease)
	if len(f.pods) == 0 || !d.based || !first && len(f.shouts) == 0 && now.Sub(f.renewed) < lease/3 {
		return nil
	}
	return d.holdFloats()
}

// noteFloat takes a floating IP over.
func (d *Dataplane) noteFloat(ip *floating.IP, deleted bool, w *dirty) {
	key := keyOf(ip)
	for _, o := range []*floating.IP{d.floats.ips[key], ip} {
		if o != nil && o.Spec.Target != nil && o.Spec.Target.Kind == floating.Service {
			w.services[types.NamespacedName{Namespace: o.Namespace, Name: o.Spec.Target.Name}] = true
		}
	}
	put(d.floats.ips, key, ip, deleted)
	w.floats = true
}

// applyFloats brings addresses and rules in line with the floating IPs; a pod's
// address may have changed as well.
func (d *Dataplane) applyFloats(w *dirty, full bool) error {
	f := &d.floats
	if !full && !w.floats && (len(f.ips) == 0 || len(w.pods) == 0) {
		return nil
	}
	f.pods = map[netip.Addr]netip.Addr{}
	for _, ip := range f.ips {
		addr, t := ip.Held(), ip.Spec.Target
		i := slices.IndexFunc(d.stacks, func(s *stack) bool { return s.v6() == addr.Is6() })
		if !addr.IsValid() || i < 0 || t == nil || ip.Status.Node != d.cfg.Node {
			continue
		}
		f.pods[addr] = netip.Addr{}
		if t.Kind == floating.Pod {
			f.pods[addr] = d.podAddress(types.NamespacedName{Namespace: ip.Namespace, Name: t.Name}, d.stacks[i].Network)
		}
	}
	for _, s := range d.stacks {
		ours := map[netip.Addr]netip.Addr{}
		for a, pod := range f.pods {
			if a.Is6() == s.v6() {
				ours[a] = pod
			}
		}
		s.pools.SetFloats(ours)
	}
	return d.holdFloats()
}

// podAddress returns the address, in one family, of a pod of this node; invalid: it has
// none of its own.
func (d *Dataplane) podAddress(key types.NamespacedName, in Network) netip.Addr {
	d.podsMu.Lock()
	defer d.podsMu.Unlock()
	pod := d.pods[key]
	if pod == nil || pod.Spec.NodeName != d.cfg.Node || pod.Spec.HostNetwork {
		return netip.Addr{}
	}
	return in.of(pod)
}

// holdFloats makes the kernel hold the addresses while the lease lasts, and tells the
// neighbours of those that came.
func (d *Dataplane) holdFloats() error {
	f := &d.floats
	want := make(map[netip.Addr]bool, len(f.pods))
	for a := range f.pods {
		want[a] = true
	}
	left := time.Until(f.until)
	if left > 0 {
		left = max(left.Round(time.Second), time.Second)
	}
	fresh, err := d.links.Floats(want, max(left, 0), d.cfg.NodeIPs)
	if err != nil {
		return err
	}
	f.renewed = time.Now()
	for _, a := range fresh {
		f.shouts[a] = shouts
		d.cfg.Log.Info("answering for a floating address", "address", a)
	}
	var say []netip.Addr
	for a := range f.shouts {
		if want[a] && left > 0 {
			say = append(say, a)
		}
		if f.shouts[a]--; f.shouts[a] <= 0 || !want[a] {
			delete(f.shouts, a)
		}
	}
	return d.links.Announce(say, d.cfg.NodeIPs)
}

// withFloats returns the service with the floating addresses that lead to it among
// its external ones.
func (d *Dataplane) withFloats(svc *corev1.Service) *corev1.Service {
	next := svc
	for _, ip := range d.floats.ips {
		if ip.Namespace != svc.Namespace || !ip.Leads(floating.Service, svc.Name) || ip.Status.Node != d.cfg.Node || !ip.Held().IsValid() {
			continue
		}
		if slices.ContainsFunc(svc.Status.LoadBalancer.Ingress, func(in corev1.LoadBalancerIngress) bool { return in.IP == ip.Status.Address }) {
			continue // the load balancer's own, and guarded as such
		}
		if next == svc {
			next = svc.DeepCopy()
		}
		next.Spec.ExternalIPs = append(next.Spec.ExternalIPs, ip.Status.Address)
	}
	return next
}
