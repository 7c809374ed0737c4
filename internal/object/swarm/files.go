package swarm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
)

// FileLabel is on the Secrets and ConfigMaps that docker's clients know as secrets and
// configs: those that they made, and others that somebody put it on.
const FileLabel = "swarm.trireme.dev/file"

// Annotations of them.
const (
	fileName       = "swarm.trireme.dev/name"       // docker's, where the object's differs
	fileLabels     = "swarm.trireme.dev/labels"     // docker's, as JSON
	fileTemplating = "swarm.trireme.dev/templating" // the driver that the content is for
	fileSource     = "swarm.trireme.dev/source"     // the id of what it is a copy of
)

// FileKey is where the content is. Of an object with one key, it is that one.
const FileKey = "data"

// FollowLabel, "true" on a service, says that new contents of its secrets and configs
// want new tasks.
const FollowLabel = "trireme.dev/follow-content"

// golang is the one driver of templates (swarmkit, template).
const golang = "golang"

// File is a secret or config of docker's: a Secret or ConfigMap.
type File struct {
	Config bool
	Object metav1.Object
	Key    string
	Data   []byte
}

// SecretFile returns the Secret as a secret.
func SecretFile(s *corev1.Secret) File {
	f := File{Object: s, Key: FileKey}
	if len(s.Data) == 1 {
		for f.Key = range s.Data {
		}
	}
	f.Data = s.Data[f.Key]
	return f
}

// ConfigFile returns the ConfigMap as a config.
func ConfigFile(c *corev1.ConfigMap) File {
	f := File{Config: true, Object: c, Key: FileKey}
	data := maps.Clone(c.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for k, v := range c.Data {
		data[k] = []byte(v)
	}
	if len(data) == 1 {
		for f.Key = range data {
		}
	}
	f.Data = data[f.Key]
	return f
}

// Word is what docker calls it.
func (f File) Word() string {
	if f.Config {
		return "config"
	}
	return "secret"
}

// Listed reports whether docker's clients know it.
func (f File) Listed() bool { return f.Object.GetLabels()[FileLabel] == "true" }

// ID returns its id: a copy has that of what it is a copy of.
func (f File) ID() string {
	if id := f.Object.GetAnnotations()[fileSource]; id != "" {
		return id
	}
	return ID(f.Object.GetUID())
}

// Spec returns its name and labels as docker knows them. One that was not made by
// docker's clients has the labels of its object, and the name too, behind that of its
// namespace.
func (f File) Spec() swarm.Annotations {
	a := swarm.Annotations{Name: f.Object.GetAnnotations()[fileName], Labels: map[string]string{}}
	if a.Name == "" {
		a.Name = f.Object.GetName()
		if ns := f.Object.GetNamespace(); ns != metav1.NamespaceDefault {
			a.Name = ns + "_" + a.Name
		}
	}
	text, ours := f.Object.GetAnnotations()[fileLabels]
	if ours && json.Unmarshal([]byte(text), &a.Labels) == nil && a.Labels != nil {
		return a
	}
	a.Labels = map[string]string{}
	for k, v := range f.Object.GetLabels() {
		if !strings.HasPrefix(k, "swarm.trireme.dev/") {
			a.Labels[k] = v
		}
	}
	return a
}

// Templating returns the driver that expands its content, nil: it is as it is.
func (f File) Templating() *swarm.Driver {
	if name := f.Object.GetAnnotations()[fileTemplating]; name != "" {
		return &swarm.Driver{Name: name}
	}
	return nil
}

// Clone returns a copy that may be changed.
func (f File) Clone() File {
	switch o := f.Object.(type) {
	case *corev1.Secret:
		return SecretFile(o.DeepCopy())
	case *corev1.ConfigMap:
		return ConfigFile(o.DeepCopy())
	}
	return f
}

// Describe writes docker's name, labels and driver of templates to the object.
func (f File) Describe(a swarm.Annotations, templating *swarm.Driver) error {
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	labels, err := json.Marshal(a.Labels)
	if err != nil {
		return err
	}
	notes := map[string]string{fileName: a.Name, fileLabels: string(labels)}
	if templating != nil && templating.Name != "" {
		if templating.Name != golang {
			return fmt.Errorf("Templating.Name: %q: the one driver of templates is %s", templating.Name, golang)
		}
		notes[fileTemplating] = golang
	}
	f.merge(map[string]string{FileLabel: "true"}, notes)
	return nil
}

func (f File) merge(labels, notes map[string]string) {
	merged := func(have, more map[string]string) map[string]string {
		out := maps.Clone(have)
		if out == nil {
			out = map[string]string{}
		}
		maps.Copy(out, more)
		return out
	}
	f.Object.SetLabels(merged(f.Object.GetLabels(), labels))
	f.Object.SetAnnotations(merged(f.Object.GetAnnotations(), notes))
}

// Copy makes the new object a copy of f for a service of another namespace.
func (f File) Copy(to File, s *Service) {
	notes := map[string]string{fileSource: f.ID(), fileName: f.Spec().Name}
	if t := f.Templating(); t != nil {
		notes[fileTemplating] = t.Name
	}
	to.merge(map[string]string{ServiceLabel: s.Name}, notes)
	to.Object.SetNamespace(s.Namespace)
	to.Object.SetName(s.Name + "-" + f.ID()[:10])
	to.Object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: Group.String(), Kind: Kind.Kind, Name: s.Name, UID: s.UID}})
}

// CopyOf reports whether it is a copy for the service.
func (f File) CopyOf(s *Service) bool {
	return f.Object.GetAnnotations()[fileSource] != "" && f.Object.GetLabels()[ServiceLabel] == s.Name
}

// Ref is a service's reference to a secret or config: what, and where its tasks have
// it.
type Ref struct {
	Field    string
	Config   bool
	ID, Name string
	Target   string // an absolute path
	Called   string // how templates call it: the target as its user wrote it
	Owner    string // UID:GID; empty: root's
	Mode     int32
}

// Word is what docker calls what it refers to.
func (r Ref) Word() string { return File{Config: r.Config}.Word() }

// Refs returns the references of the service, secrets first, as far as they can be read
// (checkFiles says what is wrong with others).
func (s *Service) Refs() (refs []Ref) {
	c := s.Spec.TaskTemplate.ContainerSpec
	if c == nil {
		return nil
	}
	for i, r := range c.Secrets {
		if r != nil && r.File != nil {
			ref := Ref{Field: fmt.Sprintf("Secrets[%d]", i), ID: r.SecretID, Name: r.SecretName, Called: r.File.Name, Mode: int32(r.File.Mode)}
			refs = append(refs, ref.at("/run/secrets", r.File.UID, r.File.GID))
		}
	}
	for i, r := range c.Configs {
		if r != nil && r.File != nil {
			ref := Ref{Field: fmt.Sprintf("Configs[%d]", i), Config: true, ID: r.ConfigID, Name: r.ConfigName, Called: r.File.Name, Mode: int32(r.File.Mode)}
			refs = append(refs, ref.at("/", r.File.UID, r.File.GID))
		}
	}
	return refs
}

func (r Ref) at(below, uid, gid string) Ref {
	r.Target = path.Clean(r.Called)
	if !path.IsAbs(r.Target) {
		r.Target = path.Join(below, r.Target)
	}
	if uid == "" {
		uid = "0"
	}
	if gid == "" {
		gid = "0"
	}
	if uid != "0" || gid != "0" {
		r.Owner = uid + ":" + gid
	}
	return r
}

// checkFiles says what is wrong with the references to secrets and configs.
func (b *builder) checkFiles() error {
	for i, r := range b.spec.Secrets {
		if r == nil || r.File == nil {
			return fmt.Errorf("ContainerSpec.Secrets[%d].File: a secret needs a file as its target", i)
		}
	}
	for i, r := range b.spec.Configs {
		if r == nil || r.File == nil {
			return fmt.Errorf("ContainerSpec.Configs[%d].File: a config needs a file as its target: others (Runtime) are for credential specs of Windows", i)
		}
	}
	at := map[string]string{}
	for _, r := range b.service.Refs() {
		field := "ContainerSpec." + r.Field
		switch {
		case r.ID == "" || r.Name == "":
			return fmt.Errorf("%s: malformed %s reference: give id and name", field, r.Word())
		case r.Called == "" || r.Target == "/" || r.Target == "/run/secrets" || strings.HasPrefix(r.Called, "../"):
			return fmt.Errorf("%s.File.Name: %q is no file: give the name or the absolute path that tasks are to have it at", field, r.Called)
		case at[r.Target] != "":
			return fmt.Errorf("%s: %s references '%s' and '%s' have a conflicting target: '%s'", field, r.Word(), at[r.Target], r.Name, r.Called)
		case r.Mode&^0o777 != 0:
			return fmt.Errorf("%s.File.Mode: %o: it is 0 to 777", field, r.Mode)
		}
		for _, id := range strings.Split(r.Owner, ":") {
			if _, err := strconv.ParseUint(id, 10, 31); r.Owner != "" && err != nil {
				return fmt.Errorf("%s.File: UID and GID %q: users and groups are known by their number here", field, r.Owner)
			}
		}
		at[r.Target] = r.Name
	}
	return nil
}

// Follows reports whether new contents want new tasks.
func (s *Service) Follows() bool { return s.Spec.Labels[FollowLabel] == "true" }

// Digest returns what tells contents apart from others of the same references; nil
// stands for one that is not there.
func Digest(files []*File) string {
	h := sha256.New()
	for _, f := range files {
		var data []byte
		if f != nil {
			data = f.Data
		}
		fmt.Fprintf(h, "%t %d\n", f != nil, len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Given is where a task has one of its service's files from: the key of a Secret or
// ConfigMap.
type Given struct {
	Config    bool
	Name, Key string
}

// filesVolume is the volume of secrets and configs. In it they are called by their
// place in Refs.
const filesVolume = "files"

// files mounts each secret and config at its target, as regular files that do not
// change while the task runs.
func (b *builder) files() error {
	if err := b.checkFiles(); err != nil || len(b.task.Files) == 0 {
		return err
	}
	v := corev1.Volume{Name: filesVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}
	owners := map[string]string{}
	for i, r := range b.service.Refs() {
		name, mode := strconv.Itoa(i), r.Mode
		from := b.task.Files[i]
		items := []corev1.KeyToPath{{Key: from.Key, Path: name, Mode: &mode}}
		var p corev1.VolumeProjection
		if from.Config {
			p.ConfigMap = &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: from.Name}, Items: items}
		} else {
			p.Secret = &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: from.Name}, Items: items}
		}
		v.Projected.Sources = append(v.Projected.Sources, p)
		b.container.VolumeMounts = append(b.container.VolumeMounts, corev1.VolumeMount{Name: filesVolume, MountPath: r.Target, SubPath: name, ReadOnly: true})
		if r.Owner != "" {
			owners[name] = r.Owner
		}
	}
	b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, v)
	if len(owners) == 0 {
		return nil
	}
	text, err := json.Marshal(owners)
	if err != nil {
		return err
	}
	b.note(object.FileOwnersAnnotation(filesVolume), string(text))
	return nil
}

func (b *builder) note(key, value string) {
	if b.pod.Annotations == nil {
		b.pod.Annotations = map[string]string{}
	}
	b.pod.Annotations[key] = value
}

// Render returns what the i-th of the service's files, all of which are given, holds
// for the task; it is templated.
func (s *Service) Render(t Task, files []File, i int) ([]byte, error) {
	b := builder{service: s, task: t, spec: s.Spec.TaskTemplate.ContainerSpec}
	refs := s.Refs()
	content := func(config bool) func(string) (string, error) {
		return func(target string) (string, error) {
			for j, r := range refs {
				if r.Config == config && r.Called == target {
					return string(files[j].Data), nil
				}
			}
			return "", fmt.Errorf("no %s has the target %q", File{Config: config}.Word(), target)
		}
	}
	funcs := map[string]any{"secret": content(false), "config": content(true), "env": b.variable}
	text, err := b.execute("ContainerSpec."+refs[i].Field, string(files[i].Data), funcs)
	return []byte(text), err
}

// variable returns the value of one of the service's variables.
func (b *builder) variable(name string) (string, error) {
	for i, text := range b.spec.Env {
		if have, value, _ := strings.Cut(text, "="); have == name {
			return b.expand(fmt.Sprintf("ContainerSpec.Env[%d]", i), value)
		}
	}
	return "", fmt.Errorf("no variable %q", name)
}
