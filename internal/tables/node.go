package tables

import (
	"net/netip"

	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
)

// meshMax bounds the nodes named in a status: every node answers, but a thousand of
// them in every row would help nobody.
const meshMax = 16

// MeshAddresses returns where what every node answers for is found: the addresses of
// the first ready nodes, by name.
func MeshAddresses(r store.Reader) []netip.Addr {
	var list []netip.Addr
	for n := range Nodes.All(r) {
		if !object.NodeReady(n) {
			continue
		}
		if list = append(list, object.NodeAddresses(n)...); len(list) >= meshMax {
			break
		}
	}
	return list
}

// Fronts returns the nodes that answer requests from outside, by name: as many as a
// status names, whichever ports it is about.
func Fronts(r store.Reader) (list []route.Front) {
	whole := 0
	for n := range Nodes.All(r) {
		for _, f := range route.Fronts(n) {
			if list = append(list, f); f.Whole() {
				whole++
			}
		}
		if whole >= route.AddressesMax {
			break
		}
	}
	return list
}
