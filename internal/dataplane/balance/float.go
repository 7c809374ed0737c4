package balance

import (
	"maps"
	"net/netip"
)

// Float is a floating address that this node answers for. The zero Float is none.
type Float struct {
	Here bool
	Pod  netip.Addr // that has every port and protocol of it; invalid: services have theirs
	Out  bool       // the pod leaves the cluster under the address
}

// SetFloats sets all floating addresses of this node. A pod leaves under the lowest
// of its own.
func (t *Table) SetFloats(pods map[netip.Addr]netip.Addr) {
	lowest := map[netip.Addr]netip.Addr{}
	for a, pod := range pods {
		if was, ok := lowest[pod]; pod.IsValid() && (!ok || a.Less(was)) {
			lowest[pod] = a
		}
	}
	t.floats = map[netip.Addr]Float{}
	for a, pod := range pods {
		t.floats[a] = Float{Here: true, Pod: pod, Out: pod.IsValid() && lowest[pod] == a}
	}
}

// takeFloats returns what changed since it was last called.
func (t *Table) takeFloats() map[netip.Addr]Change[Float] {
	changes := map[netip.Addr]Change[Float]{}
	for a, is := range t.floats {
		if was := t.toldFloats[a]; was != is {
			changes[a] = Change[Float]{was, is}
		}
	}
	for a, was := range t.toldFloats {
		if !t.floats[a].Here {
			changes[a] = Change[Float]{Old: was}
		}
	}
	t.toldFloats = maps.Clone(t.floats)
	if t.toldFloats == nil {
		t.toldFloats = map[netip.Addr]Float{}
	}
	return changes
}
