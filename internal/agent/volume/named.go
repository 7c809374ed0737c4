package volume

import (
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/swarm"
)

// named makes a volume with a name ready: a folder that outlives the pod, on this node.
// What is in it at first the runtime sees to.
func (m *Manager) named(pod *corev1.Pod, v *corev1.Volume) (Volume, error) {
	name, fill, ok := swarm.NamedVolume(v)
	if !ok {
		return Volume{}, fmt.Errorf("driver %s: volumeAttributes.name is missing: it names a volume of the pod's namespace", swarm.VolumeDriver)
	}
	if pod.Labels[swarm.VolumesLabel] != "true" {
		return Volume{}, fmt.Errorf("driver %s: the pod has to have the label %s=true, so that its volumes are made", swarm.VolumeDriver, swarm.VolumesLabel)
	}
	pv, ok := m.keep.Claims.Named(object.Key{Namespace: pod.Namespace, Name: name})
	if !ok {
		return Volume{}, fmt.Errorf("volume %q of namespace %s is still to be made on this node", name, pod.Namespace)
	}
	dir := m.localDir(pv.Name)
	if exists(dir) {
		return Volume{Path: dir, Fill: fill}, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Volume{}, err
	}
	if m.keep.Made != nil {
		m.keep.Made() // before the status names it, it could be deleted without this node
	}
	return Volume{Path: dir, Fill: fill}, nil
}
