package dataplane

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"trireme/internal/object/route"
)

// reasonTaken is of the event that names a port which ingress cannot have.
const reasonTaken = "IngressPortTaken"

// front is what this node says of the ports on which it answers requests from outside.
type front struct {
	closed map[int32]error        // what was told last
	says   atomic.Pointer[string] // the value of route.ClosedAnnotation
}

// frontClosed tells people of ports that cannot be opened, and managers, so that no
// status names this node for them.
func (d *Dataplane) frontClosed(ports map[int32]error) {
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		if _, told := d.front.closed[port]; told {
			continue
		}
		d.cfg.Log.Warn("a port of ingress cannot be opened; trying again", "port", port, "err", ports[port])
		if d.cfg.Warn != nil {
			d.cfg.Warn(reasonTaken, fmt.Sprintf("ingress cannot open port %d of this node, and no status names the node while it cannot: %v; "+
				"`ss -lntp sport = :%[1]d` shows whose it is: end that, or start this node with --ingress=false", port, ports[port]))
		}
	}
	d.front.closed = ports
	says := route.Closed(slices.Collect(maps.Keys(ports)))
	d.front.says.Store(&says)
	if d.cfg.Announce != nil {
		d.cfg.Announce()
	}
}
