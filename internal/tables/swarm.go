package tables

import (
	"iter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/object"
	"trireme/internal/object/network"
	"trireme/internal/object/swarm"
	"trireme/internal/store"
)

// SwarmKey returns where the swarm service of the key is in CustomObjects.
func SwarmKey(key object.Key) object.Key {
	return CustomPlace{Group: swarm.Group.Group, Plural: swarm.Services.Resource, Key: key}.CustomKey()
}

// IsSwarm returns the swarm service's own key, false where the key in CustomObjects is
// of another kind.
func IsSwarm(at object.Key) (object.Key, bool) {
	if at.Namespace != swarm.Group.Group {
		return object.Key{}, false
	}
	p := ParseCustomKey(at)
	return p.Key, p.Plural == swarm.Services.Resource
}

// SwarmClusterKey returns where the settings of the swarm are in CustomObjects.
func SwarmClusterKey() object.Key {
	return CustomPlace{Group: swarm.Group.Group, Plural: swarm.Clusters.Resource, Key: object.Key{Name: swarm.ClusterName}}.CustomKey()
}

// SwarmCluster returns the settings of the swarm, those that nobody has set where there
// are none that can be read.
func SwarmCluster(r store.Reader) *swarm.Cluster {
	if c, ok := ReadCustom[swarm.Cluster](r, SwarmClusterKey()); ok {
		return c
	}
	return &swarm.Cluster{}
}

// Swarm returns the swarm service of the key; false where there is none that can be
// read.
func Swarm(r store.Reader, key object.Key) (*swarm.Service, bool) {
	row, ok := CustomObjects.Row(r, SwarmKey(key))
	if !ok {
		return nil, false
	}
	s, err := readSwarm(r, row.Object())
	return s, err == nil
}

// readSwarm reads a swarm service, and the digest of its files where it follows them.
func readSwarm(r store.Reader, u *unstructured.Unstructured) (*swarm.Service, error) {
	s, err := swarm.FromUnstructured(u)
	if err != nil || !s.Follows() {
		return s, err
	}
	files, _ := SwarmFiles(r, s)
	s.Contents = swarm.Digest(files)
	return s, nil
}

// SwarmFiles returns the secrets and configs that the service refers to, in the order
// of its Refs: those of its own namespace that have the ids. Nil stands for one that is
// not there, the first of which is missing.
func SwarmFiles(r store.Reader, s *swarm.Service) (files []*swarm.File, missing *swarm.Ref) {
	refs := s.Refs()
	if len(refs) == 0 {
		return nil, nil
	}
	have := map[string]*swarm.File{}
	for f := range swarmFilesIn(r, s.Namespace) {
		id := f.Word() + f.ID()
		if was := have[id]; was == nil || f.CopyOf(s) { // others' copies may be going
			have[id] = &f
		}
	}
	for i := range refs {
		f := have[refs[i].Word()+refs[i].ID]
		if f == nil && missing == nil {
			missing = &refs[i]
		}
		files = append(files, f)
	}
	return files, missing
}

func swarmFilesIn(r store.Reader, namespace string) iter.Seq[swarm.File] {
	return func(yield func(swarm.File) bool) {
		for s := range Secrets.In(r, namespace) {
			if !yield(swarm.SecretFile(s)) {
				return
			}
		}
		for c := range ConfigMaps.In(r, namespace) {
			if !yield(swarm.ConfigFile(c)) {
				return
			}
		}
	}
}

// SwarmCopies yields the copies of others' secrets and configs that the service has.
func SwarmCopies(r store.Reader, s *swarm.Service) iter.Seq[swarm.File] {
	return func(yield func(swarm.File) bool) {
		for f := range swarmFilesIn(r, s.Namespace) {
			if f.CopyOf(s) && !yield(f) {
				return
			}
		}
	}
}

// SwarmFileList yields the secrets, or the configs, that docker's clients know.
func SwarmFileList(r store.Reader, config bool) iter.Seq[swarm.File] {
	return func(yield func(swarm.File) bool) {
		for f := range swarmFilesIn(r, "") {
			if f.Config == config && f.Listed() && !yield(f) {
				return
			}
		}
	}
}

// Swarms yields the swarm services of a namespace, of all where it is empty, that can
// be read.
func Swarms(r store.Reader, namespace string) iter.Seq[*swarm.Service] {
	prefix := SwarmKey(object.Key{Namespace: namespace}).String()
	return func(yield func(*swarm.Service) bool) {
		for row := range CustomObjects.RowsFrom(r, prefix, "") {
			if s, err := readSwarm(r, row.Object()); err == nil && !yield(s) {
				return
			}
		}
	}
}

// SwarmBack rolls the service back to the spec before.
func SwarmBack(tx *store.Tx, key object.Key) {
	if row, ok := CustomObjects.Row(tx, SwarmKey(key)); ok {
		next := row.Object().DeepCopy()
		swarm.Back(next)
		CustomObjects.PutAt(tx, SwarmKey(key), next)
	}
}

// NetworkByID returns the network of an id or name of docker's; false: there is none.
func NetworkByID(r store.Reader, target string) (object.Key, bool) {
	var named object.Key
	for row := range CustomObjects.RowsFrom(r, NetworkKey(object.Key{}).String(), "") {
		u := row.Object()
		if swarm.ID(u.GetUID()) == target {
			return object.KeyOf(u), true
		}
		n := network.Network{ObjectMeta: metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName(), Annotations: u.GetAnnotations()}}
		if swarm.NetworkOf(&n).Name == target {
			named = object.KeyOf(u)
		}
	}
	return named, named.Name != ""
}

// SwarmVolumeKey returns where the Volume of the key is in CustomObjects.
func SwarmVolumeKey(key object.Key) object.Key {
	return CustomPlace{Group: swarm.Group.Group, Plural: swarm.Volumes.Resource, Key: key}.CustomKey()
}

// IsSwarmVolume returns the Volume's own key, false where the key in CustomObjects is of
// another kind.
func IsSwarmVolume(at object.Key) (object.Key, bool) {
	if at.Namespace != swarm.Group.Group {
		return object.Key{}, false
	}
	p := ParseCustomKey(at)
	return p.Key, p.Plural == swarm.Volumes.Resource
}

// SwarmVolume returns the Volume of the key; false where there is none that can be read.
func SwarmVolume(r store.Reader, key object.Key) (*swarm.Volume, bool) {
	row, ok := CustomObjects.Row(r, SwarmVolumeKey(key))
	if !ok {
		return nil, false
	}
	v, err := swarm.VolumeFrom(row.Object())
	return v, err == nil
}

// SwarmVolumes yields the Volumes of a namespace, of all where it is empty.
func SwarmVolumes(r store.Reader, namespace string) iter.Seq[*swarm.Volume] {
	prefix := SwarmVolumeKey(object.Key{Namespace: namespace}).String()
	return func(yield func(*swarm.Volume) bool) {
		for row := range CustomObjects.RowsFrom(r, prefix, "") {
			if v, err := swarm.VolumeFrom(row.Object()); err == nil && !yield(v) {
				return
			}
		}
	}
}

// SwarmVolumeSpec returns what is known of volumes, as templates of tasks ask.
func SwarmVolumeSpec(r store.Reader) func(object.Key) *swarm.VolumeSpec {
	return func(key object.Key) *swarm.VolumeSpec {
		if v, ok := SwarmVolume(r, key); ok {
			return &v.Spec
		}
		return nil
	}
}
