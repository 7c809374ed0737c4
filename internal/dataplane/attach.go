package dataplane

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/plugin"
	"trireme/internal/kind"
)

// podInterface is a pod's link as it sees it.
const podInterface = "eth0"

// AddPod wires a pod's network namespace as the CNI plugin would, for a runtime
// in this process. It waits for the pod's address as that does.
func (d *Dataplane) AddPod(ctx context.Context, sandbox, netns string, pod types.NamespacedName, uid types.UID) error {
	_, err := d.addPod(ctx, plugin.Request{
		ContainerID: sandbox, NetNS: netns, IfName: podInterface,
		Args: "K8S_POD_NAMESPACE=" + pod.Namespace + ";K8S_POD_NAME=" + pod.Name + ";K8S_POD_UID=" + string(uid),
	})
	var refusal *plugin.Error
	if errors.As(err, &refusal) {
		return &kind.Error{Kind: kind.Unavailable, Err: err}
	}
	return err
}

// DelPod takes a sandbox's link away; it is no error if there is none.
func (d *Dataplane) DelPod(_ context.Context, sandbox string) error {
	return errors.Join(d.links.DelPod(sandbox), d.tenants.leave(sandbox))
}

// Ready says whether pods can be wired: once this node's subnet is known.
func (d *Dataplane) Ready() error {
	d.podsMu.Lock()
	defer d.podsMu.Unlock()
	if !d.ready {
		return kind.New(kind.Unavailable, "this node has no pod subnet yet")
	}
	return nil
}
