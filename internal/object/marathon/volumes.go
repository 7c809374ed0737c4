package marathon

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/sandbox"
)

// SlotLabel is on instances with volumes that outlive them: whose volumes they have.
const SlotLabel = "marathon.trireme.dev/slot"

// ClaimName returns the name of the claim of a slot's volume.
func ClaimName(id, slot, volume string) string { return Name(id) + "-" + slot + "-" + volume }

// VolumeName returns the name that an app's volume has in its pods, by its index.
func VolumeName(i int) string { return "volume-" + strconv.Itoa(i) }

// Persistent returns the volume that outlives its instance of a pod's volume's name; nil: it
// is none.
func (d *Definition) Persistent(name string) *PersistentVolume {
	if d.Container == nil {
		return nil
	}
	for i := range d.Container.Volumes {
		if VolumeName(i) == name {
			return d.Container.Volumes[i].Persistent
		}
	}
	return nil
}

// volumes are what is mounted.
func (b *builder) volumes() {
	if b.d.Container == nil {
		return
	}
	for i := range b.d.Container.Volumes {
		v, path := &b.d.Container.Volumes[i], fmt.Sprintf("/container/volumes/%d", i)
		if b.d.Container.Docker == nil {
			b.bad.add(path, "a command without an image has its node's own files: leave it out, or give an image")
			continue
		}
		at := v.ContainerPath
		if !strings.HasPrefix(at, "/") {
			at = sandbox.Path + "/" + at
		}
		mount := corev1.VolumeMount{Name: VolumeName(i), MountPath: at, ReadOnly: v.Mode == "RO"}
		source := corev1.VolumeSource{}
		switch {
		case v.HostPath != nil:
			kind := corev1.HostPathUnset
			source.HostPath = &corev1.HostPathVolumeSource{Path: *v.HostPath, Type: &kind}
		case v.Secret != nil:
			secret, ok := b.d.Secrets[*v.Secret]
			if !ok {
				b.bad.add(path+"/secret", "secret %q is not one of the app's secrets", *v.Secret)
			}
			name, key := secret.place()
			source.Secret = &corev1.SecretVolumeSource{SecretName: name, Items: []corev1.KeyToPath{{Key: key, Path: key}}}
			mount.SubPath, mount.ReadOnly = key, true
		case v.Persistent != nil:
			b.persistent(path+"/persistent", v.Persistent)
			source.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: mount.Name} // the loop names it, by the slot
		case v.External != nil:
			b.bad.add(path+"/external", "volumes of external providers are not mounted yet: use a persistent one, or a hostPath")
		default:
			b.bad.add(path, "has none of hostPath, persistent, external and secret")
		}
		b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, corev1.Volume{Name: mount.Name, VolumeSource: source})
		b.container.VolumeMounts = append(b.container.VolumeMounts, mount)
	}
}

// persistent refuses of a volume what a claim cannot be. A profile is a storage class.
func (b *builder) persistent(path string, p *PersistentVolume) {
	if p.Size <= 0 || p.Size > mebibytesMax {
		b.bad.add(path+"/size", "is %d: it is a number of MB above 0", p.Size)
	}
	if p.Type != "root" {
		b.bad.add(path+"/type", "%q: volumes are of type root here, or of a storage class by profileName", p.Type)
	}
	if len(p.Constraints) > 0 {
		b.bad.add(path+"/constraints", "the disk of a volume is not chosen: leave them out")
	}
	if p.MaxSize != nil {
		b.bad.add(path+"/maxSize", "is of disks of type mount, which there are none of: leave it out")
	}
}
