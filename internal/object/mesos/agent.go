package mesos

import (
	"maps"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
)

// AgentPort is where agents answer Mesos' own requests.
const AgentPort = 5051

// Attributes returns what offers tell of an agent: its own attributes, and the labels of its
// node that none of them is called like.
func Attributes(node *corev1.Node, a *Agent) (all []*mesosv1.Attribute) {
	own := map[string]bool{}
	for _, m := range a.Spec.Attributes {
		own[m.M.GetName()] = true
		all = append(all, m.M)
	}
	for _, name := range slices.Sorted(maps.Keys(node.Labels)) {
		if !own[name] {
			all = append(all, &mesosv1.Attribute{
				Name: proto.String(name), Type: mesosv1.Value_TEXT.Enum(), Text: &mesosv1.Value_Text{Value: proto.String(node.Labels[name])},
			})
		}
	}
	return all
}

// Domain returns where a node is; nil: its labels do not say.
func Domain(node *corev1.Node) *mesosv1.DomainInfo {
	region, zone := node.Labels[corev1.LabelTopologyRegion], node.Labels[corev1.LabelTopologyZone]
	if region == "" || zone == "" {
		return nil
	}
	return &mesosv1.DomainInfo{FaultDomain: &mesosv1.DomainInfo_FaultDomain{
		Region: &mesosv1.DomainInfo_FaultDomain_RegionInfo{Name: &region}, Zone: &mesosv1.DomainInfo_FaultDomain_ZoneInfo{Name: &zone},
	}}
}

// Address returns where an agent is reached; empty: nobody knows.
func Address(node *corev1.Node) string {
	for _, a := range object.NodeAddresses(node) {
		return a.String()
	}
	return ""
}

// Master returns what clients are told of a manager.
func Master(id string, at netip.AddrPort, hostname, version string) *mesosv1.MasterInfo {
	m := &mesosv1.MasterInfo{
		Id: &id, Port: proto.Uint32(uint32(at.Port())), Ip: proto.Uint32(0), Pid: proto.String("master@" + at.String()), Hostname: &hostname, Version: &version,
		Address: &mesosv1.Address{Hostname: &hostname, Ip: proto.String(at.Addr().String()), Port: proto.Int32(int32(at.Port()))},
	}
	if at.Addr().Is4() {
		b := at.Addr().As4() // in network order, read as the machine's
		m.Ip = proto.Uint32(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
	}
	// Not QUOTA_V2: a client that does not know the name, mesos-go in JSON, gives its stream up.
	for _, c := range []mesosv1.MasterInfo_Capability_Type{mesosv1.MasterInfo_Capability_AGENT_UPDATE, mesosv1.MasterInfo_Capability_AGENT_DRAINING} {
		m.Capabilities = append(m.Capabilities, &mesosv1.MasterInfo_Capability{Type: c.Enum()})
	}
	return m
}
