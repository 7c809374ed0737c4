package image

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/runtime"
)

// imagesMax is how many images a node's status speaks of.
const imagesMax = 50

// Status returns the images as a node's status shows them.
func Status(list []runtime.Image) []corev1.ContainerImage {
	var out []corev1.ContainerImage
	for _, img := range list[:min(len(list), imagesMax)] {
		names := append(append([]string(nil), img.Digests...), img.Names...)
		if len(names) == 0 {
			names = []string{img.ID}
		}
		out = append(out, corev1.ContainerImage{Names: names, SizeBytes: img.SizeBytes})
	}
	return out
}
