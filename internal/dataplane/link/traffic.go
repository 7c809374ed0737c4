package link

import (
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
)

// Traffic is what a pod has received and sent since its link was made.
type Traffic struct{ Received, Sent Count }

// Count is one direction.
type Count struct{ Bytes, Packets, Errors, Dropped uint64 }

// Traffic returns that of every pod, by "namespace/name".
func (l *Links) Traffic() (map[string]Traffic, error) {
	links, err := dump(func() ([]netlink.Link, error) { return l.nl.LinkList() })
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	out := map[string]Traffic{}
	for _, link := range links {
		name, ours := strings.CutPrefix(link.Attrs().Alias, l.bridge+" ")
		s := link.Attrs().Statistics
		if !ours || s == nil {
			continue
		}
		// The host's end of the pair: it sends what the pod receives.
		out[name] = Traffic{
			Received: Count{s.TxBytes, s.TxPackets, s.TxErrors, s.TxDropped},
			Sent:     Count{s.RxBytes, s.RxPackets, s.RxErrors, s.RxDropped},
		}
	}
	return out, nil
}
