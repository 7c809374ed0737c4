package dispatch_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/peers"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// allowing returns a policy for pods of the label app that lets a team in, and the
// ID of that group.
func allowing(app, team string) (*networkingv1.NetworkPolicy, string) {
	p := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
				{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}},
			}}},
		},
	}
	read := peers.Read(p)
	for id := range read.Groups() {
		return p, id
	}
	return p, ""
}

func part(id, node, address string) *peers.Part {
	return &peers.Part{ObjectMeta: metav1.ObjectMeta{Namespace: id, Name: node}, Members: []peers.Member{{Address: netip.MustParseAddr(address)}}}
}

func labelled(name, node, app string) *corev1.Pod {
	p := pod(name, node)
	p.Labels = map[string]string{"app": app}
	return p
}

// Nodes hear of the policies of their own pods, of the groups these name, and of
// nothing else; a pod never comes without them.
func TestPoliciesFollowPods(t *testing.T) {
	m := newManager(t, time.Minute)
	p, red := allowing("web", "red")
	_, blue := allowing("web", "blue")
	m.update(func(tx *store.Tx) {
		tables.NetworkPolicies.Put(tx, p)
		tables.PeerGroups.Put(tx, part(red, "n7", "10.128.7.2"))
		tables.PeerGroups.Put(tx, part(blue, "n9", "10.128.9.2"))
		tables.Pods.Put(tx, labelled("other", "n1", "db"))
	})
	a := m.agent("n1")
	const policy = "networkpolicies default/p"
	have := map[string]wire.Item{}
	holds := func(after string, want ...string) {
		t.Helper()
		for {
			now := slices.Sorted(maps.Keys(have))
			if slices.Sort(want); slices.Equal(now, want) {
				return
			}
			t.Logf("%s: the agent holds %q", after, now)
			full, items := a.next()
			if full {
				clear(have)
			}
			for k, i := range items {
				if have[k] = i; i.Deleted {
					delete(have, k)
				}
			}
			_, web := have["pods default/a"]
			if _, ok := have[policy]; web && !ok {
				t.Fatalf("%s: a pod is there without its policy", after)
			}
		}
	}
	group := func(id, node string) string { return "peergroups " + id + "/" + node }
	put := func(app, team string) {
		m.update(func(tx *store.Tx) {
			next, _ := allowing(app, team)
			tables.NetworkPolicies.Put(tx, next)
		})
	}

	holds("the start", "pods default/other")
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, labelled("a", "n1", "web")) })
	holds("a pod that is selected", "pods default/other", "pods default/a", policy, group(red, "n7"))
	if got := have[group(red, "n7")].Object.(*peers.Part).Members[0].Address.String(); got != "10.128.7.2" {
		t.Errorf("the group's member is %s", got)
	}
	m.update(func(tx *store.Tx) { tables.PeerGroups.Put(tx, part(red, "n8", "10.128.8.2")) })
	holds("another node has a member", "pods default/other", "pods default/a", policy, group(red, "n7"), group(red, "n8"))
	m.update(func(tx *store.Tx) { tables.PeerGroups.Delete(tx, object.Key{Namespace: red, Name: "n7"}) })
	holds("one has none any more", "pods default/other", "pods default/a", policy, group(red, "n8"))
	put("web", "blue")
	holds("the policy names another group", "pods default/other", "pods default/a", policy, group(blue, "n9"))
	m.update(func(tx *store.Tx) { tables.PeerGroups.Put(tx, part(red, "n8", "10.128.8.3")) }) // concerns nobody now
	m.update(func(tx *store.Tx) { tables.Pods.Delete(tx, podKey) })
	holds("the pod goes", "pods default/other")
	put("none", "red")
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, labelled("other", "n1", "none")) })
	holds("a pod is given labels", "pods default/other", policy, group(red, "n8"))
	put("db", "red")
	holds("the policy leaves it", "pods default/other")
	put("none", "blue")
	holds("the policy selects it again", "pods default/other", policy, group(blue, "n9"))
	m.update(func(tx *store.Tx) { tables.NetworkPolicies.Delete(tx, object.Key{Namespace: "default", Name: "p"}) })
	holds("the policy is deleted", "pods default/other")
}
