package marathon

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Balanced is a service port that every node answers.
type Balanced struct {
	Index int
	Port  int32
}

// Balanced returns the service ports that the labels of marathon-lb ask for: those of an app
// with HAPROXY_GROUP, or of ports with HAPROXY_n_GROUP.
func (d *Definition) Balanced() (out []Balanced) {
	for i, p := range d.Ports() {
		label := func(name string) string { return d.Labels["HAPROXY_"+strconv.Itoa(i)+"_"+name] }
		if d.Labels["HAPROXY_GROUP"] == "" && label("GROUP") == "" || strings.EqualFold(label("ENABLED"), "false") {
			continue
		}
		port := p.Service
		if n, err := strconv.ParseInt(label("PORT"), 10, 32); err == nil {
			port = int32(n)
		}
		if port > 0 && p.Protocols[0] == corev1.ProtocolTCP {
			out = append(out, Balanced{i, port})
		}
	}
	return out
}

// EndMessage says why an instance ended.
func EndMessage(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		t := c.State.Terminated
		switch {
		case t == nil:
		case t.Message != "":
			return t.Message
		case t.Reason == "OOMKilled":
			return "Memory limit exceeded"
		case t.Signal != 0:
			return fmt.Sprintf("Command terminated with signal %d", t.Signal)
		default:
			return fmt.Sprintf("Command exited with status %d", t.ExitCode)
		}
	}
	if p.Status.Message != "" {
		return p.Status.Message
	}
	return p.Status.Reason
}
