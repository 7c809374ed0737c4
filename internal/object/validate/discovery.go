package validate

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of one slice (API reference, EndpointSlice).
const (
	sliceEndpointsMax = 1000
	sliceAddressesMax = 100
	slicePortsMax     = 100
)

func endpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := oneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	path := field.NewPath("endpoints")
	if len(s.Endpoints) > sliceEndpointsMax {
		return append(errs, field.TooMany(path, len(s.Endpoints), sliceEndpointsMax))
	}
	for i := range s.Endpoints {
		at := path.Index(i).Child("addresses")
		addresses := s.Endpoints[i].Addresses
		switch {
		case len(addresses) == 0:
			errs = append(errs, field.Required(at, "must contain at least 1 address"))
		case len(addresses) > sliceAddressesMax:
			errs = append(errs, field.TooMany(at, len(addresses), sliceAddressesMax))
		default:
			for j, a := range addresses {
				errs = append(errs, sliceAddress(s.AddressType, a, at.Index(j))...)
			}
		}
	}
	return append(errs, slicePorts(s.Ports, field.NewPath("ports"))...)
}

func sliceAddress(t discoveryv1.AddressType, a string, at *field.Path) (errs field.ErrorList) {
	if t == discoveryv1.AddressTypeFQDN {
		for _, msg := range validation.IsDNS1123Subdomain(a) {
			errs = append(errs, field.Invalid(at, a, msg))
		}
		return errs
	}
	ip, err := netip.ParseAddr(a)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, a, "must be a valid IP address")}
	case ip.Is4() != (t == discoveryv1.AddressTypeIPv4):
		return field.ErrorList{field.Invalid(at, a, "must be an address of type "+string(t))}
	case ip.IsUnspecified(), ip.IsLoopback(), ip.IsMulticast(), ip.IsLinkLocalUnicast():
		return field.ErrorList{field.Invalid(at, a, "may not be unspecified, loopback, link-local or multicast")}
	}
	return nil
}

func slicePorts(list []discoveryv1.EndpointPort, path *field.Path) (errs field.ErrorList) {
	if len(list) > slicePortsMax {
		return field.ErrorList{field.TooMany(path, len(list), slicePortsMax)}
	}
	names := map[string]bool{}
	for i, p := range list {
		at := path.Index(i)
		if p.Name != nil {
			if *p.Name != "" {
				for _, msg := range validation.IsDNS1123Label(*p.Name) {
					errs = append(errs, field.Invalid(at.Child("name"), *p.Name, msg))
				}
			}
			if names[*p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), *p.Name))
			}
			names[*p.Name] = true
		}
		if p.Port != nil {
			errs = append(errs, portNumber(*p.Port, at.Child("port"))...)
		}
		if p.Protocol != nil {
			errs = append(errs, protocol(*p.Protocol, at.Child("protocol"))...)
		}
	}
	return errs
}

func endpoints(e *corev1.Endpoints) (errs field.ErrorList) {
	for i, s := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for _, half := range []struct {
			name string
			list []corev1.EndpointAddress
		}{{"addresses", s.Addresses}, {"notReadyAddresses", s.NotReadyAddresses}} {
			for j := range half.list {
				errs = append(errs, endpointAddress(&half.list[j], at.Child(half.name).Index(j))...)
			}
		}
		for j, p := range s.Ports {
			q := at.Child("ports").Index(j)
			if p.Name == "" && len(s.Ports) > 1 {
				errs = append(errs, field.Required(q.Child("name"), ""))
			} else if p.Name != "" {
				for _, msg := range validation.IsDNS1123Label(p.Name) {
					errs = append(errs, field.Invalid(q.Child("name"), p.Name, msg))
				}
			}
			errs = append(errs, portNumber(p.Port, q.Child("port"))...)
			errs = append(errs, protocol(p.Protocol, q.Child("protocol"))...)
		}
	}
	return errs
}

func endpointAddress(a *corev1.EndpointAddress, at *field.Path) (errs field.ErrorList) {
	ip, err := netip.ParseAddr(a.IP)
	if err != nil {
		errs = append(errs, field.Invalid(at.Child("ip"), a.IP, "must be a valid IP address"))
	} else if why := reachable(ip); why != "" {
		errs = append(errs, field.Invalid(at.Child("ip"), a.IP, why))
	}
	if a.Hostname != "" {
		for _, msg := range validation.IsDNS1123Label(a.Hostname) {
			errs = append(errs, field.Invalid(at.Child("hostname"), a.Hostname, msg))
		}
	}
	if a.NodeName != nil {
		errs = append(errs, subdomain(*a.NodeName, at.Child("nodeName"))...)
	}
	return errs
}
