package link

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// podGateway is the same in every pod; it exists on no link, only as a fixed
// neighbour.
var podGateway = netip.MustParseAddr("169.254.1.1")

// hostMAC is the host's end of every pod's link.
var hostMAC = net.HardwareAddr{0x0e, 0x74, 0x72, 0x69, 0x72, 0x65}

// Pod is a pod's place in the network.
type Pod struct {
	ID      string // the sandbox's
	Name    string // "namespace/name", kept as the link's alias
	Address netip.Addr
	NetNS   string // path
	IfName  string // in the pod; "eth0"
}

// Wired is what a pod got.
type Wired struct {
	Host, HostMAC, MAC string
	Gateway            netip.Addr
	MTU                int
}

// Host returns the name of the host's end of a sandbox's link.
func (l *Links) Host(id string) string {
	sum := sha256.Sum256([]byte(l.bridge + "\x00" + id))
	return "tri" + hex.EncodeToString(sum[:6])
}

// AddPod makes the pod's link and both sides' routes. On error nothing is left.
func (l *Links) AddPod(p Pod) (Wired, error) {
	w := Wired{Host: l.Host(p.ID), HostMAC: hostMAC.String(), MAC: podMAC(p.Address).String(), Gateway: podGateway, MTU: l.podSize()}
	ns, err := netns.GetFromPath(p.NetNS)
	if err != nil {
		return w, fmt.Errorf("opening the pod's network namespace %s: %w", p.NetNS, err)
	}
	defer ns.Close()
	if err := l.clear(w.Host, p.Address); err != nil {
		return w, err
	}
	err = l.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: w.Host, MTU: w.MTU, HardwareAddr: hostMAC},
		PeerName:  p.IfName, PeerHardwareAddr: podMAC(p.Address), PeerNamespace: netlink.NsFd(int(ns)), PeerMTU: uint32(w.MTU),
	})
	if err != nil {
		return w, fmt.Errorf("making link %s: %w", w.Host, err)
	}
	for _, step := range []func() error{
		func() error { return l.hostSide(w.Host, p) },
		func() error { return podSide(ns, p) },
		func() error { return l.settle(w.Host) }, // the pod's end came up last
	} {
		if err := step(); err != nil {
			return w, errors.Join(err, l.DelPod(p.ID))
		}
	}
	return w, nil
}

// clear removes what an earlier try left: its link, and another link that
// routes the same address (of a sandbox that is gone and was not taken down).
func (l *Links) clear(host string, a netip.Addr) error {
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: single(a)}, netlink.RT_FILTER_DST)
	})
	if err != nil {
		return fmt.Errorf("listing routes to %s: %w", a, err)
	}
	for _, r := range routes {
		link, err := l.nl.LinkByIndex(r.LinkIndex)
		if err == nil && strings.HasPrefix(link.Attrs().Alias, l.bridge+" ") {
			err = l.nl.LinkDel(link)
		}
		if gone(err) != nil {
			return fmt.Errorf("removing the link that had %s: %w", a, err)
		}
	}
	return l.del(host)
}

func (l *Links) hostSide(host string, p Pod) error {
	link, err := l.nl.LinkByName(host)
	if err != nil {
		return fmt.Errorf("finding link %s: %w", host, err)
	}
	if err := l.nl.LinkSetAlias(link, l.bridge+" "+p.Name); err != nil {
		return fmt.Errorf("naming %s: %w", host, err)
	}
	if _, err := l.Sysctl("net/ipv4/conf/"+host+"/rp_filter", "1"); err != nil {
		return err // a pod may send from no address but its own
	}
	if err := l.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", host, err)
	}
	index := link.Attrs().Index
	if err := l.nl.NeighSet(neighbour(index, p.Address, podMAC(p.Address))); err != nil {
		return fmt.Errorf("adding neighbour %s: %w", p.Address, err)
	}
	r := &netlink.Route{LinkIndex: index, Dst: single(p.Address), Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol}
	if gw := l.Gateway(); gw.IsValid() {
		r.Src = gw.AsSlice()
	}
	if err := l.nl.RouteReplace(r); err != nil {
		return fmt.Errorf("adding route to %s: %w", p.Address, err)
	}
	return nil
}

func podSide(ns netns.NsHandle, p Pod) error {
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening netlink in the pod: %w", err)
	}
	defer nl.Close()
	link, err := nl.LinkByName(p.IfName)
	if err != nil {
		return fmt.Errorf("finding %s in the pod: %w", p.IfName, err)
	}
	index, gw := link.Attrs().Index, podGateway.AsSlice()
	steps := []func() error{
		func() error { return nl.AddrAdd(link, &netlink.Addr{IPNet: single(p.Address)}) },
		func() error { return nl.LinkSetUp(link) },
		func() error { return nl.NeighSet(neighbour(index, podGateway, hostMAC)) },
		func() error {
			return nl.RouteAdd(&netlink.Route{LinkIndex: index, Dst: single(podGateway), Scope: unix.RT_SCOPE_LINK})
		},
		func() error { return nl.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gw}) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("configuring %s in the pod, step %d: %w", p.IfName, i, err)
		}
	}
	return nil
}

// DelPod removes a sandbox's link, and with it its routes. It is no error if
// there is none.
func (l *Links) DelPod(id string) error { return l.del(l.Host(id)) }

func (l *Links) del(host string) error {
	link, err := l.nl.LinkByName(host)
	if err == nil {
		err = l.nl.LinkDel(link)
	}
	if err := gone(err); err != nil {
		return fmt.Errorf("removing link %s: %w", host, err)
	}
	return nil
}

// CheckPod reports whether a sandbox's link is there, up, and has its route.
func (l *Links) CheckPod(id string, a netip.Addr) error {
	link, err := l.nl.LinkByName(l.Host(id))
	if err != nil {
		return fmt.Errorf("finding link %s: %w", l.Host(id), err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("link %s is down", l.Host(id))
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: single(a), LinkIndex: link.Attrs().Index}, netlink.RT_FILTER_DST|netlink.RT_FILTER_OIF)
	})
	if err == nil && len(routes) == 0 {
		err = syscall.ENOENT
	}
	if err != nil {
		return fmt.Errorf("finding the route to %s: %w", a, err)
	}
	return nil
}

// PrunePods removes the links of pods for which keep is false, by "namespace/name".
func (l *Links) PrunePods(keep func(name string) bool) error {
	return l.prune(func(_, name string) bool { return keep(name) })
}

// PruneHosts removes the links of pods for which keep is false, by Host.
func (l *Links) PruneHosts(keep func(host string) bool) error {
	return l.prune(func(host, _ string) bool { return keep(host) })
}

func (l *Links) prune(keep func(host, name string) bool) error {
	links, err := dump(func() ([]netlink.Link, error) { return l.nl.LinkList() })
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	var errs []error
	for _, link := range links {
		if name, ours := strings.CutPrefix(link.Attrs().Alias, l.bridge+" "); ours && !keep(link.Attrs().Name, name) {
			errs = append(errs, gone(l.nl.LinkDel(link)))
		}
	}
	return errors.Join(errs...)
}

func neighbour(index int, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

func podMAC(a netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x0a, 0x58}, a.AsSlice()...)
}
