package object

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestDevicesAreMountsFromTheNode(t *testing.T) {
	p := &corev1.Pod{}
	p.Annotations = map[string]string{DevicesAnnotation: "fuse=rwm,memory=rwm,odd=x,none=r,disk="}
	host := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/x"}}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "fuse", VolumeSource: host}, {Name: "odd", VolumeSource: host}, {Name: "disk", VolumeSource: host}, {Name: "unnamed", VolumeSource: host},
		{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	if diff := cmp.Diff(map[string]string{"fuse": "rwm"}, Devices(p)); diff != "" {
		t.Errorf("devices differ (-want +got):\n%s", diff)
	}
}
