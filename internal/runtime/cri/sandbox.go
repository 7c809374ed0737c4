package cri

import (
	"context"
	"net/netip"

	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/runtime"
)

// RunSandbox makes and starts a sandbox and its network.
func (r *Runtime) RunSandbox(ctx context.Context, cfg *runtime.SandboxConfig) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	res, err := r.calls.RunPodSandbox(ctx, &criv1.RunPodSandboxRequest{
		Config:         r.sandboxConfig(cfg),
		RuntimeHandler: cfg.RuntimeHandler,
	})
	if err != nil {
		return "", classify(err, "running sandbox of pod", cfg.Namespace+"/"+cfg.Name)
	}
	return res.PodSandboxId, nil
}

// StopSandbox kills what runs in the sandbox and takes its network down. Stop
// the containers first to give them grace.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	_, err := r.calls.StopPodSandbox(ctx, &criv1.StopPodSandboxRequest{PodSandboxId: id})
	if gone(err) {
		return nil
	}
	return classify(err, "stopping sandbox", id)
}

// RemoveSandbox removes the sandbox and its containers, running ones too.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	_, err := r.calls.RemovePodSandbox(ctx, &criv1.RemovePodSandboxRequest{PodSandboxId: id})
	if gone(err) {
		return nil
	}
	return classify(err, "removing sandbox", id)
}

// Addresses returns those that the runtime's CNI plugins gave a sandbox.
func (r *Runtime) Addresses(ctx context.Context, id string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.calls.PodSandboxStatus(ctx, &criv1.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return nil, classify(err, "asking the addresses of sandbox", id)
	}
	network := res.GetStatus().GetNetwork()
	texts := []string{network.GetIp()}
	for _, more := range network.GetAdditionalIps() {
		texts = append(texts, more.GetIp())
	}
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil { // none: it is empty
			out = append(out, a.Unmap())
		}
	}
	return out, nil
}

func (r *Runtime) sandboxConfig(cfg *runtime.SandboxConfig) *criv1.PodSandboxConfig {
	out := &criv1.PodSandboxConfig{
		Metadata: &criv1.PodSandboxMetadata{
			Name: cfg.Name, Namespace: cfg.Namespace, Uid: string(cfg.UID), Attempt: cfg.Attempt,
		},
		Hostname:     cfg.Hostname,
		LogDirectory: cfg.LogDir,
		Labels:       r.label(cfg.Labels, pod(cfg), cfg.UID, ""),
		Annotations:  cfg.Annotations,
		Linux: &criv1.LinuxPodSandboxConfig{
			CgroupParent:    cfg.CgroupParent,
			Sysctls:         cfg.Sysctls,
			SecurityContext: r.sandboxSecurity(cfg),
		},
	}
	if cfg.HostNetwork {
		out.Hostname = "" // it keeps the node's
	}
	for _, p := range cfg.HostPorts {
		out.PortMappings = append(out.PortMappings, &criv1.PortMapping{
			Protocol: criv1.Protocol(criv1.Protocol_value[string(p.Protocol)]), HostIp: p.HostIP, HostPort: p.Port, ContainerPort: p.Pod,
		})
	}
	if d := cfg.DNS; d != nil {
		out.DnsConfig = &criv1.DNSConfig{Servers: d.Servers, Searches: d.Searches, Options: d.Options}
	}
	if !isZero(cfg.Resources) {
		out.Linux.Resources = resources(cfg.Resources)
	}
	return out
}
