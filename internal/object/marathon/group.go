package marathon

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Group is what a Marathon group says beside its apps and groups.
type Group struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              GroupSpec `json:"spec"`
	// Versions are what the group and its apps were before, the newest first.
	Versions []GroupVersionState `json:"versions,omitempty"`
}

// GroupSpec is a group's own words.
type GroupSpec struct {
	ID           string   `json:"id"`
	Dependencies []string `json:"dependencies,omitempty"`
	EnforceRole  *bool    `json:"enforceRole,omitempty"`
	Version      string   `json:"version,omitempty"`
}

// GroupVersionState is what a group was at a version.
type GroupVersionState struct {
	Version string        `json:"version"`
	Apps    []*Definition `json:"apps,omitempty"`
	Groups  []GroupSpec   `json:"groups,omitempty"`
}

// Waits returns what an app depends on: its own dependencies and those of the groups that
// it is in, each an app or all apps of a group. ids are those of all apps.
func Waits(d *Definition, groups map[string]*GroupSpec, ids []string) (on []string) {
	add := func(targets []string) {
		for _, target := range targets {
			for _, id := range ids {
				if Within(id, target) && id != d.ID && !Within(d.ID, target) {
					on = append(on, id)
				}
			}
		}
	}
	add(d.Dependencies)
	for at := Parent(d.ID); ; at = Parent(at) {
		if g := groups[at]; g != nil {
			add(g.Dependencies)
		}
		if at == "/" {
			return on
		}
	}
}
