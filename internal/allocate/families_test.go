package allocate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/allocate"
	"trireme/internal/kind"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

var dual = allocate.Config{
	PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.128.0.0/10"), netip.MustParsePrefix("fd00:128::/48")},
	ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/112")},
	NodePortMin:  30000, NodePortMax: 30010,
}

// Families of a service, as Kubernetes settles them ("IPv4/IPv6 dual-stack", Services).
func TestFamilies(t *testing.T) {
	s := open(t)
	const four, six = corev1.IPv4Protocol, corev1.IPv6Protocol
	const single, prefer, require = corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	of := func(policy corev1.IPFamilyPolicy, ips []string, families ...corev1.IPFamily) *corev1.Service {
		svc := service("a", corev1.ServiceTypeClusterIP)
		svc.Spec.ClusterIPs, svc.Spec.IPFamilies, svc.Spec.Selector = ips, families, map[string]string{"app": "a"}
		if policy != "" {
			svc.Spec.IPFamilyPolicy = &policy
		}
		return svc
	}
	none := []string{corev1.ClusterIPNone}
	loose := of("", none)
	loose.Spec.Selector = nil
	for name, c := range map[string]struct {
		in       *corev1.Service
		dual     bool
		families []corev1.IPFamily
		policy   corev1.IPFamilyPolicy
		fault    string
	}{
		"nothing said":                      {of("", nil), true, []corev1.IPFamily{four}, single, ""},
		"prefer":                            {of(prefer, nil), true, []corev1.IPFamily{four, six}, prefer, ""},
		"prefer, one family in the cluster": {of(prefer, nil), false, []corev1.IPFamily{four}, prefer, ""},
		"require":                           {of(require, nil), true, []corev1.IPFamily{four, six}, require, ""},
		"require, one family":               {of(require, nil), false, nil, "", "not configured for dual-stack"},
		"IPv6 alone":                        {of("", nil, six), true, []corev1.IPFamily{six}, single, ""},
		"IPv6 where there is none":          {of("", nil, six), false, nil, "", "not configured on this cluster"},
		"both named":                        {of("", nil, six, four), true, []corev1.IPFamily{six, four}, require, ""},
		"both named, single":                {of(single, nil, six, four), true, nil, "", "must be RequireDualStack or PreferDualStack"},
		"an address of IPv6":                {of("", []string{"fd00:96::50"}), true, []corev1.IPFamily{six}, single, ""},
		"an address of IPv6, prefer":        {of(prefer, []string{"fd00:96::50"}), true, []corev1.IPFamily{six, four}, prefer, ""},
		"addresses against families":        {of("", []string{"fd00:96::50"}, four), true, nil, "", "expected an IPv4 value"},
		"an address of no range":            {of("", []string{"fd00:97::50"}), true, nil, "", "not in the valid range"},
		"headless":                          {of(prefer, none), true, []corev1.IPFamily{four, six}, prefer, ""},
		"headless without selector":         {loose, false, []corev1.IPFamily{four, six}, require, ""},
	} {
		cfg := config
		if c.dual {
			cfg = dual
		}
		svc := c.in.DeepCopy()
		_, err := s.Update(t.Context(), func(tx *store.Tx) error { return allocate.New(cfg).Service(tx, svc, nil) })
		if c.fault != "" {
			if !kind.Is(err, kind.Invalid) || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", name, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []corev1.IPFamily
		for _, ip := range svc.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(ip); err == nil && a.Is6() {
				got = append(got, six)
			} else if err == nil {
				got = append(got, four)
			}
		}
		headless := svc.Spec.ClusterIP == corev1.ClusterIPNone
		if !slices.Equal(svc.Spec.IPFamilies, c.families) || *svc.Spec.IPFamilyPolicy != c.policy || !headless && !slices.Equal(got, c.families) {
			t.Errorf("%s: families %v, policy %s, addresses %v", name, svc.Spec.IPFamilies, *svc.Spec.IPFamilyPolicy, svc.Spec.ClusterIPs)
		}
	}
}

// A service gets a second family and gives it back; the first address stays.
func TestFamiliesChange(t *testing.T) {
	s := open(t)
	var first, now *corev1.Service
	change := func(old *corev1.Service, f func(*corev1.ServiceSpec)) *corev1.Service {
		next := old.DeepCopy()
		f(&next.Spec)
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { return allocate.New(dual).Service(tx, next, old) }); err != nil {
			t.Fatal(err)
		}
		return next
	}
	first = change(service("a", corev1.ServiceTypeClusterIP), func(*corev1.ServiceSpec) {})
	prefer, single := corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicySingleStack
	now = change(first, func(sp *corev1.ServiceSpec) { sp.IPFamilyPolicy = &prefer })
	if len(now.Spec.ClusterIPs) != 2 || now.Spec.ClusterIPs[0] != first.Spec.ClusterIP {
		t.Fatalf("grown: %v", now.Spec.ClusterIPs)
	}
	now = change(now, func(sp *corev1.ServiceSpec) { sp.IPFamilyPolicy = &single })
	if !slices.Equal(now.Spec.ClusterIPs, first.Spec.ClusterIPs) || len(now.Spec.IPFamilies) != 1 {
		t.Fatalf("shrunk: %v %v", now.Spec.ClusterIPs, now.Spec.IPFamilies)
	}
}

// A node has one number and a pod another: their addresses of both families follow. A
// node of before the second family gets the subnet that goes with its first.
func TestNumbers(t *testing.T) {
	w := looptest.New(t, append(tables.All(), tables.NetworkMembers.Any()))
	w.Put(`
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Node, metadata: {name: old}, spec: {podCIDR: 10.129.3.0/24, podCIDRs: [10.129.3.0/24]}}
---
{apiVersion: v1, kind: Node, metadata: {name: new}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: new}}
`)
	w.Settle(w.Runner(allocate.New(dual).Loops()...))
	for name, want := range map[string][]string{
		"old": {"10.129.3.0/24", "fd00:128:0:103::/64"}, "new": {"10.128.0.0/24", "fd00:128::/64"},
	} {
		n, _ := tables.Nodes.Get(w.Store.Head(), object.Key{Name: name})
		if !slices.Equal(n.Spec.PodCIDRs, want) || n.Spec.PodCIDR != want[0] {
			t.Errorf("node %s has %v, want %v", name, n.Spec.PodCIDRs, want)
		}
	}
	p, _ := tables.Pods.Get(w.Store.Head(), object.Key{Namespace: metav1.NamespaceDefault, Name: "p"})
	if want := []corev1.PodIP{{IP: "10.128.0.2"}, {IP: "fd00:128::2"}}; !slices.Equal(p.Status.PodIPs, want) {
		t.Errorf("the pod has %v, want %v", p.Status.PodIPs, want)
	}
}
