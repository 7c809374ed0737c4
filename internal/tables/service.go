package tables

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/family"
	"trireme/internal/object/floating"
	"trireme/internal/store"
)

// Indexes of Services, beside OwnerIndex.
const (
	// ServicesByIP finds services by cluster IP.
	ServicesByIP = "ip"
	// ServicesByNodePort finds services by a port they claim on the nodes, as
	// PortKey names it: node ports, health check ports.
	ServicesByNodePort = "nodePort"
	// ServicesByMesh finds services of type LoadBalancer: those on the mesh by the ports
	// that they claim on every node, as PortKey names them, and all of them under "".
	ServicesByMesh = "mesh"
)

// PortKey names a port of a node: "8088/TCP".
func PortKey(port int32, protocol corev1.Protocol) string {
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	return strconv.Itoa(int(port)) + "/" + string(protocol)
}

// Services holds the services.
var Services = store.NewTable(store.Spec[*corev1.Service, none]{
	ID:         "services",
	GVK:        corev1.SchemeGroupVersion.WithKind("Service"),
	Prefix:     "/registry/services/specs/",
	Namespaced: true,
	New:        func() *corev1.Service { return &corev1.Service{} },
	Indexes: map[string]func(*corev1.Service) []string{
		OwnerIndex: owners[*corev1.Service],
		ServicesByIP: func(s *corev1.Service) []string {
			return family.ClusterIPs(s)
		},
		ServicesByNodePort: func(s *corev1.Service) []string {
			var keys []string
			for _, p := range s.Spec.Ports {
				if p.NodePort != 0 {
					keys = append(keys, PortKey(p.NodePort, p.Protocol))
				}
			}
			if p := s.Spec.HealthCheckNodePort; p != 0 {
				keys = append(keys, PortKey(p, corev1.ProtocolTCP))
			}
			return keys
		},
		ServicesByMesh: func(s *corev1.Service) []string {
			if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
				return nil
			}
			keys := []string{""}
			if !floating.Meshed(s) {
				return keys
			}
			for _, p := range s.Spec.Ports {
				keys = append(keys, PortKey(p.Port, p.Protocol))
			}
			return keys
		},
	},
})
