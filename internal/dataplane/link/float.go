package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Floats makes the floating addresses on the anchor those that are wanted, and
// returns which were not there. Each lives for the lease, in whole seconds, unless it
// is renewed: the kernel drops it even where this process cannot any more. Without a
// lease none is added or renewed.
func (l *Links) Floats(want map[netip.Addr]bool, lease time.Duration) (fresh []netip.Addr, err error) {
	link, err := l.nl.LinkByName(l.bridge)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", l.bridge, err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.nl.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of %s: %w", l.bridge, err)
	}
	var errs []error
	had := map[netip.Addr]bool{}
	for _, a := range addrs {
		addr, ok := netip.AddrFromSlice(a.IP.To4())
		switch {
		case !ok || !leased(a):
		case want[addr]:
			had[addr] = true
		default:
			if err := l.nl.AddrDel(link, &a); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				errs = append(errs, fmt.Errorf("removing the floating address %s: %w", addr, err))
			}
		}
	}
	seconds := int(lease / time.Second)
	if seconds == 0 {
		return nil, errors.Join(errs...)
	}
	for addr := range want {
		a := &netlink.Addr{IPNet: single(addr), ValidLft: seconds, PreferedLft: seconds}
		if err := l.nl.AddrReplace(link, a); err != nil {
			errs = append(errs, fmt.Errorf("giving %s the floating address %s: %w", l.bridge, addr, err))
		} else if !had[addr] {
			fresh = append(fresh, addr)
		}
	}
	return fresh, errors.Join(errs...)
}

// leased reports whether the address ends by itself: a floating one.
func leased(a netlink.Addr) bool { return a.ValidLft != 0 && a.ValidLft != math.MaxUint32 }

// Announce tells the neighbours that the addresses are here, by gratuitous ARP
// (RFC 5227, section 3): on the link whose network has them, else on the uplink, the
// one that has the node's own address.
func (l *Links) Announce(addrs []netip.Addr, uplink netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	links, err := dump(func() ([]netlink.Link, error) { return l.nl.LinkList() })
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	nets := map[netlink.Link][]netlink.Addr{}
	for _, link := range links {
		if a := link.Attrs(); a.Name == l.bridge || a.Flags&net.FlagLoopback != 0 || len(a.HardwareAddr) != 6 {
			continue
		}
		if nets[link], err = dump(func() ([]netlink.Addr, error) { return l.nl.AddrList(link, netlink.FAMILY_V4) }); err != nil {
			return fmt.Errorf("listing the addresses of %s: %w", link.Attrs().Name, err)
		}
	}
	return l.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening a socket for ARP: %w", err)
		}
		defer unix.Close(fd)
		var errs []error
		for _, addr := range addrs {
			if on := facing(nets, addr, uplink); on != nil {
				errs = append(errs, shout(fd, on, addr))
			}
		}
		return errors.Join(errs...)
	})
}

// facing returns the link that an address is reached by; nil: there is none.
func facing(nets map[netlink.Link][]netlink.Addr, addr, uplink netip.Addr) (on netlink.Link) {
	for link, all := range nets {
		for _, a := range all {
			if ones, _ := a.Mask.Size(); ones < 32 && a.Contains(addr.AsSlice()) {
				return link
			}
			if a.IP.Equal(uplink.AsSlice()) {
				on = link
			}
		}
	}
	return on
}

// arpProtocol is ETH_P_ARP in the order of the wire.
var arpProtocol = binary.NativeEndian.Uint16([]byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 255})

// shout sends the announcement: an ARP request for the address by the address
// itself (RFC 826), to everybody.
func shout(fd int, link netlink.Link, addr netip.Addr) error {
	mac := link.Attrs().HardwareAddr
	ip := addr.AsSlice()
	packet := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, lengths, request
	packet = append(append(append(packet, mac...), ip...), 0, 0, 0, 0, 0, 0)
	packet = append(packet, ip...)
	to := &unix.SockaddrLinklayer{Protocol: arpProtocol, Ifindex: link.Attrs().Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	if err := unix.Sendto(fd, packet, 0, to); err != nil {
		return fmt.Errorf("announcing %s on %s: %w", addr, link.Attrs().Name, err)
	}
	return nil
}
