package podspec

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The API reference's limits of a pod's own resolver.
const (
	nameserversMax = 3
	searchesMax    = 32
)

// Pod checks what a pod's spec says of all its containers, and how they restart.
func Pod(s *corev1.PodSpec, at *field.Path) (errs field.ErrorList) {
	for i := range s.InitContainers {
		at := at.Child("initContainers").Index(i)
		errs = append(errs, initial(&s.InitContainers[i], at)...)
		errs = append(errs, restarts(&s.InitContainers[i], at)...)
	}
	for i := range s.Containers {
		errs = append(errs, restarts(&s.Containers[i], at.Child("containers").Index(i))...)
	}
	errs = append(errs, resolver(s, at)...)
	errs = append(errs, names(s, at)...)
	for i, h := range s.HostAliases {
		at := at.Child("hostAliases").Index(i)
		if _, err := netip.ParseAddr(h.IP); err != nil {
			errs = append(errs, field.Invalid(at.Child("ip"), h.IP, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
		}
		for j, name := range h.Hostnames {
			errs = append(errs, subdomain(name, at.Child("hostnames").Index(j))...)
		}
	}
	if p := s.PreemptionPolicy; p != nil && *p != corev1.PreemptNever && *p != corev1.PreemptLowerPriority {
		errs = append(errs, field.NotSupported(at.Child("preemptionPolicy"), *p, []corev1.PreemptionPolicy{corev1.PreemptLowerPriority, corev1.PreemptNever}))
	}
	errs = append(errs, sysctls(s, at.Child("securityContext", "sysctls"))...)
	return append(errs, shared(s, at)...)
}

// A sysctl's name, with dots or slashes between its parts (Kubernetes, "Using sysctls in
// a Kubernetes Cluster").
const sysctlMax = 253

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

// sysctls checks the kernel's settings that a pod asks for.
func sysctls(s *corev1.PodSpec, at *field.Path) (errs field.ErrorList) {
	if s.SecurityContext == nil {
		return nil
	}
	seen := map[string]bool{}
	for i, c := range s.SecurityContext.Sysctls {
		at := at.Index(i).Child("name")
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(c.Name) > sysctlMax || !sysctlName.MatchString(c.Name):
			errs = append(errs, field.Invalid(at, c.Name, fmt.Sprintf("must have at most %d characters and match regex %s", sysctlMax, sysctlName)))
		case seen[c.Name]:
			errs = append(errs, field.Duplicate(at, c.Name))
		}
		seen[c.Name] = true
	}
	return errs
}

// shared checks the namespaces that containers share, and as whom all of them run.
func shared(s *corev1.PodSpec, at *field.Path) (errs field.ErrorList) {
	if s.HostPID && s.ShareProcessNamespace != nil && *s.ShareProcessNamespace {
		errs = append(errs, field.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	if s.HostUsers != nil && !*s.HostUsers {
		for name, host := range map[string]bool{"hostNetwork": s.HostNetwork, "hostPID": s.HostPID, "hostIPC": s.HostIPC} {
			if host {
				errs = append(errs, field.Forbidden(at.Child(name), "when `hostUsers` is false"))
			}
		}
	}
	if s.HostNetwork {
		for i := range s.Containers {
			for j, p := range s.Containers[i].Ports {
				if p.HostPort != p.ContainerPort {
					errs = append(errs, field.Invalid(at.Child("containers").Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true"))
				}
			}
		}
	}
	c := s.SecurityContext
	if c == nil {
		return errs
	}
	at = at.Child("securityContext")
	errs = append(errs, id(c.RunAsUser, at.Child("runAsUser"))...)
	errs = append(errs, id(c.RunAsGroup, at.Child("runAsGroup"))...)
	errs = append(errs, id(c.FSGroup, at.Child("fsGroup"))...)
	for i := range c.SupplementalGroups {
		errs = append(errs, id(&c.SupplementalGroups[i], at.Child("supplementalGroups").Index(i))...)
	}
	if p := c.FSGroupChangePolicy; p != nil && *p != corev1.FSGroupChangeAlways && *p != corev1.FSGroupChangeOnRootMismatch {
		errs = append(errs, field.NotSupported(at.Child("fsGroupChangePolicy"), *p, []corev1.PodFSGroupChangePolicy{corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch}))
	}
	return append(errs, seccomp(c.SeccompProfile, at.Child("seccompProfile"))...)
}

// resolver checks a pod's own DNS.
func resolver(s *corev1.PodSpec, at *field.Path) (errs field.ErrorList) {
	c, at := s.DNSConfig, at.Child("dnsConfig")
	if s.DNSPolicy == corev1.DNSNone && (c == nil || len(c.Nameservers) == 0) {
		errs = append(errs, field.Required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None"))
	}
	if c == nil {
		return errs
	}
	if n := len(c.Nameservers); n > nameserversMax {
		errs = append(errs, field.TooMany(at.Child("nameservers"), n, nameserversMax))
	}
	for i, ip := range c.Nameservers {
		if _, err := netip.ParseAddr(ip); err != nil {
			errs = append(errs, field.Invalid(at.Child("nameservers").Index(i), ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
		}
	}
	if n := len(c.Searches); n > searchesMax {
		errs = append(errs, field.TooMany(at.Child("searches"), n, searchesMax))
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(at.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

// names checks the names of what a pod refers to.
func names(s *corev1.PodSpec, at *field.Path) (errs field.ErrorList) {
	if s.ServiceAccountName != "" {
		errs = append(errs, subdomain(s.ServiceAccountName, at.Child("serviceAccountName"))...)
	}
	if s.RuntimeClassName != nil {
		errs = append(errs, subdomain(*s.RuntimeClassName, at.Child("runtimeClassName"))...)
	}
	if s.Subdomain != "" {
		for _, msg := range validation.IsDNS1123Label(s.Subdomain) {
			errs = append(errs, field.Invalid(at.Child("subdomain"), s.Subdomain, msg))
		}
	}
	seen := map[string]bool{}
	for i, g := range s.SchedulingGates {
		at := at.Child("schedulingGates").Index(i)
		for _, msg := range validation.IsQualifiedName(g.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), g.Name, msg))
		}
		if seen[g.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), g.Name))
		}
		seen[g.Name] = true
	}
	if g := s.SchedulingGroup; g != nil {
		at := at.Child("schedulingGroup", "podGroupName")
		if g.PodGroupName == nil {
			errs = append(errs, field.Required(at, "the PodGroup that the pod is placed with"))
		} else {
			errs = append(errs, subdomain(*g.PodGroupName, at)...)
		}
	}
	for i, g := range s.ReadinessGates {
		for _, msg := range validation.IsQualifiedName(string(g.ConditionType)) {
			errs = append(errs, field.Invalid(at.Child("readinessGates").Index(i).Child("conditionType"), g.ConditionType, msg))
		}
	}
	return errs
}

func subdomain(name string, at *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

// KeepsTolerations reports whether all old ones are among the next; for how long one
// holds may change.
func KeepsTolerations(next, old []corev1.Toleration) bool {
	for _, o := range old {
		if !slices.ContainsFunc(next, func(n corev1.Toleration) bool {
			n.TolerationSeconds = o.TolerationSeconds
			return n == o
		}) {
			return false
		}
	}
	return true
}
