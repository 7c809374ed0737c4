package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Space is one node's part of a tenant's network: a network namespace of its own,
// with the network's VXLAN and its pods' links in it. So its addresses may be the same
// as those of others. The VXLAN's outer packets go through the namespace that it was
// made in, the node's.
//
//	pod: net1 10.0.9.2/32 ── tri… ─┐ namespace ROOT/networks/VNI      node's namespace
//	                               ├─ routing ── trnVNI (VXLAN) ─────────► UDP 4789
//	pod: net1 10.0.9.3/32 ── tri… ─┘     └─ NAT ── out 169.254.64.0/32 ── tri… ─► NAT ─► world
//
// Its way out, if it has one, is a link as a pod has it, with an address of the node's own
// choice: to the node the network is one more sender.
type Space struct {
	*Links
	vx      string
	remotes map[netip.Addr]Remote
}

// SpaceConfig says what a Space is.
type SpaceConfig struct {
	VNI     int
	Subnets []netip.Prefix
	MTU     int          // of pods' links; 0: what fits
	Self    string       // the node's name
	Local   netip.Addr   // the node's address
	Outs    []netip.Addr // by which pods leave, one a family; none: they do not
}

// OutLink is a space's end of its way out.
const OutLink = "out"

// OfSpaces is what the names of spaces' ways out begin with, where pods' are
// "namespace/name": no namespace is called so.
const OfSpaces = "VNI/"

// Out returns the name of a space's way out, which is also its ID.
func Out(vni int) string { return OfSpaces + strconv.Itoa(vni) }

// Remote is where a pod on another node is.
type Remote struct {
	Node    string
	Address netip.Addr // the node's
}

// OpenSpace returns the network's space, made where there is none, under the folder.
// Close it, or Delete it.
func (l *Links) OpenSpace(dir string, c SpaceConfig) (*Space, error) {
	path := filepath.Join(dir, strconv.Itoa(c.VNI))
	ns, err := spaceAt(path)
	if err != nil {
		return nil, err
	}
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("opening netlink in %s: %w", path, err)
	}
	s := &Space{Links: &Links{bridge: l.bridge, ns: ns, nl: nl, peers: map[string]Peer{}}, vx: carrier(c.VNI)}
	size, err := l.podMTU(c.Local)
	if err == nil {
		s.mtu = size
		if c.MTU != 0 {
			s.mtu = min(c.MTU, size)
		}
		err = errors.Join(s.prepare(c.Subnets), l.carry(s, c), l.lead(s, c, path))
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// spaceAt opens the namespace that is mounted at path, or makes it.
func spaceAt(path string) (netns.NsHandle, error) {
	var at unix.Statfs_t
	if err := unix.Statfs(path, &at); err == nil && at.Type == unix.NSFS_MAGIC {
		return netns.GetFromPath(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return -1, fmt.Errorf("making the folder of networks: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return -1, fmt.Errorf("making a place for a network: %w", err)
	}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here, and the mount keeps its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return -1, fmt.Errorf("making a network namespace at %s: %w", path, err)
	}
	return netns.GetFromPath(path)
}

// prepare sets what the space's IP layer must do.
func (s *Space) prepare(subnets []netip.Prefix) error {
	settings := []string{"net/ipv4/ip_forward=1"}
	if slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Addr().Is6() }) { // all are off where the node's are
		settings = append(settings, "net/ipv6/conf/all/disable_ipv6=0", "net/ipv6/conf/default/disable_ipv6=0", "net/ipv6/conf/all/forwarding=1")
	}
	for _, set := range settings {
		path, value, _ := strings.Cut(set, "=")
		if _, err := s.Sysctl(path, value); err != nil {
			return err
		}
	}
	lo, err := s.nl.LinkByName("lo")
	if err == nil {
		err = s.nl.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("setting the loopback of a network up: %w", err)
	}
	for _, p := range subnets { // an address that no pod has is refused at once
		r := &netlink.Route{Dst: ipNet(p), Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol}
		if err := s.nl.RouteReplace(r); err != nil {
			return fmt.Errorf("adding route %s: %w", p, err)
		}
	}
	return nil
}

// carry puts the network's VXLAN into the space.
func (l *Links) carry(s *Space, c SpaceConfig) error {
	if link, err := s.nl.LinkByName(s.vx); err == nil {
		v, ok := link.(*netlink.Vxlan)
		if ok && v.MTU == s.mtu && v.SrcAddr.Equal(c.Local.AsSlice()) && v.HardwareAddr.String() == hardware(c.Self).String() {
			return nil
		}
		if err := s.nl.LinkDel(link); err != nil {
			return fmt.Errorf("removing the old %s: %w", s.vx, err)
		}
	}
	if err := l.del(s.vx); err != nil { // left by a process that ended half way
		return err
	}
	err := l.nl.LinkAdd(&netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: s.vx, HardwareAddr: hardware(c.Self), MTU: s.mtu},
		VxlanId:   c.VNI, Port: VXLANPort, SrcAddr: c.Local.AsSlice(), Learning: false,
	})
	if err != nil {
		return fmt.Errorf("making link %s: %w", s.vx, err)
	}
	link, err := l.nl.LinkByName(s.vx)
	if err == nil {
		err = l.nl.LinkSetNsFd(link, int(s.ns))
	}
	if err == nil {
		if link, err = s.nl.LinkByName(s.vx); err == nil {
			err = s.nl.LinkSetUp(link)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("moving %s into its network: %w", s.vx, err), l.del(s.vx))
	}
	return nil
}

// lead makes the space's way out, or takes over the one there is: another one would cut
// what goes through it.
func (l *Links) lead(s *Space, c SpaceConfig, path string) error {
	id := Out(c.VNI)
	if len(c.Outs) == 0 {
		return l.DelPod(id)
	}
	if l.CheckPod(id, c.Outs) == nil && s.leads(c.Outs, l.podSize()) {
		return nil
	}
	_, err := l.AddPod(Pod{ID: id, Name: id, Addresses: c.Outs, NetNS: path, IfName: OutLink})
	return err
}

// leads reports whether the space has its default routes by its way out.
func (s *Space) leads(outs []netip.Addr, size int) bool {
	link, err := s.nl.LinkByName(OutLink)
	if err != nil || link.Attrs().MTU != size {
		return false
	}
	for _, a := range outs {
		all, err := dump(func() ([]netlink.Route, error) {
			return s.nl.RouteListFiltered(netFamily(a), &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(Everywhere(a))}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
		})
		if err != nil || len(all) == 0 {
			return false
		}
	}
	return true
}

// Remotes brings the ways to the network's pods on other nodes in line: for each a
// route and a neighbour entry, for each node a forwarding entry. Nothing is asked of
// the wire, and what has no entry goes nowhere.
func (s *Space) Remotes(want map[netip.Addr]Remote) error {
	link, err := s.nl.LinkByName(s.vx)
	if err != nil {
		return fmt.Errorf("finding %s: %w", s.vx, err)
	}
	index := link.Attrs().Index
	if s.remotes == nil {
		s.remotes = map[netip.Addr]Remote{}
	}
	var errs []error
	for a, r := range want {
		if s.remotes[a] == r {
			continue
		}
		if err := s.addRemote(index, a, r); err != nil {
			errs = append(errs, err)
			continue
		}
		s.remotes[a] = r
	}
	for a := range s.remotes {
		if _, stays := want[a]; !stays {
			delete(s.remotes, a)
		}
	}
	return errors.Join(append(errs, s.pruneRemotes(index))...)
}

func (s *Space) addRemote(index int, a netip.Addr, r Remote) error {
	mac := hardware(r.Node)
	if err := s.nl.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: r.Address.AsSlice(), HardwareAddr: mac,
	}); err != nil {
		return fmt.Errorf("adding the forwarding entry of node %s: %w", r.Node, err)
	}
	if err := s.nl.NeighSet(neighbour(index, a, mac)); err != nil {
		return fmt.Errorf("adding the neighbour entry of %s: %w", a, err)
	}
	route := &netlink.Route{LinkIndex: index, Dst: single(a), Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol}
	if err := s.nl.RouteReplace(route); err != nil {
		return fmt.Errorf("adding route %s: %w", a, err)
	}
	return nil
}

// pruneRemotes removes the ways to pods and nodes that are gone, also those that an
// earlier process made.
func (s *Space) pruneRemotes(index int) error {
	pods, nodes := map[string]bool{}, map[string]bool{}
	for a, r := range s.remotes {
		pods[a.String()] = true
		nodes[hardware(r.Node).String()+" "+r.Address.String()] = true
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return s.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: index, Protocol: routeProtocol}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	})
	errs := []error{err}
	for _, r := range routes {
		if r.Dst != nil && !pods[r.Dst.IP.String()] {
			errs = append(errs, gone(s.nl.RouteDel(&r)))
		}
	}
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		neighbours, err := dump(func() ([]netlink.Neigh, error) { return s.nl.NeighList(index, f) })
		errs = append(errs, err)
		for _, n := range neighbours {
			if n.State == netlink.NUD_PERMANENT && !pods[n.IP.String()] {
				errs = append(errs, gone(s.nl.NeighDel(&n)))
			}
		}
	}
	entries, err := dump(func() ([]netlink.Neigh, error) { return s.nl.NeighList(index, unix.AF_BRIDGE) })
	errs = append(errs, err)
	for _, n := range entries {
		if n.IP != nil && !nodes[n.HardwareAddr.String()+" "+n.IP.String()] {
			errs = append(errs, gone(s.nl.NeighDel(&n)))
		}
	}
	return errors.Join(errs...)
}

// carrier is the name of a network's VXLAN.
func carrier(vni int) string { return fmt.Sprintf("trn%d", vni) }

// emptySpace takes the VXLAN out of the space at path: its number is free then, however
// long others keep the namespace, such as a container that sees the node's root.
func emptySpace(path string, vni int) error {
	var at unix.Statfs_t
	if err := unix.Statfs(path, &at); err != nil || at.Type != unix.NSFS_MAGIC {
		return nil // it was made half way
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("opening the network namespace at %s: %w", path, err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening netlink in %s: %w", path, err)
	}
	defer nl.Close()
	return (&Links{nl: nl}).del(carrier(vni))
}

// PruneSpaces deletes the spaces under the folder that keep does not name by VNI, with
// the links in them.
func (l *Links) PruneSpaces(dir string, keep map[int]bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		vni, err := strconv.Atoi(e.Name())
		if err != nil || keep[vni] {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := emptySpace(path, vni); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("letting go of the network namespace at %s: %w", path, err))
			continue
		}
		errs = append(errs, os.Remove(path))
	}
	if len(keep) == 0 {
		if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
