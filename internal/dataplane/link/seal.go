package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// An encrypted overlay goes through a tunnel: a TUN link, whose packets a process
// encrypts and sends to the other node (package tunnel). VXLAN's packets go from and to
// the nodes' own addresses as ever; a rule has them look for their way in a table that
// knows the tunnel alone:
//
//	VXLAN ── UDP 4789 from 192.0.2.1 ── rule 7702 ── trireme0-wg ── process ── UDP 7702 ── wire
//	                                        └─ unreachable, where the link has gone
//
// The link is there without its process too: then it takes packets and drops them. Package
// nft drops what the rule did not lead there.
const (
	tunnelTable    = 7702
	tunnelPriority = 7702
	// What WireGuard adds to a packet on a wire of IPv4; IPv6's header is longer.
	tunnelOverhead  = 60
	tunnelOverhead6 = 80
	// lastMetric is of the route that is used where no other is.
	lastMetric = 1 << 30
)

// tunnelOwn is the tunnel link's address on each node, never on the wire: the loose
// check of RFC 3704 wants one (see back).
var tunnelOwn = netip.MustParseAddr("169.254.77.3")

// Tunnel returns the name of the link that an encrypted overlay goes through.
func (l *Links) Tunnel() string { return l.bridge + "-wg" }

// CheckTunnel reports that this kernel has no tunnels.
func CheckTunnel() error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return kind.New(kind.Unavailable, "an encrypted overlay needs a TUN link, and this machine has none (`modprobe tun`; a container needs the device /dev/net/tun): %w", err)
	}
	return f.Close()
}

// Seal has all overlays go through the tunnel, and nowhere else, whether or not its
// process runs. local is the node's address.
func (l *Links) Seal(local netip.Addr) error {
	if err := CheckTunnel(); err != nil {
		return err
	}
	l.setSealed(true)
	size, err := l.uplinkMTU(local)
	if err != nil {
		return err
	}
	link, err := l.ensure(&netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: l.Tunnel(), MTU: size - tunnelCost(local)},
		Mode:      netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
	})
	if err != nil {
		return err
	}
	if err := l.nl.AddrReplace(link, &netlink.Addr{IPNet: single(tunnelOwn), Scope: unix.RT_SCOPE_LINK}); err != nil {
		return fmt.Errorf("giving %s an address: %w", l.Tunnel(), err)
	}
	if _, err := l.Sysctl("net/ipv4/conf/"+l.Tunnel()+"/rp_filter", "2"); err != nil {
		return err
	}
	for _, r := range tunnelRoutes(local, link.Attrs().Index) {
		if err := l.nl.RouteReplace(&r); err != nil {
			return fmt.Errorf("adding the route of the tunnel: %w", err)
		}
	}
	if err := l.nl.RuleAdd(tunnelRule(local)); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("adding the rule of the tunnel: %w", err)
	}
	return nil
}

// Unseal has overlays go their way in the clear. The tunnel's process ends with its link.
func (l *Links) Unseal() error {
	l.setSealed(false)
	var errs []error
	of := netlink.Rule{Table: tunnelTable}
	rules, err := dump(func() ([]netlink.Rule, error) {
		return l.nl.RuleListFiltered(netlink.FAMILY_ALL, &of, netlink.RT_FILTER_TABLE)
	})
	errs = append(errs, err)
	for _, r := range rules {
		if err := l.nl.RuleDel(&r); err != nil && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("removing the rule of the tunnel: %w", err))
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: tunnelTable, Protocol: routeProtocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	errs = append(errs, err)
	for _, r := range routes {
		errs = append(errs, gone(l.nl.RouteDel(&r)))
	}
	return errors.Join(append(errs, l.del(l.Tunnel()))...)
}

// setSealed has the overlay's link fitted anew after a change.
func (l *Links) setSealed(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed != on {
		l.sealed = on
		clear(l.peers)
	}
}

func tunnelCost(local netip.Addr) int {
	if local.Is4() {
		return tunnelOverhead
	}
	return tunnelOverhead6
}

// tunnelRoutes are what the table of the tunnel holds: the refusal first, so that there is
// no time without an answer.
func tunnelRoutes(local netip.Addr, index int) []netlink.Route {
	all := &net.IPNet{IP: make(net.IP, local.BitLen()/8), Mask: net.CIDRMask(0, local.BitLen())}
	return []netlink.Route{
		{Dst: all, Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol, Table: tunnelTable, Priority: lastMetric},
		{Dst: all, LinkIndex: index, Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol, Table: tunnelTable, Priority: 1},
	}
}

func tunnelRule(local netip.Addr) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table = netFamily(local), tunnelPriority, tunnelTable
	r.Src, r.IPProto, r.Dport = single(local), unix.IPPROTO_UDP, netlink.NewRulePortRange(VXLANPort, VXLANPort)
	return r
}
