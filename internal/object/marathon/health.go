package marathon

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// health maps the health check. An instance is healthy when its pod is ready. Failures
// while it has not been healthy yet are nothing until the grace has passed, then so many
// in a row end it: that is a startup probe and a liveness probe.
func (b *builder) health() {
	d := b.d
	switch {
	case len(d.HealthChecks) > 1:
		b.bad.add("/healthChecks", "%d are given: an instance has one here: choose one, or ask for both in one COMMAND", len(d.HealthChecks))
		return
	case d.Check != nil:
		b.bad.add("/check", "is not kept yet: use healthChecks")
		return
	}
	b.readiness()
	if len(d.HealthChecks) == 0 {
		return
	}
	h := &d.HealthChecks[0]
	handler := b.handler("/healthChecks/0", h)
	delay := int32(0)
	if strings.HasPrefix(h.Protocol, "MESOS_") || h.Protocol == "COMMAND" {
		delay = *h.DelaySeconds
	}
	h.probes(&b.container, handler, delay)
}

// probes gives a container the probes of its check. One that has a startup probe keeps it:
// the readiness check comes first.
func (h *HealthCheck) probes(c *corev1.Container, handler corev1.ProbeHandler, delay int32) {
	period := max(*h.IntervalSeconds, 1)
	probe := func(failures int32) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: handler, PeriodSeconds: period, TimeoutSeconds: max(*h.TimeoutSeconds, 1), FailureThreshold: failures}
	}
	c.ReadinessProbe = probe(1)
	c.ReadinessProbe.InitialDelaySeconds = delay
	if *h.MaxConsecutiveFailures == 0 {
		return
	}
	c.LivenessProbe = probe(*h.MaxConsecutiveFailures)
	if c.StartupProbe == nil {
		c.StartupProbe = probe(*h.MaxConsecutiveFailures + (*h.GracePeriodSeconds+period-1)/period)
		c.StartupProbe.InitialDelaySeconds = delay
	}
}

// handler returns what asks an instance whether it is healthy.
func (b *builder) handler(path string, h *HealthCheck) (out corev1.ProbeHandler) {
	if h.Protocol == "COMMAND" {
		text := ""
		switch {
		case h.Command != nil:
			text = h.Command.Value
		default:
			b.bad.add(path+"/command", "is missing: a COMMAND check has one")
		}
		out.Exec = &corev1.ExecAction{Command: []string{"/bin/sh", "-c", text}}
		return out
	}
	port := b.probePort(path, h.Port, h.PortIndex)
	switch strings.TrimPrefix(h.Protocol, "MESOS_") {
	case "TCP":
		out.TCPSocket = &corev1.TCPSocketAction{Port: port}
	case "HTTP":
		out.HTTPGet = &corev1.HTTPGetAction{Path: *h.Path, Port: port, Scheme: corev1.URISchemeHTTP}
	case "HTTPS":
		out.HTTPGet = &corev1.HTTPGetAction{Path: *h.Path, Port: port, Scheme: corev1.URISchemeHTTPS}
	default:
		b.bad.add(path+"/protocol", "%q: it is HTTP, HTTPS, TCP, COMMAND, MESOS_HTTP, MESOS_HTTPS or MESOS_TCP", h.Protocol)
	}
	if or(h.IgnoreHTTP1xx, false) {
		b.bad.add(path+"/ignoreHttp1xx", "answers 100 to 199 are failures here: leave it out")
	}
	return out
}

func (b *builder) probePort(path string, port, index *int32) intstr.IntOrString {
	if port != nil {
		return intstr.FromInt32(*port)
	}
	i, ports := int(or(index, 0)), b.d.Ports()
	if i < 0 || i >= len(ports) {
		b.bad.add(path+"/portIndex", "is %d: the app has %d ports", i, len(ports))
	}
	return intstr.FromString(PortName(i))
}

// startupMax is so many failures that they never end an instance.
const startupMax = 1 << 30

// readiness maps the readiness check: an instance is ready from its first good answer on.
func (b *builder) readiness() {
	d := b.d
	if len(d.ReadinessChecks) == 0 {
		return
	}
	if len(d.ReadinessChecks) > 1 {
		b.bad.add("/readinessChecks", "%d are given: an app has one at most", len(d.ReadinessChecks))
		return
	}
	const path = "/readinessChecks/0"
	r := &d.ReadinessChecks[0]
	for _, code := range r.HTTPStatusCodesForReady {
		if code < 200 || code > 399 {
			b.bad.add(path+"/httpStatusCodesForReady", "%d: answers of 200 to 399 are ready here", code)
		}
	}
	scheme := corev1.URIScheme(r.Protocol)
	if scheme != corev1.URISchemeHTTP && scheme != corev1.URISchemeHTTPS {
		b.bad.add(path+"/protocol", "%q: it is HTTP or HTTPS", r.Protocol)
	}
	port := -1
	for i, p := range d.Ports() {
		if p.Name == r.PortName {
			port = i
		}
	}
	if port < 0 {
		b.bad.add(path+"/portName", "%q is no name of a port of the app", r.PortName)
		return
	}
	b.container.StartupProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: r.Path, Port: intstr.FromString(PortName(port)), Scheme: scheme}},
		PeriodSeconds: max(*r.IntervalSeconds, 1), TimeoutSeconds: max(*r.TimeoutSeconds, 1), FailureThreshold: startupMax,
	}
}

// Checked reports whether instances say themselves when they are healthy or ready.
func (d *Definition) Checked() bool {
	if d.Pod != nil {
		return slices.ContainsFunc(d.Pod.Containers, func(c PodContainer) bool { return c.HealthCheck != nil })
	}
	return len(d.HealthChecks)+len(d.ReadinessChecks) > 0
}
