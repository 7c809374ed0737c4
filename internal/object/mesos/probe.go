package mesos

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/sandbox"
)

// probes has the container asked how it is: by a health check, which ends it in the end, or
// by a check, whose answer is only told.
func (b *builder) probes(c *corev1.Container, t *mesosv1.TaskInfo) error {
	h, check := t.GetHealthCheck(), t.GetCheck()
	switch {
	case h != nil && check != nil:
		return fmt.Errorf("check: cannot be had beside a health_check: leave one of both out")
	case h != nil:
		p, err := b.health(c, h)
		if err != nil {
			return fmt.Errorf("health_check.%w", err)
		}
		c.ReadinessProbe = p
		live := p.DeepCopy() // failures before the grace period is over do not count
		live.InitialDelaySeconds = max(p.InitialDelaySeconds, wholeSeconds(h.GetGracePeriodSeconds()))
		if live.FailureThreshold = int32(min(h.GetConsecutiveFailures(), math.MaxInt32)); live.FailureThreshold > 0 {
			c.LivenessProbe = live
		}
	case check != nil:
		p, err := b.check(c, check)
		if err != nil {
			return fmt.Errorf("check.%w", err)
		}
		c.ReadinessProbe = p
	}
	return nil
}

func (b *builder) health(c *corev1.Container, h *mesosv1.HealthCheck) (*corev1.Probe, error) {
	for name, v := range map[string]float64{"delay_seconds": h.GetDelaySeconds(), "interval_seconds": h.GetIntervalSeconds(), "timeout_seconds": h.GetTimeoutSeconds(), "grace_period_seconds": h.GetGracePeriodSeconds()} {
		if bad(v) {
			return nil, fmt.Errorf("%s: %v is no time", name, v)
		}
	}
	p := probe(h.GetDelaySeconds(), h.GetIntervalSeconds(), h.GetTimeoutSeconds())
	kind := h.GetType()
	switch {
	case kind == mesosv1.HealthCheck_COMMAND || kind == mesosv1.HealthCheck_UNKNOWN && h.GetCommand() != nil:
		return p, b.exec(p, c, h.GetCommand())
	case kind == mesosv1.HealthCheck_HTTP || kind == mesosv1.HealthCheck_UNKNOWN && h.GetHttp() != nil:
		web := h.GetHttp()
		scheme := corev1.URISchemeHTTP
		switch web.GetScheme() {
		case "", "http":
		case "https":
			scheme = corev1.URISchemeHTTPS
		default:
			return nil, fmt.Errorf("http.scheme: %q is neither http nor https", web.GetScheme())
		}
		if len(web.GetStatuses()) > 0 {
			return nil, fmt.Errorf("http.statuses: cannot be chosen: 200 to 399 are well")
		}
		p.HTTPGet = &corev1.HTTPGetAction{Path: webPath(web.GetPath()), Port: intstr.FromInt32(int32(web.GetPort())), Scheme: scheme, Host: b.probeHost()}
		return p, nil
	case kind == mesosv1.HealthCheck_TCP:
		p.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(h.GetTcp().GetPort())), Host: b.probeHost()}
		return p, nil
	}
	return nil, fmt.Errorf("type: is missing: COMMAND, HTTP or TCP")
}

func (b *builder) check(c *corev1.Container, k *mesosv1.CheckInfo) (*corev1.Probe, error) {
	for name, v := range map[string]float64{"delay_seconds": k.GetDelaySeconds(), "interval_seconds": k.GetIntervalSeconds(), "timeout_seconds": k.GetTimeoutSeconds()} {
		if bad(v) {
			return nil, fmt.Errorf("%s: %v is no time", name, v)
		}
	}
	p := probe(k.GetDelaySeconds(), k.GetIntervalSeconds(), k.GetTimeoutSeconds())
	switch k.GetType() {
	case mesosv1.CheckInfo_COMMAND:
		return p, b.exec(p, c, k.GetCommand().GetCommand())
	case mesosv1.CheckInfo_HTTP:
		p.HTTPGet = &corev1.HTTPGetAction{Path: webPath(k.GetHttp().GetPath()), Port: intstr.FromInt32(int32(k.GetHttp().GetPort())), Scheme: corev1.URISchemeHTTP, Host: b.probeHost()}
		return p, nil
	case mesosv1.CheckInfo_TCP:
		p.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(k.GetTcp().GetPort())), Host: b.probeHost()}
		return p, nil
	}
	return nil, fmt.Errorf("type: is missing: COMMAND, HTTP or TCP")
}

func bad(seconds float64) bool { return math.IsNaN(seconds) || seconds < 0 || seconds > math.MaxInt32 }

func probe(delay, interval, timeout float64) *corev1.Probe {
	return &corev1.Probe{
		InitialDelaySeconds: wholeSeconds(delay), PeriodSeconds: max(1, wholeSeconds(interval)), TimeoutSeconds: max(1, wholeSeconds(timeout)),
		SuccessThreshold: 1, FailureThreshold: 1,
	}
}

func wholeSeconds(s float64) int32 { return int32(math.Ceil(s)) }

func webPath(p string) string {
	if p == "" {
		return "/"
	}
	return p
}

// probeHost is where ports are looked for: in its node's network a task may listen on the
// loopback address alone (Mesos checks there).
func (b *builder) probeHost() string {
	if b.onHost {
		return "127.0.0.1"
	}
	return ""
}

func (b *builder) exec(p *corev1.Probe, c *corev1.Container, cmd *mesosv1.CommandInfo) error {
	if cmd.GetValue() == "" {
		return fmt.Errorf("command.value: is missing")
	}
	if cmd.GetEnvironment() != nil || len(cmd.GetUris()) > 0 {
		return fmt.Errorf("command: has environment or uris: a check has those of its task")
	}
	what := sandbox.Command{Shell: cmd.GetShell(), Value: cmd.GetValue(), Args: cmd.GetArguments(), User: cmd.GetUser()}
	one := &corev1.Container{}
	if c.Image == sandbox.HostImage {
		sandbox.OnHostRoot(&corev1.Pod{}, one, "", what)
	} else {
		sandbox.InImage(one, what)
	}
	p.Exec = &corev1.ExecAction{Command: append(one.Command, one.Args...)}
	return nil
}
