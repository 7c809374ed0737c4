package link

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Peer is another node.
type Peer struct {
	Address netip.Addr      // of the node
	Subnets [2]netip.Prefix // of its pods: IPv4, IPv6; invalid: none
}

func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// subnets returns those that there are.
func (p Peer) subnets() (out []netip.Prefix) {
	for _, s := range p.Subnets {
		if s.IsValid() {
			out = append(out, s)
		}
	}
	return out
}

// Peers brings the overlay in line with the nodes that there are, by name, this
// one left out. Without peers there is no overlay link.
func (l *Links) Peers(self string, local netip.Addr, want map[string]Peer) error {
	if len(want) == 0 {
		if len(l.peers) == 0 {
			if _, err := l.nl.LinkByName(l.Overlay()); err != nil {
				return gone(err)
			}
		}
		clear(l.peers)
		return errors.Join(l.del(l.Overlay()), l.removeBack())
	}
	if maps.Equal(l.peers, want) {
		return nil
	}
	link, err := l.overlay(self, local)
	if err != nil {
		return err
	}
	errs := []error{l.back(link), l.answerable(link)}
	for name, p := range want {
		if l.peers[name] == p {
			continue
		}
		if err := l.addPeer(link.Attrs().Index, name, p); err != nil {
			errs = append(errs, fmt.Errorf("reaching node %s: %w", name, err))
			continue
		}
		l.peers[name] = p
	}
	maps.DeleteFunc(l.peers, func(name string, _ Peer) bool { _, stays := want[name]; return !stays })
	return errors.Join(append(errs, l.prunePeers(link.Attrs().Index))...)
}

func (l *Links) overlay(self string, local netip.Addr) (netlink.Link, error) {
	link, err := l.ensure(&netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: l.Overlay(), HardwareAddr: hardware(self), MTU: l.podSize()},
		VxlanId:   vni, Port: VXLANPort, SrcAddr: local.AsSlice(), Learning: false,
	})
	if err != nil {
		return nil, err
	}
	if v := link.(*netlink.Vxlan); !v.SrcAddr.Equal(local.AsSlice()) || v.HardwareAddr.String() != hardware(self).String() {
		if err := l.nl.LinkDel(link); err != nil { // made for another address or name
			return nil, fmt.Errorf("removing the old %s: %w", l.Overlay(), err)
		}
		clear(l.peers)
		return l.overlay(self, local)
	}
	return link, nil
}

func (l *Links) addPeer(index int, name string, p Peer) error {
	mac := hardware(name)
	fdb := &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: p.Address.AsSlice(), HardwareAddr: mac,
	}
	if err := l.nl.NeighSet(fdb); err != nil {
		return fmt.Errorf("adding its forwarding entry: %w", err)
	}
	for _, s := range p.subnets() {
		gw := gateway(s)
		if err := l.nl.NeighSet(neighbour(index, gw, mac)); err != nil {
			return fmt.Errorf("adding its neighbour entry: %w", err)
		}
		r := &netlink.Route{LinkIndex: index, Dst: ipNet(s), Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK), Protocol: routeProtocol}
		if err := l.nl.RouteReplace(l.src(r, gw)); err != nil {
			return fmt.Errorf("adding route %s: %w", s, err)
		}
	}
	return nil
}

// prunePeers removes what leads to nodes that are gone, also what an earlier
// process made.
func (l *Links) prunePeers(index int) error {
	subnets, gateways, macs := map[string]bool{}, map[string]bool{nobody[0].String(): true, nobody[1].String(): true}, map[string]bool{}
	for name, p := range l.peers {
		for _, s := range p.subnets() {
			subnets[s.Masked().String()] = true
			gateways[gateway(s).String()] = true
		}
		macs[hardware(name).String()+" "+p.Address.String()] = true
	}
	var errs []error
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: index, Protocol: routeProtocol}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	})
	errs = append(errs, err)
	for _, r := range routes {
		if r.Dst != nil && !subnets[r.Dst.String()] {
			errs = append(errs, gone(l.nl.RouteDel(&r)))
		}
	}
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		neighbours, err := dump(func() ([]netlink.Neigh, error) { return l.nl.NeighList(index, f) })
		errs = append(errs, err)
		for _, n := range neighbours {
			if n.State == netlink.NUD_PERMANENT && !gateways[n.IP.String()] {
				errs = append(errs, gone(l.nl.NeighDel(&n)))
			}
		}
	}
	entries, err := dump(func() ([]netlink.Neigh, error) { return l.nl.NeighList(index, unix.AF_BRIDGE) })
	errs = append(errs, err)
	for _, n := range entries {
		if n.IP != nil && !macs[n.HardwareAddr.String()+" "+n.IP.String()] {
			errs = append(errs, gone(l.nl.NeighDel(&n)))
		}
	}
	return errors.Join(errs...)
}
