package docker

import (
	"crypto/rand"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/volume"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var volumeRoutes = map[string]handler{
	"GET /volumes": listVolumes, "POST /volumes/create": createVolume, "GET /volumes/{name}": inspectVolume,
	"DELETE /volumes/{name}": removeVolume, "POST /volumes/prune": pruneVolumes,
}

// anonymousLabel is on volumes that nobody named.
const anonymousLabel = "com.docker.volume.anonymous"

// volumeForm is what a volume may be called (moby, names).
var volumeForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// volume returns a volume as docker's clients know it: its folder is that of this node,
// empty where no pod here has used it.
func (c *call) volume(v *ours.Volume) volume.Volume {
	out := volume.Volume{
		Name: v.Called(), Driver: "local", Scope: "local", CreatedAt: v.CreationTimestamp.UTC().Format(time.RFC3339),
		Labels: v.Spec.Labels, Options: v.Spec.Options,
	}
	for row := range tables.PersistentVolumes.By(c.snap, tables.VolumesByNode, c.door.cfg.Node) {
		if pv := row.Object(); pv.Annotations[ours.VolumeAnnotation] == object.KeyOf(v).String() && pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.UID == v.UID {
			out.Mountpoint = filepath.Join(c.door.cfg.Root, pv.Spec.Local.Path)
		}
	}
	return out
}

// volumes returns the volumes that the filters ask for.
func (c *call) volumes(f filters) (out []*ours.Volume) {
	for v := range tables.SwarmVolumes(c.snap, "") {
		if v.DeletionTimestamp != nil {
			continue
		}
		dangling := "true"
		if len(f["dangling"]) > 0 && len(c.usersOf(v)) > 0 {
			dangling = "false"
		}
		if f.any("name", func(name string) bool { return strings.Contains(v.Called(), name) }) && f.equal("driver", "local") && f.labels("label", v.Spec.Labels) &&
			f.any("dangling", func(asked string) bool {
				return asked == dangling || asked == "1" && dangling == "true" || asked == "0" && dangling == "false"
			}) {
			out = append(out, v)
		}
	}
	return out
}

// usersOf returns the ids of the tasks that have the volume, of those that the caller may
// see.
func (c *call) usersOf(v *ours.Volume) (ids []string) {
	for row := range tables.Pods.Rows(c.all, v.Namespace) {
		if h := row.Head(); h.Labels[ours.VolumesLabel] != "true" || h.Ended() {
			continue
		}
		if slices.ContainsFunc(ours.NamedVolumes(row.Object()), func(used *ours.Volume) bool { return used.Name == v.Name }) {
			id := "somebody else's"
			if c.sees(tables.Pods, row.Key()) {
				id = ours.ID(row.Head().UID)
			}
			ids = append(ids, id)
		}
	}
	return ids
}

func listVolumes(c *call) (any, error) {
	f, err := c.filters("dangling", "driver", "label", "name")
	if err != nil {
		return nil, err
	}
	out := volume.ListResponse{Volumes: []volume.Volume{}}
	for _, v := range c.volumes(f) {
		out.Volumes = append(out.Volumes, c.volume(v))
	}
	return out, nil
}

// findVolume returns the volume of a name; of several in different namespaces, that of
// no stack.
func (c *call) findVolume(name string) (*ours.Volume, error) {
	var found *ours.Volume
	for v := range tables.SwarmVolumes(c.snap, "") {
		if v.DeletionTimestamp == nil && v.Called() == name && (found == nil || v.Namespace == metav1.NamespaceDefault) {
			found = v
		}
	}
	if found == nil {
		return nil, kind.New(kind.NotFound, "get %s: no such volume", name)
	}
	return found, nil
}

func inspectVolume(c *call) (any, error) {
	v, err := c.findVolume(c.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return c.volume(v), nil
}

func createVolume(c *call) (any, error) {
	var req volume.CreateRequest
	if err := c.read(&req); err != nil {
		return nil, err
	}
	if req.Name == "" {
		req.Name = strings.ToLower(rand.Text() + rand.Text())
		req.Labels = withLabel(req.Labels, anonymousLabel)
	}
	switch {
	case req.ClusterVolumeSpec != nil:
		return nil, kind.New(kind.Unsupported, "ClusterVolumeSpec: volumes of CSI drivers are claims of Kubernetes here: kubectl create a PersistentVolumeClaim, see docs/storage.md")
	case req.Driver != "" && req.Driver != "local":
		return nil, kind.New(kind.NotFound, "create %s: there is no volume driver %q: use local, or a PersistentVolumeClaim of a CSI driver", req.Name, req.Driver)
	case !volumeForm.MatchString(req.Name):
		return nil, kind.New(kind.Malformed, "create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed", req.Name, req.Name)
	}
	if err := ours.CheckVolumeOptions(req.DriverOpts); err != nil {
		return nil, kind.New(kind.Malformed, "create %s: %v", req.Name, err)
	}
	at := ours.PlaceVolume(req.Name, req.Labels)
	if have, ok := tables.SwarmVolume(c.snap, at); ok && have.DeletionTimestamp == nil { // docker's clients ask again and again
		return answer{http.StatusCreated, c.volume(have)}, nil
	}
	if err := c.ensureNamespace(at.Namespace, req.Labels[ours.StackLabel]); err != nil {
		return nil, err
	}
	v := &ours.Volume{Spec: ours.VolumeSpec{Labels: req.Labels, Options: req.DriverOpts}}
	v.Namespace, v.Name = at.Namespace, at.Name
	if v.Called() != req.Name {
		v.Spec.Name = req.Name
	}
	u, err := v.Unstructured()
	if err != nil {
		return nil, err
	}
	made, err := c.custom().Resource(ours.Volumes).Namespace(at.Namespace).Create(c.Context(), u, metav1.CreateOptions{FieldManager: "docker"})
	if err != nil {
		return nil, fromKubernetes(err)
	}
	if v, err = ours.VolumeFrom(made); err != nil {
		return nil, err
	}
	return answer{http.StatusCreated, c.volume(v)}, nil
}

func withLabel(labels map[string]string, key string) map[string]string {
	if labels == nil {
		labels = map[string]string{}
	}
	labels[key] = ""
	return labels
}

func removeVolume(c *call) (any, error) {
	v, err := c.findVolume(c.PathValue("name"))
	if kind.Is(err, kind.NotFound) && c.flag("force") {
		return answer{http.StatusNoContent, nil}, nil
	}
	if err != nil {
		return nil, err
	}
	if users := c.usersOf(v); len(users) > 0 {
		return nil, kind.New(kind.Exists, "remove %s: volume is in use - [%s]", v.Called(), strings.Join(users, ", "))
	}
	if err := c.deleteVolume(v); err != nil {
		return nil, err
	}
	return answer{http.StatusNoContent, nil}, nil
}

func (c *call) deleteVolume(v *ours.Volume) error {
	return fromKubernetes(c.custom().Resource(ours.Volumes).Namespace(v.Namespace).Delete(c.Context(), v.Name, metav1.DeleteOptions{}))
}

// pruneVolumes removes the volumes that nobody uses: those that nobody named, or all.
func pruneVolumes(c *call) (any, error) {
	f, err := c.filters("all", "label", "label!")
	if err != nil {
		return nil, err
	}
	all := f.any("all", func(v string) bool { return v == "true" || v == "1" }) && len(f["all"]) > 0
	report := volume.PruneReport{VolumesDeleted: []string{}}
	for _, v := range c.volumes(filters{"label": f["label"]}) {
		_, anonymous := v.Spec.Labels[anonymousLabel]
		if !all && !anonymous || len(f["label!"]) > 0 && f.labels("label!", v.Spec.Labels) || len(c.usersOf(v)) > 0 {
			continue
		}
		if err := c.deleteVolume(v); err != nil {
			return nil, err
		}
		report.VolumesDeleted = append(report.VolumesDeleted, v.Called())
	}
	return report, nil
}
