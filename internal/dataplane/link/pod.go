package link

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// podGateways are the same in every pod; they exist on no link, only as fixed
// neighbours.
var podGateways = [2]netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::1")}

func podGateway(of netip.Addr) netip.Addr { return podGateways[at(of)] }

// hostMAC is the host's end of every pod's link.
var hostMAC = net.HardwareAddr{0x0e, 0x74, 0x72, 0x69, 0x72, 0x65}

// Pod is a pod's place in the network.
type Pod struct {
	ID        string         // the sandbox's
	Name      string         // "namespace/name", kept as the link's alias
	Addresses []netip.Addr   // one a family, at least one
	NetNS     string         // path
	IfName    string         // in the pod; "eth0"
	Routes    []netip.Prefix // what is reached by the link, of any family; nil: everything
	Answers   bool           // who calls by the link is answered by it, wherever he is
}

// Wired is what a pod got.
type Wired struct {
	Host, HostMAC, MAC string
	Gateways           []netip.Addr // of Pod's Addresses
	MTU                int
}

// PodLinks is what the names of the hosts' ends of pods' links begin with.
const PodLinks = "tri"

// Host returns the name of the host's end of a sandbox's link.
func (l *Links) Host(id string) string {
	sum := sha256.Sum256([]byte(l.bridge + "\x00" + id))
	return PodLinks + hex.EncodeToString(sum[:6])
}

// AddPod makes the pod's link and both sides' routes. On error nothing is left.
func (l *Links) AddPod(p Pod) (Wired, error) {
	w := Wired{Host: l.Host(p.ID), HostMAC: hostMAC.String(), MAC: podMAC(p.Addresses).String(), MTU: l.podSize()}
	for _, a := range p.Addresses {
		w.Gateways = append(w.Gateways, podGateway(a))
	}
	ns, err := netns.GetFromPath(p.NetNS)
	if err != nil {
		return w, fmt.Errorf("opening the pod's network namespace %s: %w", p.NetNS, err)
	}
	defer ns.Close()
	if err := l.clear(w.Host, p.Addresses); err != nil {
		return w, err
	}
	err = l.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: w.Host, MTU: w.MTU, HardwareAddr: hostMAC},
		PeerName:  p.IfName, PeerHardwareAddr: podMAC(p.Addresses), PeerNamespace: netlink.NsFd(int(ns)), PeerMTU: uint32(w.MTU),
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
func (l *Links) clear(host string, all []netip.Addr) error {
	for _, a := range all {
		if err := l.clearRoutes(a); err != nil {
			return err
		}
	}
	return l.del(host)
}

func (l *Links) clearRoutes(a netip.Addr) error {
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.nl.RouteListFiltered(netFamily(a), &netlink.Route{Dst: single(a)}, netlink.RT_FILTER_DST)
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
	return nil
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
	for _, a := range p.Addresses {
		if err := l.nl.NeighSet(neighbour(index, a, podMAC(p.Addresses))); err != nil {
			return fmt.Errorf("adding neighbour %s: %w", a, err)
		}
		r := &netlink.Route{LinkIndex: index, Dst: single(a), Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol}
		if err := l.nl.RouteReplace(l.src(r, a)); err != nil {
			return fmt.Errorf("adding route to %s: %w", a, err)
		}
	}
	return l.answerable(link)
}

// Everywhere is the network of all addresses of a family.
func Everywhere(of netip.Addr) netip.Prefix {
	if of.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// podSide configures the pod's end. The gateway is the same on every link of a pod, so
// its routes name the link.
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
	err = nl.LinkSetUp(link)
	if err == nil && slices.ContainsFunc(p.Addresses, netip.Addr.Is6) {
		err = inside(ns, func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/"+p.IfName+"/disable_ipv6", []byte("0"), 0o644)
		})
	}
	for _, a := range p.Addresses {
		if err == nil {
			err = reach(nl, link, a, p.Routes)
		}
		if err == nil && p.Answers {
			err = answer(nl, link, a)
		}
	}
	if err != nil {
		return fmt.Errorf("configuring %s in the pod: %w", p.IfName, err)
	}
	return nil
}

// reach gives a pod's link an address, and the routes of its family; nil: to everything.
// What another link had before is reached by this one.
func reach(nl *netlink.Handle, link netlink.Link, a netip.Addr, routes []netip.Prefix) error {
	index, gw := link.Attrs().Index, podGateway(a)
	if routes == nil {
		routes = []netip.Prefix{Everywhere(a)}
	}
	if err := nl.AddrAdd(link, own(a)); err != nil {
		return fmt.Errorf("adding the address %s: %w", a, err)
	}
	if err := nl.NeighSet(neighbour(index, gw, hostMAC)); err != nil {
		return fmt.Errorf("adding the gateway %s: %w", gw, err)
	}
	for _, to := range routes {
		if to.Addr().Is4() != a.Is4() {
			continue
		}
		if err := nl.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(to), Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
			return fmt.Errorf("adding a route to %s: %w", to, err)
		}
	}
	return nil
}

// answers is the table of routes, and the priority of the rule, of what a pod sends from
// an address of the cluster's network that it does not leave by else.
const answers = 7703

// answer has what is sent from the link's address leave by the link.
func answer(nl *netlink.Handle, link netlink.Link, a netip.Addr) error {
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(Everywhere(a)), Gw: podGateway(a).AsSlice(), Flags: int(netlink.FLAG_ONLINK), Table: answers,
	}
	if err := nl.RouteReplace(route); err != nil {
		return fmt.Errorf("adding a route for answers: %w", err)
	}
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table, rule.Priority = netFamily(a), single(a), answers, answers
	if err := nl.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding the rule for answers: %w", err)
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

// CheckPod reports whether a sandbox's link is there, up, and has its routes.
func (l *Links) CheckPod(id string, addrs []netip.Addr) error {
	link, err := l.nl.LinkByName(l.Host(id))
	if err != nil {
		return fmt.Errorf("finding link %s: %w", l.Host(id), err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("link %s is down", l.Host(id))
	}
	for _, a := range addrs {
		routes, err := dump(func() ([]netlink.Route, error) {
			return l.nl.RouteListFiltered(netFamily(a), &netlink.Route{Dst: single(a), LinkIndex: link.Attrs().Index}, netlink.RT_FILTER_DST|netlink.RT_FILTER_OIF)
		})
		if err == nil && len(routes) == 0 {
			err = syscall.ENOENT
		}
		if err != nil {
			return fmt.Errorf("finding the route to %s: %w", a, err)
		}
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
	return &netlink.Neigh{LinkIndex: index, Family: netFamily(a), State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

// podMAC makes a pod's MAC address of its first address; of IPv6 of what lies within its
// node's subnet, which is all that its link sees.
func podMAC(addrs []netip.Addr) net.HardwareAddr {
	b := addrs[0].AsSlice()
	return append(net.HardwareAddr{0x0a, 0x58}, b[len(b)-4:]...)
}
