package peergroup

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/peers"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// group is what the loop knows of one group.
type group struct {
	peers.Group
	id      string
	users   int                                      // policies that name it
	at      map[object.Key]string                    // members' nodes
	members map[string]map[object.Key][]peers.Member // by node, pod
}

type podRow = store.Row[*corev1.Pod, *tables.PodHead]

// take takes in a pod of a namespace that is near the group; ok: there is one.
func (l *Loop) take(g *group, pod object.Key, row podRow, ok bool) {
	if !ok {
		l.put(g, pod, "", nil)
		return
	}
	h := row.Head()
	if h.IP == "" || h.Node == "" || h.HostNetwork || h.Ended() || !g.Matches(h.Labels) {
		l.put(g, pod, "", nil)
		return
	}
	var members []peers.Member
	for _, ip := range h.IPs() {
		a, err := netip.ParseAddr(ip)
		switch {
		case err != nil:
		case g.Port == "":
			members = append(members, peers.Member{Address: a})
		default:
			for _, n := range peers.Named(row.Object(), g.Port, g.Protocol) {
				members = append(members, peers.Member{Address: a, Protocol: g.Protocol, Port: n})
			}
		}
	}
	l.put(g, pod, h.Node, members)
}

// put sets what a pod is in a group, and marks the rows that have to say so.
func (l *Loop) put(g *group, pod object.Key, node string, members []peers.Member) {
	was, had := g.at[pod]
	if !had && len(members) == 0 || had && was == node && slices.Equal(g.members[was][pod], members) {
		return
	}
	if had {
		l.dirty[object.Key{Namespace: g.id, Name: was}] = true
		delete(g.at, pod)
		if delete(g.members[was], pod); len(g.members[was]) == 0 {
			delete(g.members, was)
		}
	}
	if len(members) == 0 {
		return
	}
	l.dirty[object.Key{Namespace: g.id, Name: node}] = true
	g.at[pod] = node
	if g.members[node] == nil {
		g.members[node] = map[object.Key][]peers.Member{}
	}
	g.members[node][pod] = members
}
