package link

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is a UDP conversation that connection tracking remembers.
type Flow struct {
	To     netip.AddrPort // whom the client called
	Answer netip.AddrPort // who answers; To, if nothing was translated
}

type flows func(Flow) bool

// MatchConntrackFlow tells netlink which entries to delete.
func (f flows) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	if c.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, _ := netip.AddrFromSlice(c.Forward.DstIP)
	answer, _ := netip.AddrFromSlice(c.Reverse.SrcIP)
	to, answer = to.Unmap(), answer.Unmap()
	return f(Flow{To: netip.AddrPortFrom(to, c.Forward.DstPort), Answer: netip.AddrPortFrom(answer, c.Reverse.SrcPort)})
}

type led map[netip.Addr]bool

// MatchConntrackFlow tells netlink which entries to delete.
func (all led) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	answer, _ := netip.AddrFromSlice(c.Reverse.SrcIP)
	return all[answer.Unmap()] && !c.Forward.DstIP.Equal(c.Reverse.SrcIP)
}

// ForgetLed drops the connections of any protocol that were led to the addresses and had
// called another. It reads the whole tracking table.
func (l *Links) ForgetLed(to map[netip.Addr]bool) error {
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := l.nl.ConntrackDeleteFilters(netlink.ConntrackTable, family, led(to)); err != nil {
			return fmt.Errorf("deleting tracked connections: %w", err)
		}
	}
	return nil
}

// Forget drops the UDP conversations of a family that match, so that the next packet is
// decided anew. It reads the whole tracking table.
func (l *Links) Forget(v6 bool, match func(Flow) bool) error {
	family := netlink.InetFamily(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	if _, err := l.nl.ConntrackDeleteFilters(netlink.ConntrackTable, family, flows(match)); err != nil {
		return fmt.Errorf("deleting tracked UDP flows: %w", err)
	}
	return nil
}
