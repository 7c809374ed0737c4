package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A pod's answer to a client from outside that entered at another node and kept
// its address goes back to that node, not to the client: there the connection
// is known. Packets of such answers carry the mark of that node (package nft) and
// take the route below; its next hop is nobody, nft writes the node's hardware
// address into the frame.
const (
	MarkMask = 0xf000_0000
	MarkBack = 0x7000_0000 // the other bits say which node

	backTable    = 7701
	backPriority = 7701
)

// nobody is the next hop of answers, by family, overlayOwn the overlay link's address
// on each node. None is ever on the wire.
var (
	nobody     = [2]netip.Addr{netip.MustParseAddr("169.254.77.1"), netip.MustParseAddr("fe80::a9fe:4d01")}
	nobodyMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	overlayOwn = netip.MustParseAddr("169.254.77.2")
)

// Marks gives every peer a mark and says by which hardware address it is known in
// the overlay. They are this node's own and follow from the names.
func Marks[P any](peers map[string]P) map[uint32]net.HardwareAddr {
	marks := make(map[uint32]net.HardwareAddr, len(peers))
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		mac := hardware(name)
		mark := MarkBack | binary.BigEndian.Uint32(mac[2:])&^MarkMask
		for marks[mark] != nil { // one in 2^28
			mark = MarkBack | (mark+1)&^MarkMask
		}
		marks[mark] = mac
	}
	return marks
}

// back makes the way of answers to the nodes that clients entered at.
func (l *Links) back(overlay netlink.Link) error {
	a := overlay.Attrs()
	// Clients' addresses come in by the overlay, though no route leads to them there: the
	// loose check of RFC 3704 takes them on a link that has an address, whatever it is.
	// IPv6 has no such check.
	if err := l.nl.AddrReplace(overlay, &netlink.Addr{IPNet: single(overlayOwn), Scope: unix.RT_SCOPE_LINK}); err != nil {
		return fmt.Errorf("giving %s an address: %w", a.Name, err)
	}
	if _, err := l.Sysctl("net/ipv4/conf/"+a.Name+"/rp_filter", "2"); err != nil {
		return err
	}
	for i, hop := range nobody {
		if !l.dns[i].IsValid() {
			continue // not a family of the cluster
		}
		if err := l.nl.NeighSet(neighbour(a.Index, hop, nobodyMAC)); err != nil {
			return fmt.Errorf("adding the next hop of answers: %w", err)
		}
		r := &netlink.Route{
			LinkIndex: a.Index, Dst: ipNet(netip.PrefixFrom(hop, 0).Masked()), Gw: hop.AsSlice(),
			Flags: int(netlink.FLAG_ONLINK), Protocol: routeProtocol, Table: backTable,
		}
		if err := l.nl.RouteReplace(r); err != nil {
			return fmt.Errorf("adding the route of answers: %w", err)
		}
		if err := l.nl.RuleAdd(backRule(hop)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("adding the rule of answers: %w", err)
		}
	}
	return nil
}

func backRule(hop netip.Addr) *netlink.Rule {
	r := netlink.NewRule()
	mask := uint32(MarkMask)
	r.Family, r.Priority, r.Table, r.Mark, r.Mask = netFamily(hop), backPriority, backTable, MarkBack, &mask
	return r
}

// removeBack takes the rules away; the rest goes with the overlay's link.
func (l *Links) removeBack() error {
	var errs []error
	for _, hop := range nobody {
		if err := l.nl.RuleDel(backRule(hop)); err != nil && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("removing the rule of answers: %w", err))
		}
	}
	return errors.Join(errs...)
}
