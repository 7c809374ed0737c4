package link

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// newNamespace makes a network namespace that ends with the test.
func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	must(t, err)
	defer own.Close()
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	must(t, netns.Set(own))
	return ns
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually fails unless f says yes within ten seconds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited until %s", what)
		}
	}
}

// held says on which links an address is.
func held(t *testing.T, l *Links, addr netip.Addr) (on []string) {
	t.Helper()
	links, err := l.nl.LinkList()
	must(t, err)
	for _, link := range links {
		all, err := dump(func() ([]netlink.Addr, error) { return l.nl.AddrList(link, netlink.FAMILY_V6) })
		must(t, err)
		for _, a := range all {
			if a.IP.Equal(addr.AsSlice()) {
				on = append(on, link.Attrs().Name)
			}
		}
	}
	return on
}

// A floating address of IPv6 is on the link of the neighbours that it is announced to,
// and goes with its lease.
func TestFloatsOfIPv6(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	ours, theirs := newNamespace(t), newNamespace(t)
	var l *Links
	own, router := netip.MustParseAddr("fd77::1"), &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("fd78::/64")), ValidLft: 600, PreferedLft: 600}
	must(t, inside(ours, func() (err error) {
		l, err = Open("float0")
		return err
	}))
	t.Cleanup(l.Close)
	must(t, l.Anchor(netip.MustParseAddr("fd00::a")))
	must(t, l.nl.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(theirs))}))
	wire, err := l.nl.LinkByName("eth0")
	must(t, err)
	must(t, l.nl.AddrAdd(wire, &netlink.Addr{IPNet: &net.IPNet{IP: own.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}))
	must(t, l.nl.AddrAdd(wire, router)) // leased too, and not ours
	must(t, l.nl.LinkSetUp(wire))
	neighbour, err := netlink.NewHandleAt(theirs)
	must(t, err)
	t.Cleanup(neighbour.Close)
	side, err := neighbour.LinkByName("eth0")
	must(t, err)
	must(t, neighbour.LinkSetUp(side))
	eventually(t, "the wire carries", func() bool {
		link, err := l.nl.LinkByName("eth0")
		return err == nil && link.Attrs().OperState == netlink.OperUp
	})

	addr := netip.MustParseAddr("fd77::200")
	want := map[netip.Addr]bool{addr: true}
	floats := func(lease time.Duration, fresh int) {
		t.Helper()
		got, err := l.Floats(want, lease, []netip.Addr{own})
		must(t, err)
		if len(got) != fresh {
			t.Errorf("%v are new, want %d", got, fresh)
		}
	}
	floats(time.Minute, 1)
	floats(time.Minute, 0)
	if on := held(t, l, addr); len(on) != 2 {
		t.Errorf("the address is on %v, want the anchor and the wire", on)
	}

	// A neighbour that knows another machine by the address hears of this one.
	must(t, neighbour.NeighSet(&netlink.Neigh{
		LinkIndex: side.Attrs().Index, Family: netlink.FAMILY_V6, State: netlink.NUD_REACHABLE, IP: addr.AsSlice(), HardwareAddr: nobodyMAC,
	}))
	eventually(t, "the neighbour hears of it", func() bool {
		must(t, l.Announce([]netip.Addr{addr}, []netip.Addr{own}))
		all, err := neighbour.NeighList(side.Attrs().Index, netlink.FAMILY_V6)
		must(t, err)
		for _, n := range all {
			if n.IP.Equal(addr.AsSlice()) && n.HardwareAddr.String() == wire.Attrs().HardwareAddr.String() {
				return true
			}
		}
		return false
	})

	floats(time.Second, 0)
	eventually(t, "the lease ends", func() bool { return len(held(t, l, addr)) == 0 })
	floats(time.Minute, 1)
	want = nil
	floats(time.Minute, 0)
	if on := held(t, l, addr); len(on) != 0 {
		t.Errorf("the address that nobody wants is on %v", on)
	}
	if on := held(t, l, netip.MustParseAddr("fd78::")); len(on) != 1 {
		t.Error("an address of the router's went too")
	}
}
