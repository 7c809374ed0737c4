package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routePriority is what routes of IPv6 have that say no other (the kernel's
// IP6_RT_PRIO_USER).
const routePriority = 1024

// Answerable lets answers to what the node asks at [::1], of the mesh, come in by the
// links that have the node's own addresses; those of pods and the overlay let them in.
func (l *Links) Answerable(uplinks []netip.Addr) error {
	wires, err := l.wires()
	errs := []error{err}
	for _, w := range wires {
		if slices.ContainsFunc(w.addrs, func(a netlink.Addr) bool { return among(uplinks, a) }) {
			errs = append(errs, l.answerable(w.Link))
		}
	}
	return errors.Join(errs...)
}

// answerable lets such answers in by a link. The kernel has a route to this address by
// loopback alone, and goes by the link there. Nothing but answers whose NAT is undone
// comes so far: what has this address on the wire it drops.
func (l *Links) answerable(link netlink.Link) error {
	if !l.dns[1].IsValid() {
		return nil // no family of the cluster
	}
	index := link.Attrs().Index
	r := &netlink.Route{
		LinkIndex: index, Dst: single(netip.IPv6Loopback()), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL,
		Protocol: routeProtocol, Priority: routePriority + index, // apart from those of other links
	}
	if err := l.nl.RouteReplace(r); err != nil {
		return fmt.Errorf("letting answers to [::1] in by %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// unanswerable takes such routes away.
func (l *Links) unanswerable() error {
	ours := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Protocol: routeProtocol}
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netlink.FAMILY_V6, ours, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	errs := []error{err}
	for _, r := range routes {
		errs = append(errs, gone(l.nl.RouteDel(&r)))
	}
	return errors.Join(errs...)
}
