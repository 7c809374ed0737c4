package link

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// Floats makes the floating addresses on the anchor those that are wanted, and
// returns which were not there. Each lives for the lease, in whole seconds, unless it
// is renewed: the kernel drops it even where this process cannot any more. Without a
// lease none is added or renewed.
//
// The kernel answers ARP for the addresses of every link, but neighbours of IPv6 for
// those of the link that they ask on: an address of IPv6 is on the link that faces them
// as well. uplinks are the node's own addresses, see facing.
func (l *Links) Floats(want map[netip.Addr]bool, lease time.Duration, uplinks []netip.Addr) (fresh []netip.Addr, err error) {
	anchor, err := l.nl.LinkByName(l.bridge)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", l.bridge, err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.nl.AddrList(anchor, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of %s: %w", l.bridge, err)
	}
	wires, err := l.wires()
	if err != nil {
		return nil, err
	}
	var errs []error
	had := map[netip.Addr]bool{}
	for _, a := range addrs {
		addr, ok := netip.AddrFromSlice(a.IP)
		addr = addr.Unmap()
		switch {
		case !ok || !leased(a):
		case want[addr]:
			had[addr] = true
			errs = append(errs, l.leave(wires, addr, facing(wires, addr, uplinks)))
		default:
			errs = append(errs, l.leave(wires, addr, nil), l.takeAway(anchor, addr)) // last: it says that the others are ours
		}
	}
	seconds := int(lease / time.Second)
	if seconds == 0 {
		return nil, errors.Join(errs...)
	}
	for addr := range want {
		err := l.give(anchor, addr, seconds)
		if on := facing(wires, addr, uplinks); err == nil && addr.Is6() && on != nil {
			err = l.give(on.Link, addr, seconds)
		}
		if errs = append(errs, err); err == nil && !had[addr] {
			fresh = append(fresh, addr)
		}
	}
	return fresh, errors.Join(errs...)
}

// give puts a floating address on a link. One of IPv6 need not ask whether it is there
// already (another node may still answer for it), and is no source of the node's own.
func (l *Links) give(link netlink.Link, addr netip.Addr, seconds int) error {
	a := own(addr)
	a.ValidLft, a.PreferedLft = seconds, seconds
	if addr.Is6() {
		a.PreferedLft = 0
	}
	if err := l.nl.AddrReplace(link, a); err != nil {
		return fmt.Errorf("giving %s the floating address %s: %w", link.Attrs().Name, addr, err)
	}
	return nil
}

// takeAway removes a floating address from a link.
func (l *Links) takeAway(link netlink.Link, addr netip.Addr) error {
	err := l.nl.AddrDel(link, &netlink.Addr{IPNet: single(addr)})
	if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("removing the floating address %s from %s: %w", addr, link.Attrs().Name, err)
	}
	return nil
}

// leave removes a floating address from all wires but one.
func (l *Links) leave(wires []wire, addr netip.Addr, but *wire) error {
	var errs []error
	for i := range wires {
		ours := func(a netlink.Addr) bool { return leased(a) && a.IPNet.String() == single(addr).String() }
		if w := &wires[i]; w != but && slices.ContainsFunc(w.addrs, ours) {
			errs = append(errs, l.takeAway(w.Link, addr))
		}
	}
	return errors.Join(errs...)
}

// leased reports whether the address ends by itself: a floating one.
func leased(a netlink.Addr) bool { return a.ValidLft != 0 && a.ValidLft != math.MaxUint32 }

// wire is a link that has neighbours, with its addresses.
type wire struct {
	netlink.Link
	addrs []netlink.Addr
}

// wires returns the links of hardware addresses, the anchor left out.
func (l *Links) wires() ([]wire, error) {
	links, err := dump(func() ([]netlink.Link, error) { return l.nl.LinkList() })
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	on := map[int][]netlink.Addr{}
	for _, a := range addrs {
		on[a.LinkIndex] = append(on[a.LinkIndex], a)
	}
	var out []wire
	for _, link := range links {
		if a := link.Attrs(); a.Name != l.bridge && a.Flags&net.FlagLoopback == 0 && len(a.HardwareAddr) == 6 {
			out = append(out, wire{link, on[a.Index]})
		}
	}
	return out, nil
}

// facing returns the wire that an address is reached by: the one whose network has it,
// else the uplink, which has an address of the node's own; nil: there is none.
func facing(wires []wire, addr netip.Addr, uplinks []netip.Addr) (on *wire) {
	for i := range wires {
		for _, a := range wires[i].addrs {
			if ones, bits := a.Mask.Size(); ones < bits && a.Contains(addr.AsSlice()) {
				return &wires[i]
			}
			if among(uplinks, a) {
				on = &wires[i]
			}
		}
	}
	return on
}

func among(all []netip.Addr, a netlink.Addr) bool {
	return slices.ContainsFunc(all, func(b netip.Addr) bool { return a.IP.Equal(b.AsSlice()) })
}

// Announce tells the neighbours that the addresses are here, see facing.
func (l *Links) Announce(addrs, uplinks []netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	wires, err := l.wires()
	if err != nil {
		return err
	}
	return l.Do(func() error {
		var errs []error
		for _, addr := range addrs {
			on, tell := facing(wires, addr, uplinks), shout
			if addr.Is6() {
				tell = advertise
			}
			if on == nil {
				continue
			}
			if err := tell(on.Link, addr); err != nil {
				errs = append(errs, fmt.Errorf("announcing %s on %s: %w", addr, on.Attrs().Name, err))
			}
		}
		return errors.Join(errs...)
	})
}
