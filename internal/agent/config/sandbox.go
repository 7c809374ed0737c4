package config

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/network"
	"trireme/internal/runtime"
)

// hostNameMax is the kernel's limit of a host name.
const hostNameMax = 63

// SandboxInput is what a sandbox is made from.
type SandboxInput struct {
	Pod            *corev1.Pod
	Attempt        uint32
	LogDir         string
	CgroupParent   string
	RuntimeHandler string
	Annotations    map[string]string // beside the pod's own
}

// Sandbox returns the pod's sandbox.
func (n *Node) Sandbox(in SandboxInput) (*runtime.SandboxConfig, error) {
	pod := in.Pod
	dns, err := n.DNS(pod)
	if err != nil {
		return nil, err
	}
	annotations := map[string]string{}
	for _, m := range []map[string]string{pod.Annotations, in.Annotations} {
		for k, v := range m {
			annotations[k] = v
		}
	}
	host, domain := n.HostName(pod)
	if isTrue(pod.Spec.SetHostnameAsFQDN) && domain != "" {
		host += "." + domain
		if len(host) > hostNameMax+1 {
			return nil, fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", host, hostNameMax+1, len(host))
		}
	}
	cfg := &runtime.SandboxConfig{
		Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, Attempt: in.Attempt,
		Hostname: host, LogDir: in.LogDir, DNS: dns, Labels: pod.Labels, Annotations: annotations,
		CgroupParent: in.CgroupParent, RuntimeHandler: in.RuntimeHandler,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		ShareProcesses: isTrue(pod.Spec.ShareProcessNamespace), Privileged: privileged(pod), Security: pod.Spec.SecurityContext,
	}
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort > 0 && !pod.Spec.HostNetwork {
				cfg.HostPorts = append(cfg.HostPorts, runtime.HostPort{HostIP: p.HostIP, Port: p.HostPort, Pod: p.ContainerPort, Protocol: p.Protocol})
			}
		}
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		cfg.Sysctls = make(map[string]string, len(sc.Sysctls))
		for _, s := range sc.Sysctls {
			cfg.Sysctls[s.Name] = s.Value
		}
	}
	return cfg, nil
}

func privileged(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if sc := list[i].SecurityContext; sc != nil && isTrue(sc.Privileged) {
				return true
			}
		}
	}
	return false
}

// HostName returns the pod's host name, and its domain where it has a subdomain.
func (n *Node) HostName(pod *corev1.Pod) (host, domain string) {
	if o := pod.Spec.HostnameOverride; o != nil {
		return *o, ""
	}
	host = pod.Spec.Hostname
	if host == "" {
		host = pod.Name
		if len(host) > hostNameMax {
			host = strings.TrimRight(host[:hostNameMax], "-.")
		}
	}
	if pod.Spec.Subdomain != "" {
		domain = pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + n.Domain
	}
	return host, domain
}

// Hosts returns the content of the pod's /etc/hosts. node is the node's own
// file, which pods on the host's network get.
func (n *Node) Hosts(pod *corev1.Pod, node []byte) []byte {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(node)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		host, domain := n.HostName(pod)
		for _, ip := range strings.Split(n.podIPs(pod), ",") {
			switch {
			case ip == "":
			case domain != "":
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, host, domain, host)
			default:
				fmt.Fprintf(&b, "%s\t%s\n", ip, host)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return []byte(b.String())
}

// DNS returns the pod's resolver settings; nil means the node's.
func (n *Node) DNS(pod *corev1.Pod) (*runtime.DNSConfig, error) {
	policy := pod.Spec.DNSPolicy
	if policy == "" {
		policy = corev1.DNSClusterFirst
	}
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork || n.ClusterDNS == "" && policy != corev1.DNSNone {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSDefault && pod.Spec.DNSConfig == nil {
		return nil, nil
	}
	d := &runtime.DNSConfig{}
	if policy != corev1.DNSNone {
		host, err := n.nodeDNS()
		if err != nil {
			return nil, err
		}
		d = host
	}
	if policy == corev1.DNSClusterFirst || policy == corev1.DNSClusterFirstWithHostNet {
		d.Servers = []string{n.ClusterDNS}
		d.Searches = unique(append([]string{pod.Namespace + ".svc." + n.Domain, "svc." + n.Domain, n.Domain}, d.Searches...))
		if asked, err := network.Selections(pod); err == nil && len(asked) > 0 {
			d.Searches = append(d.Searches, pod.Namespace+".net."+n.Domain) // NAME.NETWORK
		}
		d.Options = []string{"ndots:5"}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		d.Servers = unique(append(d.Servers, c.Nameservers...))
		d.Searches = unique(append(d.Searches, c.Searches...))
		d.Options = mergeOptions(d.Options, c.Options)
	}
	return d, nil
}

func (n *Node) nodeDNS() (*runtime.DNSConfig, error) {
	path := n.ResolvConf
	if path == "" {
		path = "/etc/resolv.conf"
	}
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return &runtime.DNSConfig{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the node's resolver settings: %w", err)
	}
	defer f.Close()
	d := &runtime.DNSConfig{}
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			d.Servers = append(d.Servers, fields[1])
		case "search":
			d.Searches = slices.DeleteFunc(fields[1:], func(s string) bool { return s == "." })
		case "options":
			d.Options = fields[1:]
		}
	}
	return d, nil
}

func unique(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func mergeOptions(have []string, add []corev1.PodDNSConfigOption) []string {
	out := slices.Clone(have)
	for _, o := range add {
		out = slices.DeleteFunc(out, func(s string) bool { name, _, _ := strings.Cut(s, ":"); return name == o.Name })
		if o.Value != nil && *o.Value != "" {
			out = append(out, o.Name+":"+*o.Value)
		} else {
			out = append(out, o.Name)
		}
	}
	return out
}
