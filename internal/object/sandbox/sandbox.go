package sandbox

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What a pod says of its sandbox.
const (
	PlaceAnnotation = "mesos.trireme.dev/sandbox"
	URIsAnnotation  = "mesos.trireme.dev/uris"
	RootAnnotation  = "mesos.trireme.dev/root"
	RootHost        = "host" // of RootAnnotation: the node's own root file system

	Volume = "mesos-sandbox"      // the name of the volume that is the sandbox
	Path   = "/mnt/mesos/sandbox" // where containers with an image have it
)

// ReasonFetch is the status reason of a pod that failed because a URI could not be fetched.
const ReasonFetch = "FetchFailed"

// The variables that agents add to the environment of a container that mounts the sandbox:
// the sandbox as the container sees it, and as the node does. They win over the pod's.
const (
	PathVariable      = "MESOS_SANDBOX"
	DirectoryVariable = "MESOS_DIRECTORY"
)

// Place is what the folders on the way to a sandbox are called.
type Place struct {
	Agent     string `json:"agent"` // Mesos' id of it
	Framework string `json:"framework"`
	Executor  string `json:"executor"`            // of a command task: the task's id
	Container string `json:"container,omitempty"` // empty: the pod's UID
}

// nameMax is the longest id that is the name of a folder.
const nameMax = 255

// CheckID returns what is wrong with an id that becomes the name of a folder.
func CheckID(field, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s is missing", field)
	case len(id) > nameMax:
		return fmt.Errorf("%s has %d bytes: at most %d", field, len(id), nameMax)
	case id == "." || id == ".." || strings.ContainsAny(id, `/\`) || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%s: %q cannot be the name of a folder: no control characters, no slashes, not . or ..", field, id)
	}
	return nil
}

// Dir returns the sandbox's path below an agent's work directory; an id that would leave
// it is an error that names the field.
func (p Place) Dir() (string, error) {
	for _, f := range []struct{ field, id string }{{"agent", p.Agent}, {"framework", p.Framework}, {"executor", p.Executor}, {"container", p.Container}} {
		if err := CheckID(f.field, f.id); err != nil {
			return "", err
		}
	}
	return path.Join("slaves", p.Agent, "frameworks", p.Framework, "executors", p.Executor, "runs", p.Container), nil
}

// URI is something that is fetched into the sandbox before the start (CommandInfo.URI).
type URI struct {
	Value      string `json:"value"` // http, https, file, or a path of the node
	Executable bool   `json:"executable,omitempty"`
	Extract    *bool  `json:"extract,omitempty"` // nil: true
	Cache      bool   `json:"cache,omitempty"`
	OutputFile string `json:"output_file,omitempty"` // relative to the sandbox; empty: the last part of Value
	// Container is the container of the pod whose sandbox it is for; empty: what the whole
	// volume is.
	Container string `json:"container,omitempty"`
}

// Extracts reports whether an archive is to be unpacked.
func (u *URI) Extracts() bool { return !u.Executable && (u.Extract == nil || *u.Extract) }

// Set notes on the pod where its sandbox lies and what is fetched into it, and gives it the
// volume. Containers mount it with Mount or HostRoot.
func Set(p *corev1.Pod, place Place, uris []URI) error {
	if err := note(p, PlaceAnnotation, place); err != nil {
		return err
	}
	if len(uris) > 0 {
		if err := note(p, URIsAnnotation, uris); err != nil {
			return err
		}
	}
	addVolume(p, corev1.Volume{Name: Volume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	return nil
}

func note(p *corev1.Pod, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("annotation %s: %w", key, err)
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[key] = string(b)
	return nil
}

func addVolume(p *corev1.Pod, v corev1.Volume) {
	if !slices.ContainsFunc(p.Spec.Volumes, func(have corev1.Volume) bool { return have.Name == v.Name }) {
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
}

// Mount gives the container the sandbox at Path: of a task of a group, its own folder
// (TaskDir of its id) in it; dir empty: the whole. It is the working directory where the
// container has none.
func Mount(c *corev1.Container, dir string) {
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: Volume, MountPath: Path, SubPath: dir})
	if c.WorkingDir == "" {
		c.WorkingDir = Path
	}
}

// TaskDir returns the folder that a task of a group has in its executor's sandbox.
func TaskDir(task string) string { return path.Join("tasks", task) }

// PlaceOf returns where the pod's sandbox lies, its container filled in; false: it has none.
func PlaceOf(p *corev1.Pod) (place Place, ok bool, err error) {
	text := p.Annotations[PlaceAnnotation]
	if text == "" || !slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == Volume && v.EmptyDir != nil }) {
		return Place{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &place); err != nil {
		return Place{}, false, fmt.Errorf("annotation %s: %w", PlaceAnnotation, err)
	}
	if place.Container == "" {
		place.Container = string(p.UID)
	}
	return place, true, nil
}

// URIsOf returns what is to be fetched for the pod.
func URIsOf(p *corev1.Pod) (uris []URI, err error) {
	text := p.Annotations[URIsAnnotation]
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &uris); err != nil {
		return nil, fmt.Errorf("annotation %s: it is a JSON list of URIs: %w", URIsAnnotation, err)
	}
	return uris, nil
}

// DirOf returns the container's folder in the pod's sandbox, empty where it is the whole;
// false: it does not mount it.
func DirOf(c *corev1.Container) (dir string, ok bool) {
	for i := range c.VolumeMounts {
		if m := &c.VolumeMounts[i]; m.Name == Volume {
			return m.SubPath, true
		}
	}
	return "", false
}

// OnHost reports whether the container runs on the node's own root file system.
func OnHost(p *corev1.Pod, c *corev1.Container) bool {
	return p.Annotations[RootAnnotation] == RootHost && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == rootVolume })
}
