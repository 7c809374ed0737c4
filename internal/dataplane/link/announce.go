package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// arpProtocol is ETH_P_ARP in the order of the wire.
var arpProtocol = binary.NativeEndian.Uint16([]byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 255})

// shout tells all neighbours who has the address, by gratuitous ARP (RFC 5227, section
// 3): an ARP request for the address by the address itself (RFC 826).
func shout(link netlink.Link, addr netip.Addr) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	mac := link.Attrs().HardwareAddr
	ip := addr.AsSlice()
	packet := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, lengths, request
	packet = append(append(append(packet, mac...), ip...), 0, 0, 0, 0, 0, 0)
	packet = append(packet, ip...)
	to := &unix.SockaddrLinklayer{Protocol: arpProtocol, Ifindex: link.Attrs().Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	return unix.Sendto(fd, packet, 0, to)
}

// advertise tells all neighbours who has the address, which the link has, by an
// unsolicited neighbour advertisement (RFC 4861, section 7.2.6).
func advertise(link netlink.Link, addr netip.Addr) error {
	packet, err := ndp.MarshalMessage(&ndp.NeighborAdvertisement{
		Router: true, Override: true, TargetAddress: addr,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: link.Attrs().HardwareAddr}},
	})
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6) // the kernel fills in the checksum
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: addr.As16()}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, ndp.HopLimit); err != nil {
		return err
	}
	to := &unix.SockaddrInet6{Addr: netip.IPv6LinkLocalAllNodes().As16(), ZoneId: uint32(link.Attrs().Index)}
	return unix.Sendto(fd, packet, 0, to)
}
