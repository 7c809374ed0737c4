package tables

import (
	"iter"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/store"
)

// MarathonKey returns where an object of one of Marathon's kinds is in CustomObjects.
func MarathonKey(kind schema.GroupVersionResource, key object.Key) object.Key {
	return CustomPlace{Group: kind.Group, Plural: kind.Resource, Key: key}.CustomKey()
}

// IsMarathon returns the kind and the own key of one of Marathon's objects, false where the
// key in CustomObjects is of another group.
func IsMarathon(at object.Key) (kind schema.GroupVersionResource, key object.Key, ok bool) {
	if at.Namespace != marathon.GroupVersion.Group {
		return kind, key, false
	}
	p := ParseCustomKey(at)
	return marathon.GroupVersion.WithResource(p.Plural), p.Key, true
}

// MarathonApp returns the app of the key; false where there is none that can be read.
func MarathonApp(r store.Reader, key object.Key) (*marathon.App, bool) {
	return marathonOf[marathon.App](r, marathon.Apps, key)
}

// MarathonDeployment returns the deployment of the key; false where there is none that can
// be read.
func MarathonDeployment(r store.Reader, key object.Key) (*marathon.Deployment, bool) {
	return marathonOf[marathon.Deployment](r, marathon.Deployments, key)
}

func marathonOf[T any](r store.Reader, kind schema.GroupVersionResource, key object.Key) (*T, bool) {
	row, ok := CustomObjects.Row(r, MarathonKey(kind, key))
	if !ok {
		return nil, false
	}
	o, err := marathon.Read[T](row.Object())
	return o, err == nil
}

// MarathonApps yields the apps that can be read.
func MarathonApps(r store.Reader) iter.Seq[*marathon.App] {
	return marathonsOf[marathon.App](r, marathon.Apps)
}

// MarathonAppsNamed yields the apps of all namespaces whose objects have the name.
func MarathonAppsNamed(r store.Reader, name string) iter.Seq[*marathon.App] {
	return func(yield func(*marathon.App) bool) {
		for row := range CustomObjects.RowsFrom(r, MarathonKey(marathon.Apps, object.Key{}).String(), "") {
			if ParseCustomKey(row.Key()).Name != name {
				continue
			}
			if a, err := marathon.Read[marathon.App](row.Object()); err == nil && !yield(a) {
				return
			}
		}
	}
}

// MarathonGroups yields the groups that can be read.
func MarathonGroups(r store.Reader) iter.Seq[*marathon.Group] {
	return marathonsOf[marathon.Group](r, marathon.Groups)
}

// MarathonDeployments yields the deployments that can be read.
func MarathonDeployments(r store.Reader) iter.Seq[*marathon.Deployment] {
	return marathonsOf[marathon.Deployment](r, marathon.Deployments)
}

func marathonsOf[T any](r store.Reader, kind schema.GroupVersionResource) iter.Seq[*T] {
	prefix := CustomPlace{Group: kind.Group, Plural: kind.Resource}.CustomKey().String()
	return func(yield func(*T) bool) {
		for row := range CustomObjects.RowsFrom(r, prefix, "") {
			if o, err := marathon.Read[T](row.Object()); err == nil && !yield(o) {
				return
			}
		}
	}
}
