package validate

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object"
	"trireme/internal/object/family"
)

// The range node ports are taken from (API reference, ServicePort.nodePort).
const (
	NodePortMin = 30000
	NodePortMax = 32767
)

func labelSet(m map[string]string) labels.Set { return m }

func service(s *corev1.Service) (errs field.ErrorList) {
	path := field.NewPath("spec")
	errs = append(errs, oneOf(s.Spec.Type, path.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)...)
	errs = append(errs, sessionAffinity(&s.Spec, path)...)
	if v, ok := s.Annotations[object.KeepAnnotation]; ok {
		errs = append(errs, oneOf(v, field.NewPath("metadata", "annotations").Key(object.KeepAnnotation), "true", "false")...)
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		errs = append(errs, servicePorts(s, path.Child("ports"))...)
		return append(errs, externalName(&s.Spec, path)...)
	}
	errs = append(errs, family.Faults(&s.Spec, path)...)
	errs = append(errs, traffic(&s.Spec, path)...)
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	if len(s.Spec.Ports) == 0 && !headless {
		errs = append(errs, field.Required(path.Child("ports"), ""))
	}
	if headless && (s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort) {
		errs = append(errs, field.Invalid(path.Child("clusterIP"), s.Spec.ClusterIP, "may not be set to 'None' for LoadBalancer and NodePort services"))
	}
	errs = append(errs, servicePorts(s, path.Child("ports"))...)
	errs = append(errs, externalIPs(s.Spec.ExternalIPs, path.Child("externalIPs"))...)
	for k, v := range s.Spec.Selector {
		for _, msg := range append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...) {
			errs = append(errs, field.Invalid(path.Child("selector").Key(k), v, msg))
		}
	}
	return errs
}

func servicePorts(s *corev1.Service, path *field.Path) (errs field.ErrorList) {
	names, ports, nodePorts := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range s.Spec.Ports {
		p, at := &s.Spec.Ports[i], path.Index(i)
		switch {
		case p.Name == "" && len(s.Spec.Ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), ""))
		case p.Name != "":
			for _, msg := range validation.IsDNS1123Label(p.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), p.Name, msg))
			}
			if names[p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names[p.Name] = true
		}
		errs = append(errs, portNumber(p.Port, at.Child("port"))...)
		errs = append(errs, protocol(p.Protocol, at.Child("protocol"))...)
		errs = append(errs, portRef(p.TargetPort, at.Child("targetPort"))...)
		key := string(p.Protocol) + "/" + strconv.Itoa(int(p.Port))
		if ports[key] {
			errs = append(errs, field.Duplicate(at, key))
		}
		ports[key] = true
		if p.AppProtocol != nil {
			for _, msg := range validation.IsQualifiedName(*p.AppProtocol) {
				errs = append(errs, field.Invalid(at.Child("appProtocol"), *p.AppProtocol, msg))
			}
		}
		if p.NodePort == 0 {
			continue
		}
		if s.Spec.Type == corev1.ServiceTypeClusterIP {
			errs = append(errs, field.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
		}
		if p.NodePort < NodePortMin || p.NodePort > NodePortMax {
			errs = append(errs, field.Invalid(at.Child("nodePort"), p.NodePort, "provided port is not in the valid range. The range of valid ports is 30000-32767"))
		}
		key = string(p.Protocol) + "/" + strconv.Itoa(int(p.NodePort))
		if nodePorts[key] {
			errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
		}
		nodePorts[key] = true
	}
	return errs
}

func protocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	return oneOf(p, path, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
}

func portNumber(p int32, path *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsValidPortNum(int(p)) {
		errs = append(errs, field.Invalid(path, p, msg))
	}
	return errs
}

// portRef checks a port given by number or by name.
func portRef(p intstr.IntOrString, path *field.Path) (errs field.ErrorList) {
	if p.Type == intstr.Int {
		return portNumber(p.IntVal, path)
	}
	for _, msg := range validation.IsValidPortName(p.StrVal) {
		errs = append(errs, field.Invalid(path, p.StrVal, msg))
	}
	return errs
}
