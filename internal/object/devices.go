package object

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// DevicesAnnotation says which of a pod's mounts from its node are devices that the
// containers may use, with which rights: VOLUME=rwm, with commas between. What is no
// mount from the node is not looked at, so that nobody who may not mount from the node
// gets a device by it.
const DevicesAnnotation = "trireme.dev/devices"

// Devices returns the rights that the pod's containers have to devices of the node, by
// the volume: of r, w and m.
func Devices(p *corev1.Pod) map[string]string {
	text := p.Annotations[DevicesAnnotation]
	if text == "" {
		return nil
	}
	out := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, rights, _ := strings.Cut(part, "=")
		for i := range p.Spec.Volumes {
			if v := &p.Spec.Volumes[i]; v.Name == name && v.HostPath != nil && rights != "" && strings.Trim(rights, "rwm") == "" {
				out[name] = rights
			}
		}
	}
	return out
}
