package dataplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/chain"
	"trireme/internal/dataplane/filter"
	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/nft"
	"trireme/internal/kind"
)

// routeLocalnet lets a connection to 127.0.0.1 be led to a pod. The guard chain
// keeps neighbours from using it, so it must not outlive the table.
const routeLocalnet = "net/ipv4/conf/all/route_localnet"

// settings sets what the host's IP layer must do. What route_localnet was is
// kept in the state folder for Teardown; forwarding stays on, others may have
// come to rely on it.
func (d *Dataplane) settings() error {
	if _, err := d.links.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if slices.ContainsFunc(d.cfg.Networks, Network.v6) {
		if err := d.links.KeepAdvertisements(); err != nil {
			return err
		}
		if _, err := d.links.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
			return err
		}
		if err := d.links.Answerable(d.cfg.NodeIPs); err != nil {
			return err
		}
	}
	was, err := d.links.Sysctl(routeLocalnet, "1")
	if err != nil || was == "1" {
		return err
	}
	if err := os.MkdirAll(d.cfg.Root, 0o755); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	if err := os.WriteFile(settingFile(d.cfg.Root), []byte(was), 0o600); err != nil {
		return fmt.Errorf("keeping a setting: %w", err)
	}
	return nil
}

func settingFile(root string) string { return filepath.Join(root, "route_localnet") }

func confFile(root string) string {
	return filepath.Join(root, "cni", "net.d", "10-trireme.conflist")
}

func chainDir(root string) string { return filepath.Join(root, "cni", "chain") }

// writeConf writes the CNI configuration, whose presence tells the container
// runtime that the network is ready. Where plugins of the user's attach pods, theirs does.
func (d *Dataplane) writeConf() error {
	if d.byPlugins() {
		return nil
	}
	conf := map[string]any{
		"cniVersion": "1.1.0", "name": "trireme",
		"plugins": []any{map[string]any{"type": "trireme-cni", "socket": d.socket()}},
	}
	b, err := json.MarshalIndent(conf, "", "  ")
	if err != nil {
		return err
	}
	path := confFile(d.cfg.Root)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the CNI folder: %w", err)
	}
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return fmt.Errorf("writing the CNI configuration: %w", err)
	}
	return os.Rename(path+".new", path)
}

// Teardown removes every link, route, rule and setting that a dataplane with
// this root and bridge name (empty: DefaultBridge) made in the calling thread's
// network namespace, in whatever process. Doing it twice is no error.
func Teardown(ctx context.Context, root, bridge string) error {
	if bridge == "" {
		bridge = DefaultBridge
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	links, err := link.Open(bridge)
	if err != nil {
		return err
	}
	defer links.Close()
	var errs []error
	if was, err := os.ReadFile(settingFile(root)); err == nil {
		_, err = links.Sysctl(routeLocalnet, string(was)) // before the guard goes
		errs = append(errs, err)
	}
	for _, v6 := range []bool{false, true} {
		table, err := nft.Open(int(links.NS()), bridge, v6)
		if err == nil {
			err = table.Remove()
			table.Close()
		}
		errs = append(errs, err)
	}
	errs = append(errs, links.Remove(), links.PruneSpaces(spacesDir(root), nil))
	if err := chain.Teardown(ctx, chainDir(root), root); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, os.RemoveAll(chainDir(root)))
	}
	errs = append(errs, os.RemoveAll(filepath.Join(root, "cni", "net.d")), os.RemoveAll(tunnelDir(root)))
	for _, path := range []string{settingFile(root), filepath.Join(root, "cni.sock"), filepath.Join(root, "cni")} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Teardown removes everything this dataplane made. It must not run any more.
func (d *Dataplane) Teardown(ctx context.Context) error {
	return d.links.Do(func() error { return Teardown(ctx, d.cfg.Root, d.cfg.Bridge) })
}

// CheckEncryption reports that this machine cannot encrypt the overlay.
func CheckEncryption() error { return link.CheckTunnel() }

// Check reports what this kernel lacks, by building a small network in a network
// namespace that is thrown away. It needs root.
func Check() error {
	if os.Geteuid() != 0 {
		return kind.New(kind.Denied, "not root: links and rules cannot be made")
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, and its namespace, end here
		result <- check()
	}()
	return <-result
}

func check() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	links, err := link.Open("check0")
	if err != nil {
		return err
	}
	defer links.Close()
	self, peer := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	pods, services := netip.MustParsePrefix("10.128.0.0/10"), netip.MustParsePrefix("10.96.0.0/12")
	dns := netip.MustParseAddr("10.96.0.10")
	if err := errors.Join(
		links.Anchor(dns), links.Subnet(netip.MustParsePrefix("10.128.0.0/24"), services, self),
		links.Peers("a", self, map[string]link.Peer{"b": {Address: peer, Subnets: [2]netip.Prefix{netip.MustParsePrefix("10.128.1.0/24")}}}),
	); err != nil {
		return err
	}
	table, err := nft.Open(int(links.NS()), "check0", false)
	if err != nil {
		return err
	}
	defer table.Close()
	some := balance.NewTable()
	backends := []netip.AddrPort{netip.AddrPortFrom(peer, 1), netip.AddrPortFrom(peer, 2)}
	some.Set("a", []balance.Pool{{Name: "a", Proto: 6, Backends: backends, Fronts: []balance.Front{{Addr: self, Proto: 6, Port: 1}}}})
	some.Set("b", []balance.Pool{{Name: "b", Proto: 6, Backends: backends, Affinity: true, Stick: 60, Fronts: []balance.Front{{Proto: 6, Port: 2}}}})
	some.Set("c", []balance.Pool{{Name: "c", Proto: 17, Fronts: []balance.Front{{Proto: 17, Port: 3}}}})
	base := nft.Base{PodCIDR: pods, ServiceCIDR: services, DNS: dns, Outs: outsOf(false), Gateway: links.Gateway(dns), Overlay: links.Overlay(), PodLinks: link.PodLinks}
	return table.Rebuild(base, some.All(), somePolicies().All())
}

// somePolicies is a pod and a policy that needs a set and a chain of each kind.
func somePolicies() *filter.Table {
	everyone := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	block := networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8"}}}
	one, two, name := intstr.FromInt32(1), intstr.FromInt32(3), intstr.FromString("http")
	t := filter.NewTable(false)
	t.SetPod(types.NamespacedName{Name: "a"}, &corev1.Pod{}, netip.MustParseAddr("10.128.0.2"))
	t.SetPolicy(types.NamespacedName{Name: "a"}, &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
		Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From: []networkingv1.NetworkPolicyPeer{everyone, block}, Ports: []networkingv1.NetworkPolicyPort{{Port: &one}, {Port: &two}},
		}},
		Egress: []networkingv1.NetworkPolicyEgressRule{{
			To: []networkingv1.NetworkPolicyPeer{everyone}, Ports: []networkingv1.NetworkPolicyPort{{Port: &name}},
		}},
	}})
	return t
}
