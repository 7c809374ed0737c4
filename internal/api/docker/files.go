package docker

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var fileRoutes = map[string]handler{
	"GET /secrets": secrets.list, "POST /secrets/create": secrets.create, "GET /secrets/{id}": secrets.inspect,
	"POST /secrets/{id}/update": secrets.update, "DELETE /secrets/{id}": secrets.remove,
	"GET /configs": configs.list, "POST /configs/create": configs.create, "GET /configs/{id}": configs.inspect,
	"POST /configs/{id}/update": configs.update, "DELETE /configs/{id}": configs.remove,
}

// files is what secrets and configs have in common.
type files struct {
	word   string
	config bool
	max    int // bytes of content
}

var (
	secrets = files{word: "secret", max: 500 << 10}
	configs = files{word: "config", max: 1000 << 10, config: true}
)

// fileName is what a secret or config may be called (swarmkit, controlapi).
var fileName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)

const fileNameMax = 64

// show returns a file as docker's clients know it. Secrets have the fields of configs,
// but the content is not told.
func (k files) show(f ours.File) swarm.Config {
	out := swarm.Config{ID: f.ID(), Meta: meta(f.Object), Spec: swarm.ConfigSpec{Annotations: f.Spec(), Templating: f.Templating()}}
	if k.config {
		out.Spec.Data = f.Data
	}
	return out
}

func (k files) find(c *call, ref string) (ours.File, error) {
	return find(k.word, ref, slices.Collect(tables.SwarmFileList(c.snap, k.config)), func(f ours.File) (string, string) { return f.ID(), f.Spec().Name })
}

func (k files) list(c *call) (any, error) {
	f, err := c.filters("id", "label", "name", "names")
	if err != nil {
		return nil, err
	}
	out := []swarm.Config{}
	for file := range tables.SwarmFileList(c.snap, k.config) {
		spec := file.Spec()
		if f.prefix("id", file.ID()) && f.prefix("name", spec.Name) && f.equal("names", spec.Name) && f.labels("label", spec.Labels) {
			out = append(out, k.show(file))
		}
	}
	return out, nil
}

func (k files) inspect(c *call) (any, error) {
	f, err := k.find(c, c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return k.show(f), nil
}

// read reads the request's spec: of either kind, as a secret's has all fields.
func (k files) read(c *call) (*swarm.SecretSpec, error) {
	spec := &swarm.SecretSpec{}
	if err := c.read(spec); err != nil {
		return nil, err
	}
	switch {
	case len(spec.Name) > fileNameMax || !fileName.MatchString(spec.Name):
		return nil, kind.New(kind.Invalid, "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]: Name %q", spec.Name)
	case spec.Driver != nil && spec.Driver.Name != "":
		return nil, kind.New(kind.Invalid, "Driver: secrets are kept in the cluster, there is no store %q: leave it away", spec.Driver.Name)
	}
	return spec, nil
}

func (k files) create(c *call) (any, error) {
	spec, err := k.read(c)
	if err != nil {
		return nil, err
	}
	if len(spec.Data) == 0 || len(spec.Data) >= k.max {
		return nil, kind.New(kind.Invalid, "%s data must be larger than 0 and less than %d bytes", k.word, k.max)
	}
	for other := range tables.SwarmFileList(c.snap, k.config) {
		if other.Spec().Name == spec.Name {
			return nil, kind.New(kind.Exists, "name conflicts with an existing object: %s %s already exists", k.word, spec.Name)
		}
	}
	f := k.empty(spec.Data)
	if err := f.Describe(spec.Annotations, spec.Templating); err != nil {
		return nil, kind.New(kind.Invalid, "%v", err)
	}
	at := ours.Place(spec.Name, spec.Labels)
	f.Object.SetNamespace(at.Namespace)
	f.Object.SetName(at.Name)
	if err := c.ensureNamespace(at.Namespace, spec.Labels[ours.StackLabel]); err != nil {
		return nil, err
	}
	made, err := c.putFile(f, true)
	if err != nil {
		return nil, err
	}
	return answer{http.StatusCreated, swarm.ConfigCreateResponse{ID: made.ID()}}, nil
}

// empty returns a new Secret or ConfigMap that has nothing but the content.
func (k files) empty(data []byte) ours.File {
	if !k.config {
		return ours.SecretFile(&corev1.Secret{Type: corev1.SecretTypeOpaque, Data: map[string][]byte{ours.FileKey: data}})
	}
	m := &corev1.ConfigMap{}
	if utf8.Valid(data) {
		m.Data = map[string]string{ours.FileKey: string(data)}
	} else {
		m.BinaryData = map[string][]byte{ours.FileKey: data}
	}
	return ours.ConfigFile(m)
}

// putFile creates or updates the object of a file, as whoever asks.
func (c *call) putFile(f ours.File, create bool) (ours.File, error) {
	core, ns := c.typed().CoreV1(), f.Object.GetNamespace()
	if !f.Config {
		s, err := put(c.Context(), core.Secrets(ns), f.Object.(*corev1.Secret), create)
		return ours.SecretFile(s), fromKubernetes(err)
	}
	m, err := put(c.Context(), core.ConfigMaps(ns), f.Object.(*corev1.ConfigMap), create)
	return ours.ConfigFile(m), fromKubernetes(err)
}

// writer is what clients of Secrets and of ConfigMaps have in common.
type writer[T any] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
}

func put[T any](ctx context.Context, w writer[T], o T, create bool) (T, error) {
	if create {
		return w.Create(ctx, o, metav1.CreateOptions{FieldManager: "docker"})
	}
	return w.Update(ctx, o, metav1.UpdateOptions{FieldManager: "docker"})
}

// update changes labels; clients send the whole spec, with or without the content.
func (k files) update(c *call) (any, error) {
	version, err := c.index()
	if err != nil {
		return nil, err
	}
	f, err := k.find(c, c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	spec, err := k.read(c)
	if err != nil {
		return nil, err
	}
	was := f.Spec()
	templating := f.Templating() != nil
	if asked := spec.Templating != nil && spec.Templating.Name != ""; spec.Name != was.Name || len(spec.Data) > 0 && !bytes.Equal(spec.Data, f.Data) || asked != templating {
		return nil, kind.New(kind.Invalid, "only updates to Labels are allowed")
	}
	if spec.Labels[ours.StackLabel] != was.Labels[ours.StackLabel] {
		return nil, kind.New(kind.Unsupported, "Labels: a %s stays in its stack: %s cannot be changed", k.word, ours.StackLabel)
	}
	next := f.Clone()
	if err := next.Describe(spec.Annotations, spec.Templating); err != nil {
		return nil, kind.New(kind.Invalid, "%v", err)
	}
	next.Object.SetResourceVersion(version)
	if _, err := c.putFile(next, false); err != nil {
		return nil, err
	}
	return answer{http.StatusOK, nil}, nil
}

func (k files) remove(c *call) (any, error) {
	f, err := k.find(c, c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var users []string
	for s := range tables.Swarms(c.all, "") {
		if slices.ContainsFunc(s.Refs(), func(r ours.Ref) bool { return r.Config == k.config && r.ID == f.ID() }) {
			name := "somebody else's"
			if c.sees(tables.CustomObjects, tables.SwarmKey(object.KeyOf(s))) {
				name = s.Spec.Name
			}
			users = append(users, name)
		}
	}
	if len(users) > 0 {
		word := "service"
		if len(users) > 1 {
			word = "services"
		}
		return nil, kind.New(kind.Invalid, "%s '%s' is in use by the following %s: %s", k.word, f.Spec().Name, word, strings.Join(users, ", "))
	}
	if err := c.deleteFile(f); err != nil {
		return nil, err
	}
	return answer{http.StatusNoContent, nil}, nil
}

func (c *call) deleteFile(f ours.File) error {
	core, ns, name := c.typed().CoreV1(), f.Object.GetNamespace(), f.Object.GetName()
	if f.Config {
		return fromKubernetes(core.ConfigMaps(ns).Delete(c.Context(), name, metav1.DeleteOptions{}))
	}
	return fromKubernetes(core.Secrets(ns).Delete(c.Context(), name, metav1.DeleteOptions{}))
}

// serviceFiles returns the secrets and configs that a service refers to and that are
// not in its namespace, as whoever asks may read them; its pods can only have what is
// there. What cannot be expanded is refused.
func (c *call) serviceFiles(s *ours.Service) (foreign []ours.File, err error) {
	have, _ := tables.SwarmFiles(c.snap, s)
	refs := s.Refs()
	all := make([]ours.File, len(refs))
	for i, r := range refs {
		if have[i] != nil {
			all[i] = *have[i]
			continue
		}
		if all[i], err = c.readFile(r); err != nil {
			return nil, err
		}
		foreign = append(foreign, all[i])
	}
	for i := range all {
		if all[i].Templating() == nil {
			continue
		}
		if _, err := s.Render(s.Example(), all, i); err != nil {
			return nil, kind.New(kind.Invalid, "TaskTemplate.%v", err)
		}
	}
	return foreign, nil
}

// readFile reads a secret or config of any namespace, as whoever asks.
func (c *call) readFile(r ours.Ref) (ours.File, error) {
	for f := range tables.SwarmFileList(c.snap, r.Config) {
		if f.ID() != r.ID {
			continue
		}
		ns, name := f.Object.GetNamespace(), f.Object.GetName()
		if r.Config {
			m, err := c.typed().CoreV1().ConfigMaps(ns).Get(c.Context(), name, metav1.GetOptions{})
			return ours.ConfigFile(m), fromKubernetes(err)
		}
		s, err := c.typed().CoreV1().Secrets(ns).Get(c.Context(), name, metav1.GetOptions{})
		return ours.SecretFile(s), fromKubernetes(err)
	}
	return ours.File{}, kind.New(kind.Invalid, "TaskTemplate.ContainerSpec.%s: %s not found: %s (%s): create it first", r.Field, r.Word(), r.Name, r.ID)
}

// copyFiles puts copies of files into the namespace of a service that is there.
func (c *call) copyFiles(s *ours.Service, foreign []ours.File) error {
	for _, f := range foreign {
		k := secrets
		if f.Config {
			k = configs
		}
		to := k.empty(f.Data)
		f.Copy(to, s)
		if _, err := c.putFile(to, true); err != nil && !kind.Is(err, kind.Exists) {
			return fmt.Errorf("copying %s %s to the namespace of the service: %w", f.Word(), f.Spec().Name, err)
		}
	}
	return nil
}

// dropFiles takes away the copies that a service as it was written has no more use for.
func (c *call) dropFiles(written *unstructured.Unstructured) error {
	s, err := ours.FromUnstructured(written)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, spec := range []*swarm.ServiceSpec{&s.Spec, s.PreviousSpec} {
		if spec == nil {
			continue
		}
		for _, r := range (&ours.Service{Spec: *spec}).Refs() {
			used[r.Word()+r.ID] = true
		}
	}
	for f := range tables.SwarmCopies(c.snap, s) {
		if used[f.Word()+f.ID()] {
			continue
		}
		if err := c.deleteFile(f); err != nil && !kind.Is(err, kind.NotFound) {
			return err
		}
	}
	return nil
}
