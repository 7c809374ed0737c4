package marathon

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/object"
)

// parameters maps the options of docker run that a pod has.
func (b *builder) parameters() {
	c := b.d.Container
	if c == nil || c.Docker == nil {
		return
	}
	for i, p := range c.Docker.Parameters {
		if why := b.parameter(p.Key, p.Value); why != "" {
			b.bad.add(fmt.Sprintf("/container/docker/parameters/%d", i), "%s=%s: %s", p.Key, p.Value, why)
		}
	}
}

// parameter maps one option, and returns what is wrong with it.
func (b *builder) parameter(key, value string) string {
	switch key {
	case "user", "u":
		b.user(value)
	case "workdir", "w":
		b.container.WorkingDir = value
	case "hostname", "h":
		b.pod.Spec.Hostname = strings.ToLower(value)
		if why := validation.IsDNS1123Label(b.pod.Spec.Hostname); len(why) > 0 {
			return why[0]
		}
	case "cap-add", "cap-drop":
		b.capability(key, value)
	case "read-only":
		yes := value == "true"
		b.security().ReadOnlyRootFilesystem = &yes
	case "init":
		b.options.Init = value == "true"
	case "dns":
		if _, err := netip.ParseAddr(value); err != nil {
			return "is no address"
		}
		b.dns().Nameservers = append(b.dns().Nameservers, value)
	case "dns-search":
		b.dns().Searches = append(b.dns().Searches, value)
	case "add-host":
		name, address, ok := strings.Cut(value, ":")
		if _, err := netip.ParseAddr(address); !ok || err != nil || len(validation.IsDNS1123Subdomain(name)) > 0 {
			return "is not of the form NAME:ADDRESS"
		}
		b.pod.Spec.HostAliases = append(b.pod.Spec.HostAliases, corev1.HostAlias{IP: address, Hostnames: []string{name}})
	case "ulimit":
		return b.ulimit(value)
	case "pids-limit":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return "is no whole number"
		}
		b.options.PIDsMax = n
	case "env", "e":
		name, text, found := strings.Cut(value, "=")
		if name == "" || !found {
			return "is not of the form NAME=VALUE"
		}
		b.container.Env = append(b.container.Env, corev1.EnvVar{Name: name, Value: literal(text)})
	default:
		return "is not an option that can be kept here: leave it out"
	}
	return ""
}

func (b *builder) capability(key, value string) {
	s := b.security()
	if s.Capabilities == nil {
		s.Capabilities = &corev1.Capabilities{}
	}
	name := corev1.Capability(strings.TrimPrefix(strings.ToUpper(value), "CAP_"))
	if key == "cap-add" {
		s.Capabilities.Add = append(s.Capabilities.Add, name)
	} else {
		s.Capabilities.Drop = append(s.Capabilities.Drop, name)
	}
}

func (b *builder) dns() *corev1.PodDNSConfig {
	if b.pod.Spec.DNSConfig == nil {
		b.pod.Spec.DNSConfig = &corev1.PodDNSConfig{}
	}
	return b.pod.Spec.DNSConfig
}

func (b *builder) ulimit(value string) string {
	name, text, ok := strings.Cut(value, "=")
	soft, hard, both := strings.Cut(text, ":")
	if !both {
		hard = soft
	}
	s, errS := strconv.ParseInt(soft, 10, 64)
	h, errH := strconv.ParseInt(hard, 10, 64)
	if !ok || errS != nil || errH != nil {
		return "is not of the form NAME=SOFT:HARD"
	}
	b.options.Ulimits = append(b.options.Ulimits, object.Ulimit{Name: name, Soft: s, Hard: h})
	if err := b.options.Check(); err != nil {
		return err.Error()
	}
	return ""
}
