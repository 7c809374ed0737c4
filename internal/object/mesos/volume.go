package mesos

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/sandbox"
	"trireme/internal/object/swarm"
)

// volumes mounts what a ContainerInfo names.
func (b *builder) volumes(c *corev1.Container, in *mesosv1.ContainerInfo) error {
	for i, v := range in.GetVolumes() {
		if err := b.volume(c, v); err != nil {
			return fmt.Errorf("volumes[%d].%w", i, err)
		}
	}
	return nil
}

func (b *builder) volume(c *corev1.Container, v *mesosv1.Volume) error {
	mount := corev1.VolumeMount{ReadOnly: v.GetMode() == mesosv1.Volume_RO}
	if err := b.place(c, &mount, v.GetContainerPath()); err != nil {
		return err
	}
	if v.GetImage() != nil {
		return fmt.Errorf("image: cannot be had: name a host_path or a source")
	}
	from := v.GetHostPath()
	switch s := v.GetSource(); s.GetType() {
	case mesosv1.Volume_Source_UNKNOWN:
	case mesosv1.Volume_Source_HOST_PATH:
		from = s.GetHostPath().GetPath()
		if from == "" {
			return fmt.Errorf("source.host_path.path: is missing")
		}
		mount.MountPropagation = propagation(s.GetHostPath().GetMountPropagation())
	case mesosv1.Volume_Source_SANDBOX_PATH:
		from = s.GetSandboxPath().GetPath()
		if from == "" || path.IsAbs(from) {
			return fmt.Errorf("source.sandbox_path.path: %q is no path in the sandbox", from)
		}
		if s.GetSandboxPath().GetType() == mesosv1.Volume_Source_SandboxPath_PARENT {
			return b.inSandbox(c, mount, from, "")
		}
	case mesosv1.Volume_Source_DOCKER_VOLUME:
		d := s.GetDockerVolume()
		if d.GetDriver() != "" && d.GetDriver() != "local" {
			return fmt.Errorf("source.docker_volume.driver: there is no driver %q: use local", d.GetDriver())
		}
		if len(d.GetDriverOptions().GetParameter()) > 0 {
			return fmt.Errorf("source.docker_volume.driver_options: cannot be had")
		}
		return b.mount(c, mount, b.named(d.GetName()))
	case mesosv1.Volume_Source_SECRET:
		r := s.GetSecret().GetReference()
		if r == nil {
			return fmt.Errorf("source.secret: only a reference to a Secret can be had")
		}
		key := secretKey(r).Key
		mount.SubPath, mount.ReadOnly = key, true
		return b.mount(c, mount, corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: r.GetName(), Items: []corev1.KeyToPath{{Key: key, Path: key}}}})
	default:
		return fmt.Errorf("source.type: %v cannot be had: HOST_PATH, SANDBOX_PATH, DOCKER_VOLUME and SECRET can", s.GetType())
	}
	if path.IsAbs(from) {
		return b.mount(c, mount, corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: from}})
	}
	dir, _ := sandbox.DirOf(c)
	return b.inSandbox(c, mount, from, dir)
}

// place finds where in the container a volume goes: paths that are not absolute are in its
// sandbox.
func (b *builder) place(c *corev1.Container, mount *corev1.VolumeMount, to string) error {
	switch {
	case to == "":
		return fmt.Errorf("container_path: is missing")
	case slices.Contains(strings.Split(to, "/"), ".."):
		return fmt.Errorf("container_path: %q: must not have ..", to)
	case path.IsAbs(to) && c.Image == sandbox.HostImage:
		return fmt.Errorf("container_path: %q: a task without an image has its node's own files: give a path in its sandbox, or an image", to)
	case path.IsAbs(to):
		mount.MountPath = path.Clean(to)
	default:
		mount.MountPath = path.Join(sandbox.Path, to)
	}
	return nil
}

// inSandbox mounts a folder of the sandbox; an empty from is one of the mount's own name.
func (b *builder) inSandbox(c *corev1.Container, mount corev1.VolumeMount, from, dir string) error {
	if slices.Contains(strings.Split(from, "/"), "..") {
		return fmt.Errorf("host_path: %q: must not have ..", from)
	}
	if from == "" {
		from = strings.Trim(strings.TrimPrefix(mount.MountPath, sandbox.Path), "/")
	}
	mount.Name, mount.SubPath = sandbox.Volume, path.Join(dir, from)
	c.VolumeMounts = append(c.VolumeMounts, mount)
	return nil
}

// mount gives the container a volume, which its Pod has once.
func (b *builder) mount(c *corev1.Container, mount corev1.VolumeMount, from corev1.VolumeSource) error {
	if slices.ContainsFunc(c.VolumeMounts, func(have corev1.VolumeMount) bool { return have.MountPath == mount.MountPath }) {
		return fmt.Errorf("container_path: %s: two volumes cannot be at one place", mount.MountPath)
	}
	mount.Name = fmt.Sprintf("volume-%d", len(b.pod.Spec.Volumes))
	b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, corev1.Volume{Name: mount.Name, VolumeSource: from})
	c.VolumeMounts = append(c.VolumeMounts, mount)
	return nil
}

func propagation(p *mesosv1.MountPropagation) *corev1.MountPropagationMode {
	var mode corev1.MountPropagationMode
	switch p.GetMode() {
	case mesosv1.MountPropagation_HOST_TO_CONTAINER:
		mode = corev1.MountPropagationHostToContainer
	case mesosv1.MountPropagation_BIDIRECTIONAL:
		mode = corev1.MountPropagationBidirectional
	default:
		return nil
	}
	return &mode
}

// named returns the volume of a name: a folder of the node that outlives its pods.
func (b *builder) named(name string) corev1.VolumeSource {
	b.pod.Labels[swarm.VolumesLabel] = "true"
	return swarm.NamedSource(fold(name, validation.IsDNS1123Label), name)
}

// VolumeName returns what the Volume of a persistent volume is called, in the namespace of
// its role.
func VolumeName(agent, id string) string { return digested("mesos-"+letters(id), agent+"/"+id) }

// persistent mounts the persistent volumes of a list.
func (b *builder) persistent(c *corev1.Container, list resource.List) error {
	for i := range list {
		r := &list[i]
		if !r.Persistent() {
			continue
		}
		mount := corev1.VolumeMount{ReadOnly: r.Volume.ReadOnly}
		if err := b.place(c, &mount, r.Volume.ContainerPath); err != nil {
			return fmt.Errorf("disk.volume.%w", err)
		}
		b.pod.Labels[swarm.VolumesLabel] = "true"
		name := VolumeName(b.launch.Agent, r.Volume.ID)
		if err := b.mount(c, mount, swarm.NamedSource(name, name)); err != nil {
			return fmt.Errorf("disk.volume.%w", err)
		}
	}
	return nil
}
