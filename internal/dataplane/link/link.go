package link

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The overlay's identity on the wire, and the mark of our routes in the kernel.
const (
	vni           = 7701
	routeProtocol = 116 // 't'
	// What VXLAN adds to a packet on a wire of IPv4; IPv6's header is longer.
	vxlanOverhead  = 50
	vxlanOverhead6 = 70
)

// VXLANPort is the UDP port of all overlays.
const VXLANPort = 4789

// Links is what we made in one network namespace, under one bridge name.
type Links struct {
	bridge string
	ns     netns.NsHandle
	nl     *netlink.Handle

	dns   [2]netip.Addr // on the anchor, by family, as all that follow
	peers map[string]Peer

	mu       sync.Mutex
	gateways [2]netip.Addr // invalid until Subnet
	mtu      int
	sealed   bool // see Seal
}

// at is the place of an address's family in a pair: IPv4, IPv6.
func at(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// netFamily returns what netlink calls an address's family.
func netFamily(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// Open returns the links of that bridge name in the namespace of the calling
// thread. Close it.
func Open(bridge string) (*Links, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace: %w", err)
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("opening netlink: %w", err)
	}
	return &Links{bridge: bridge, ns: ns, nl: nl, peers: map[string]Peer{}}, nil
}

// Close lets go of the kernel's handles; the links stay.
func (l *Links) Close() {
	l.nl.Close()
	l.ns.Close()
}

// NS returns the namespace; it is valid until Close.
func (l *Links) NS() netns.NsHandle { return l.ns }

// Overlay returns the VXLAN link's name.
func (l *Links) Overlay() string { return l.bridge + "-vx" }

// Gateway returns the address by which pods of that address's family leave; invalid
// before Subnet.
func (l *Links) Gateway(of netip.Addr) netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gateways[at(of)]
}

// src makes a route to an address of that family leave with the gateway's address.
func (l *Links) src(r *netlink.Route, of netip.Addr) *netlink.Route {
	if gw := l.Gateway(of); gw.IsValid() {
		r.Src = gw.AsSlice()
	}
	return r
}

func (l *Links) podSize() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mtu
}

// Anchor makes the link that holds the node's own addresses, with the DNS
// address on it.
func (l *Links) Anchor(dns netip.Addr) error {
	l.dns[at(dns)] = dns
	link, err := l.ensure(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: l.bridge}})
	if err != nil {
		return err
	}
	if err := l.nl.AddrReplace(link, own(dns)); err != nil {
		return fmt.Errorf("giving %s the address %s: %w", l.bridge, dns, err)
	}
	return nil
}

// Subnet sets what the node's pods need in one family: the gateway's address, the route
// that gives services to the anchor (without one a host that has no default route could
// not call them), and a refusal for addresses that no pod has. The gateway is the
// subnet's first address.
func (l *Links) Subnet(subnet, services netip.Prefix, uplink netip.Addr) error {
	link, err := l.nl.LinkByName(l.bridge)
	if err != nil {
		return fmt.Errorf("finding %s: %w", l.bridge, err)
	}
	gw := subnet.Masked().Addr().Next()
	if err := l.nl.AddrReplace(link, own(gw)); err != nil {
		return fmt.Errorf("giving %s the address %s: %w", l.bridge, gw, err)
	}
	if err := l.dropOldGateways(link, gw); err != nil {
		return err
	}
	for _, r := range []*netlink.Route{
		{Dst: ipNet(services), LinkIndex: link.Attrs().Index, Src: gw.AsSlice(), Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol},
		{Dst: ipNet(subnet), Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol},
	} {
		if err := l.nl.RouteReplace(r); err != nil {
			return fmt.Errorf("adding route %s: %w", r.Dst, err)
		}
	}
	mtu, err := l.podMTU(uplink)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mtu, l.gateways[at(gw)] = mtu, gw
	return nil
}

// Extras keeps a route to each address of a service that the routes of the services do
// not cover, and drops those of others, also of an earlier process.
func (l *Links) Extras(want map[netip.Addr]bool) error {
	link, err := l.nl.LinkByName(l.bridge)
	if err != nil {
		return fmt.Errorf("finding %s: %w", l.bridge, err)
	}
	index := link.Attrs().Index
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: index, Protocol: routeProtocol}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	})
	errs := []error{err}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ones, bits := r.Dst.Mask.Size(); ones != bits {
			continue // the services' own
		}
		if a, ok := netip.AddrFromSlice(r.Dst.IP); ok && !want[a.Unmap()] {
			errs = append(errs, gone(l.nl.RouteDel(&r)))
		}
	}
	for a := range want {
		r := l.src(&netlink.Route{Dst: single(a), LinkIndex: index, Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol}, a)
		if err := l.nl.RouteReplace(r); err != nil {
			errs = append(errs, fmt.Errorf("adding route %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

// dropOldGateways removes addresses of an earlier subnet, also of an earlier
// process; the DNS address, the gateway and floating addresses stay.
func (l *Links) dropOldGateways(link netlink.Link, gw netip.Addr) error {
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.nl.AddrList(link, netFamily(gw)) })
	if err != nil {
		return fmt.Errorf("listing the addresses of %s: %w", l.bridge, err)
	}
	for _, a := range addrs {
		if a.IP.Equal(gw.AsSlice()) || a.IP.Equal(l.dns[at(gw)].AsSlice()) || leased(a) || a.IP.IsLinkLocalUnicast() {
			continue
		}
		if err := l.nl.AddrDel(link, &a); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fmt.Errorf("removing the address %s: %w", a.IP, err)
		}
	}
	return nil
}

// podMTU returns what fits into the overlay on the link that has the node's
// address, so that a pod's link does not change when a second node joins.
func (l *Links) podMTU(uplink netip.Addr) (int, error) {
	size, err := l.uplinkMTU(uplink)
	if uplink.Is6() {
		size -= vxlanOverhead6
	} else {
		size -= vxlanOverhead
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed {
		size -= tunnelCost(uplink)
	}
	return size, err
}

// uplinkMTU returns the size of packets on the link that has the node's address.
func (l *Links) uplinkMTU(uplink netip.Addr) (int, error) {
	const usual = 1500
	links, err := dump(func() ([]netlink.Link, error) { return l.nl.LinkList() })
	if err != nil {
		return 0, fmt.Errorf("listing links: %w", err)
	}
	for _, link := range links {
		addrs, err := dump(func() ([]netlink.Addr, error) { return l.nl.AddrList(link, netFamily(uplink)) })
		if err != nil {
			return 0, fmt.Errorf("listing the addresses of %s: %w", link.Attrs().Name, err)
		}
		for _, a := range addrs {
			if a.IP.Equal(uplink.AsSlice()) && link.Attrs().Flags&net.FlagLoopback == 0 {
				return link.Attrs().MTU, nil
			}
		}
	}
	return usual, nil
}

// ensure returns the link with that name, made and up.
func (l *Links) ensure(want netlink.Link) (netlink.Link, error) {
	name := want.Attrs().Name
	link, err := l.nl.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		add := func() error { return l.nl.LinkAdd(want) } // a TUN link belongs to the thread's namespace
		if err := l.Do(add); err != nil {
			return nil, fmt.Errorf("making link %s: %w", name, err)
		}
		link, err = l.nl.LinkByName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("finding link %s: %w", name, err)
	}
	if link.Type() != want.Type() {
		return nil, fmt.Errorf("link %s is a %s, want a %s: it is not ours", name, link.Type(), want.Type())
	}
	if size := want.Attrs().MTU; size != 0 && size != link.Attrs().MTU {
		if err := l.nl.LinkSetMTU(link, size); err != nil {
			return nil, fmt.Errorf("setting the size of packets on %s to %d: %w", name, size, err)
		}
	}
	if err := l.nl.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("setting %s up: %w", name, err)
	}
	return link, nil
}

// Remove deletes every link and route that was ever made under the bridge's name.
func (l *Links) Remove() error {
	errs := []error{l.removeBack(), l.Unseal(), l.unanswerable()}
	if _, err := l.Floats(nil, 0, nil); gone(err) != nil {
		errs = append(errs, err)
	}
	links, err := dump(func() ([]netlink.Link, error) { return l.nl.LinkList() })
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	for _, link := range links {
		if a := link.Attrs(); a.Name == l.bridge || a.Name == l.Overlay() || strings.HasPrefix(a.Alias, l.bridge+" ") {
			errs = append(errs, gone(l.nl.LinkDel(link)))
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol, Type: unix.RTN_UNREACHABLE}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TYPE)
	})
	errs = append(errs, err)
	for _, r := range routes {
		errs = append(errs, gone(l.nl.RouteDel(&r)))
	}
	return errors.Join(errs...)
}

// Do calls f on a thread in the namespace; what f opens belongs to it.
func (l *Links) Do(f func() error) error { return inside(l.ns, f) }

// gone turns the error for something that is not there into none.
func gone(err error) error {
	switch {
	case errors.As(err, &netlink.LinkNotFoundError{}), errors.Is(err, os.ErrNotExist),
		errors.Is(err, syscall.ESRCH), errors.Is(err, syscall.ENODEV):
		return nil
	}
	return err
}

// own is an address of this node, or of a pod: nobody else can have it, so it need not
// wait until others were asked.
func own(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: single(a)}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

func single(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// hardware returns a locally administered MAC address made from a name.
func hardware(name string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(name))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// dumpTries bounds how often a list is asked for that changed while the kernel
// made it.
const dumpTries = 10

// dump asks for a list again where something changed it half way.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for range dumpTries - 1 {
		if all, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return list()
}
