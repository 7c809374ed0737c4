package dataplane

import (
	"context"
	"errors"
	"net/netip"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/chain"
	"trireme/internal/dataplane/plugin"
	"trireme/internal/kind"
)

// podInterface is a pod's link as it sees it.
const podInterface = "eth0"

// byPlugins reports whether plugins of the user's attach this node's pods.
func (d *Dataplane) byPlugins() bool { return d.cfg.Plugins.ConfDir != "" }

// AddPod wires a pod's network namespace, for a runtime in this process, and returns the
// pod's addresses: as our CNI plugin would, waiting for the address as that does, or by the
// user's plugins. After an error DelPod takes away what was done.
func (d *Dataplane) AddPod(ctx context.Context, sandbox, netns string, pod types.NamespacedName, uid types.UID) ([]netip.Addr, error) {
	if d.byPlugins() {
		return d.chainPod(ctx, sandbox, netns, pod, uid)
	}
	_, at, err := d.addPod(ctx, plugin.Request{
		ContainerID: sandbox, NetNS: netns, IfName: podInterface,
		Args: "K8S_POD_NAMESPACE=" + pod.Namespace + ";K8S_POD_NAME=" + pod.Name + ";K8S_POD_UID=" + string(uid),
	})
	var refusal *plugin.Error
	if errors.As(err, &refusal) {
		return nil, &kind.Error{Kind: kind.Unavailable, Err: err}
	}
	return at, err
}

func (d *Dataplane) chainPod(ctx context.Context, sandbox, netns string, key types.NamespacedName, uid types.UID) ([]netip.Addr, error) {
	d.podsMu.Lock()
	pod := d.pods[key]
	d.podsMu.Unlock()
	if pod == nil || pod.UID != uid {
		return nil, kind.New(kind.Unavailable, "pod %s is not assigned to this node", key)
	}
	return d.chain.Add(ctx, chain.Pod{Sandbox: sandbox, NetNS: netns, Object: pod})
}

// DelPod takes a sandbox's link away, whoever made it; it is no error if there is none.
func (d *Dataplane) DelPod(ctx context.Context, sandbox string) error {
	return errors.Join(d.chain.Del(ctx, sandbox), d.links.DelPod(sandbox), d.tenants.leave(sandbox))
}

// Keep takes away what plugins of the user's attached of sandboxes that are not known. Our
// own links Apply prunes, by their pods.
func (d *Dataplane) Keep(ctx context.Context, known func(sandbox string) bool) error {
	return d.chain.Keep(ctx, known)
}

// Ready says whether pods can be wired: once this node's subnet is known, or the user's
// plugins can.
func (d *Dataplane) Ready(ctx context.Context) error {
	if d.byPlugins() {
		return d.chain.Ready(ctx)
	}
	d.podsMu.Lock()
	defer d.podsMu.Unlock()
	if !d.ready {
		return kind.New(kind.Unavailable, "this node has no pod subnet yet")
	}
	return nil
}
