package swarm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/mount"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object"
)

// Volumes with a name are served as this resource.
var (
	Volumes    = Group.WithResource("volumes")
	VolumeKind = Group.WithKind("Volume")
)

// VolumeDriver is the driver by which a pod names such a volume of its namespace, inline
// (csi). Agents serve it themselves.
const VolumeDriver = "volumes.trireme.dev"

// VolumesLabel, "true", is on pods that have such volumes: without it they are not made.
const VolumesLabel = "swarm.trireme.dev/volumes"

// VolumeAnnotation says, on a PersistentVolume, which Volume has its data on the node
// that it lies on: NAMESPACE/NAME.
const VolumeAnnotation = "swarm.trireme.dev/volume"

// Attributes of a pod's inline volume. All but the first are optional.
const (
	volumeName   = "name"   // of the Volume
	volumeCalled = "called" // as docker calls it
	volumeLabels = "labels" // docker's, as JSON
	volumeNoCopy = "nocopy" // "true": what the image has there does not go into an empty one
)

// Volume is a volume with a name: on each node where a pod has used it, a folder.
type Volume struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              VolumeSpec `json:"spec"`
}

// VolumeSpec is what its user said of it (Docker Engine API, Volume).
type VolumeSpec struct {
	Name    string            `json:"name,omitempty"` // as docker calls it; empty: as the object
	Labels  map[string]string `json:"labels,omitempty"`
	Options map[string]string `json:"options,omitempty"` // of the driver local
}

// VolumeFrom reads a Volume out of tables.CustomObjects or a client's answer.
func VolumeFrom(u *unstructured.Unstructured) (*Volume, error) {
	v := &Volume{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, v); err != nil {
		return nil, fmt.Errorf("reading volume %s: %w", object.KeyOf(u), err)
	}
	return v, nil
}

// Unstructured returns the volume as a custom object.
func (v *Volume) Unstructured() (*unstructured.Unstructured, error) {
	v.SetGroupVersionKind(VolumeKind)
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(v)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: tree}, nil
}

// Called returns the volume's name as docker knows it.
func (v *Volume) Called() string {
	name := v.Name
	if v.Namespace != metav1.NamespaceDefault {
		name = v.Namespace + "_" + v.Name
	}
	return cmp.Or(v.Spec.Name, name)
}

// PlaceVolume returns where the volume of a docker name is: in the namespace of the
// stack that the labels name, else in "default".
func PlaceVolume(name string, labels map[string]string) object.Key {
	return object.Key{Namespace: Place(name, labels).Namespace, Name: fold(name)}
}

// NamedVolumes returns the volumes with a name that the pod has, as those that are
// missing are to be made.
func NamedVolumes(p *corev1.Pod) (all []*Volume) {
	for i := range p.Spec.Volumes {
		name, _, ok := NamedVolume(&p.Spec.Volumes[i])
		if !ok {
			continue
		}
		v := &Volume{}
		v.Namespace, v.Name = p.Namespace, name
		attributes := p.Spec.Volumes[i].CSI.VolumeAttributes
		if called := attributes[volumeCalled]; called != name {
			v.Spec.Name = called
		}
		if json.Unmarshal([]byte(attributes[volumeLabels]), &v.Spec.Labels) != nil {
			v.Spec.Labels = nil // somebody wrote it by hand
		}
		all = append(all, v)
	}
	return all
}

// NamedVolume returns the name of the Volume that a pod's volume is, and whether an
// empty one is to be filled with what the image has at its place; false: it is another.
func NamedVolume(v *corev1.Volume) (name string, fill, ok bool) {
	if v.CSI == nil || v.CSI.Driver != VolumeDriver {
		return "", false, false
	}
	a := v.CSI.VolumeAttributes
	return a[volumeName], a[volumeNoCopy] != "true", a[volumeName] != ""
}

// NamedSource returns the source of the Volume of the name, which docker calls so. Its Pod
// needs VolumesLabel.
func NamedSource(name, called string) corev1.VolumeSource {
	attributes := map[string]string{volumeName: name}
	if called != name {
		attributes[volumeCalled] = called
	}
	return corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: VolumeDriver, VolumeAttributes: attributes}}
}

// named returns the source of a volume with a name: what its options say, or a folder
// of the node.
func (b *builder) named(field, name string, m mount.Mount) (v corev1.VolumeSource, err error) {
	at := object.Key{Namespace: b.service.Namespace, Name: fold(name)} // a pod has those of its namespace
	labels, options, nocopy := map[string]string(nil), map[string]string(nil), false
	if o := m.VolumeOptions; o != nil {
		labels, nocopy = o.Labels, o.NoCopy
		if d := o.DriverConfig; d != nil {
			if d.Name != "" && d.Name != "local" {
				return v, fmt.Errorf("%s.VolumeOptions.DriverConfig.Name: there is no driver %q: use local, or a claim of a CSI driver in a pod", field, d.Name)
			}
			options = d.Options
		}
	}
	if b.task.Volume != nil {
		if have := b.task.Volume(at); have != nil && len(have.Options) > 0 {
			options = have.Options
		}
	}
	if len(options) > 0 {
		v, err = optionsSource(options)
		if err != nil {
			return v, fmt.Errorf("%s: volume %s: %w", field, name, err)
		}
		return v, nil
	}
	v = NamedSource(at.Name, name)
	attributes := v.CSI.VolumeAttributes
	if len(labels) > 0 {
		text, err := json.Marshal(labels)
		if err != nil {
			return v, err
		}
		attributes[volumeLabels] = string(text)
	}
	if nocopy {
		attributes[volumeNoCopy] = "true"
	}
	b.pod.Labels[VolumesLabel] = "true"
	return v, nil
}

// CheckVolumeOptions says what of the options of the driver local is not served.
func CheckVolumeOptions(options map[string]string) error {
	if len(options) == 0 {
		return nil
	}
	_, err := optionsSource(options)
	return err
}

// optionsSource maps the options of docker's driver local to a volume of Kubernetes'
// kinds, so that policies see what it is.
func optionsSource(options map[string]string) (v corev1.VolumeSource, err error) {
	for _, k := range sortedKeys(options) {
		if k != "type" && k != "o" && k != "device" {
			return v, fmt.Errorf("driver option %q: the driver local has type, o and device", k)
		}
	}
	flags := map[string]string{}
	for _, o := range strings.Split(options["o"], ",") {
		if k, value, _ := strings.Cut(o, "="); k != "" && k != "rw" && k != "defaults" {
			flags[k] = value
		}
	}
	take := func(k string) string { defer delete(flags, k); return flags[k] }
	kind, bound := options["type"], has(flags, "bind") || has(flags, "rbind")
	switch {
	case kind == "nfs" || kind == "nfs4":
		host, path, _ := strings.Cut(options["device"], ":")
		v.NFS = &corev1.NFSVolumeSource{Server: cmp.Or(take("addr"), host), Path: path, ReadOnly: has(flags, "ro")}
		delete(flags, "ro")
		if v.NFS.Server == "" || !strings.HasPrefix(path, "/") {
			return v, fmt.Errorf("driver options: NFS needs o=addr=SERVER and device=:/PATH")
		}
	case kind == "tmpfs":
		v.EmptyDir = &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
		if size := take("size"); size != "" {
			bytes, ok := memorySize(size)
			if !ok {
				return v, fmt.Errorf("driver option o: size=%s: it is a number of bytes, or of k, m or g", size)
			}
			v.EmptyDir.SizeLimit = resource.NewQuantity(bytes, resource.BinarySI)
		}
	case (kind == "" || kind == "none") && bound:
		v.HostPath = &corev1.HostPathVolumeSource{Path: options["device"]}
		delete(flags, "bind")
		delete(flags, "rbind")
		if !strings.HasPrefix(options["device"], "/") {
			return v, fmt.Errorf("driver option device: %q: a folder that is bound has an absolute path", options["device"])
		}
	default:
		return v, fmt.Errorf("driver option type: %q is not served: nfs, tmpfs, or none with o=bind", kind)
	}
	for _, k := range sortedKeys(flags) {
		return v, fmt.Errorf("driver option o: %q cannot be passed on: leave it away, or make a PersistentVolume with mountOptions", k)
	}
	return v, nil
}

func has(m map[string]string, key string) bool { _, ok := m[key]; return ok }

// memorySize reads a size as tmpfs(5) does.
func memorySize(text string) (int64, bool) {
	unit := int64(1)
	if i := strings.IndexByte("kmg", (strings.ToLower(text) + " ")[max(len(text)-1, 0)]); i >= 0 {
		unit, text = 1<<(10*(i+1)), text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n * unit, err == nil && n > 0 && n < 1<<40
}
