package marathon

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"trireme/internal/object/route"
)

// Balanced is a service port that every node answers.
type Balanced struct {
	Index int
	Port  int32
	Hosts []string // virtual hosts that lead to it, by way of ingress
	Path  string
	// Sticky has a client always reach the same instance.
	Sticky bool
	// Redirect sends who asks for a host over HTTP to HTTPS; Certificate is the Secret with
	// its certificate, empty: the cluster makes one.
	Redirect    bool
	Certificate string
}

// Balanced returns the service ports that the labels of marathon-lb ask for: those of an app
// with HAPROXY_GROUP, or of ports with HAPROXY_n_GROUP.
func (d *Definition) Balanced() (out []Balanced) {
	for i, p := range d.Ports() {
		label := func(name string) string { return d.Labels["HAPROXY_"+strconv.Itoa(i)+"_"+name] }
		if d.Labels["HAPROXY_GROUP"] == "" && label("GROUP") == "" || strings.EqualFold(label("ENABLED"), "false") {
			continue
		}
		b := Balanced{Index: i, Port: p.Service, Path: label("PATH"), Sticky: strings.EqualFold(label("STICKY"), "true") || label("BALANCE") == "source", Redirect: strings.EqualFold(label("REDIRECT_TO_HTTPS"), "true")}
		b.Certificate = strings.TrimSuffix(path.Base("/"+label("SSL_CERT")), ".pem")
		b.Certificate = strings.Trim(b.Certificate, "/")
		if n, err := strconv.ParseInt(label("PORT"), 10, 32); err == nil {
			b.Port = int32(n)
		}
		for host := range strings.SplitSeq(label("VHOST"), ",") {
			if host = strings.ToLower(strings.TrimSpace(host)); host != "" {
				b.Hosts = append(b.Hosts, host)
			}
		}
		if !strings.HasPrefix(b.Path, "/") {
			b.Path = "/" + b.Path
		}
		if b.Port > 0 && p.Protocols[0] == corev1.ProtocolTCP {
			out = append(out, b)
		}
	}
	return out
}

// VirtualHosts returns the ingress that the labels HAPROXY_n_VHOST, _PATH, _SSL_CERT and
// _REDIRECT_TO_HTTPS mean, to the core Service of the service ports, and its annotations;
// nil: none.
func (d *Definition) VirtualHosts(service string) (spec *networkingv1.IngressSpec, annotations map[string]string) {
	class, prefix := route.Class, networkingv1.PathTypePrefix
	spec = &networkingv1.IngressSpec{IngressClassName: &class}
	for _, b := range d.Balanced() {
		if len(b.Hosts) > 0 && (b.Redirect || b.Certificate != "") {
			secret := b.Certificate
			if annotations == nil {
				annotations = map[string]string{}
			}
			if secret == "" {
				secret, annotations[route.CertificateAnnotation] = Name(d.ID)+"-certificate", route.ClusterCertificate
			}
			if b.Redirect {
				annotations[route.RedirectAnnotation] = "true"
			}
			spec.TLS = append(spec.TLS, networkingv1.IngressTLS{Hosts: b.Hosts, SecretName: secret})
		}
		for _, host := range b.Hosts {
			spec.Rules = append(spec.Rules, networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: b.Path, PathType: &prefix, Backend: networkingv1.IngressBackend{
					Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: b.Port}},
				}}},
			}}})
		}
	}
	if len(spec.Rules) == 0 {
		return nil, nil
	}
	return spec, annotations
}

// The words of marathon-autoscale, as labels of the app.
const (
	triggerLabel = "AS_TRIGGER_MODE"
	rangeLabel   = "AS_MAX_RANGE"
	leastLabel   = "AS_MIN_INSTANCES"
	mostLabel    = "AS_MAX_INSTANCES"
)

// Autoscaler returns what counts the app's instances, by the labels of marathon-autoscale;
// nil: its user does. It keeps what instances use on average, in percent of what they ask
// for, at AS_MAX_RANGE.
func (d *Definition) Autoscaler() (*autoscalingv2.HorizontalPodAutoscalerSpec, error) {
	mode, ok := d.Labels[triggerLabel]
	if !ok {
		return nil, nil
	}
	resource := corev1.ResourceName("")
	switch mode {
	case "cpu":
		resource = corev1.ResourceCPU
	case "mem":
		resource = corev1.ResourceMemory
	default:
		return nil, Problems{{"/labels/" + triggerLabel, []string{fmt.Sprintf("%q: instances are counted by cpu or mem here", mode)}}}
	}
	numbers := map[string]int32{leastLabel: 1}
	for _, name := range []string{rangeLabel, mostLabel, leastLabel} {
		text, given := d.Labels[name]
		if !given && name == leastLabel {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n < 1 || n > 1e6 {
			return nil, Problems{{"/labels/" + name, []string{fmt.Sprintf("%q: it is a number, 1 or more", text)}}}
		}
		numbers[name] = int32(n)
	}
	least, target := numbers[leastLabel], numbers[rangeLabel]
	if numbers[mostLabel] < least {
		return nil, Problems{{"/labels/" + mostLabel, []string{"is less than " + leastLabel}}}
	}
	return &autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: GroupVersion.String(), Kind: AppKind.Kind, Name: Name(d.ID)},
		MinReplicas:    &least, MaxReplicas: numbers[mostLabel],
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: resource, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &target},
		}}},
	}, nil
}
