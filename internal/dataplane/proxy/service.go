package proxy

import (
	"net"
	"slices"
	"strconv"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"trireme/internal/object/route"
)

// service is where requests to one service may go.
type service struct {
	ports []servicePort
	// turn and counts outlive changes of the service.
	turn   *atomic.Uint64
	counts *counts
}

type servicePort struct {
	number    int32
	name      string
	h2c       bool
	endpoints []string // sorted, host:port
}

// Application protocols that a port may name, beside HTTP/1.1 (Kubernetes, Services,
// "Application protocol"; gRPC speaks HTTP/2).
const (
	appH2C  = "kubernetes.io/h2c"
	appGRPC = "grpc"
)

func newService(d described, old *service) *service {
	s := &service{turn: new(atomic.Uint64), counts: new(counts)}
	if old != nil {
		s.turn, s.counts = old.turn, old.counts
	}
	for i := range d.svc.Spec.Ports {
		port := &d.svc.Spec.Ports[i]
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		app := port.AppProtocol
		s.ports = append(s.ports, servicePort{
			number: port.Port, name: port.Name, h2c: app != nil && (*app == appH2C || *app == appGRPC), endpoints: endpoints(d.slices, port.Name),
		})
	}
	return s
}

// endpoints returns the ready endpoints of a port; where there is none, those that
// still serve while they end.
func endpoints(from []*discoveryv1.EndpointSlice, port string) []string {
	var ready, ending []string
	for _, s := range from {
		number := int32(0)
		for _, p := range s.Ports {
			if p.Port != nil && (p.Name == nil && port == "" || p.Name != nil && *p.Name == port) && (p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP) {
				number = *p.Port
			}
		}
		if number == 0 || s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			at := net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(number)))
			switch c := e.Conditions; {
			case c.Ready == nil || *c.Ready:
				ready = append(ready, at)
			case c.Serving != nil && *c.Serving:
				ending = append(ending, at)
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.Sort(ready)
	return slices.Compact(ready)
}

// port returns the port that a backend means, nil where the service has none such.
func (s *service) port(b *route.Backend) *servicePort {
	if s == nil {
		return nil
	}
	for i := range s.ports {
		if p := &s.ports[i]; b.Port != 0 && p.number == b.Port || b.Port == 0 && p.name == b.PortName {
			return p
		}
	}
	return nil
}
