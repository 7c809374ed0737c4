package columns

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"trireme/internal/store"
)

// Kind is how one kind is shown.
type Kind struct {
	// Names of the columns after the object's name; a star at the end marks those
	// that are shown with -o wide only.
	Names []string
	Cells func(o runtime.Object) []any // in the order of Names
}

// Of returns how the kind of a table is shown, false where this package does not
// know it.
func Of(table store.TableID) (Kind, bool) {
	for _, group := range []map[store.TableID]Kind{storageKinds, networkKinds, otherKinds, ruleKinds} {
		if k, ok := group[table]; ok {
			return k, true
		}
	}
	return Kind{}, false
}

// Name returns what stands in the column Name: a default class says so.
func Name(o metav1.Object) string {
	name := o.GetName()
	if IsDefaultClass(o) {
		name += " (default)"
	}
	return name
}

// Age returns how old the object is, in kubectl's short form.
func Age(o metav1.Object) string { return Since(o.GetCreationTimestamp().Time) }

// Since returns how long ago t was, in kubectl's short form.
func Since(t time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t))
}

// unset is what an empty cell shows.
const unset = "<unset>"

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func join[T ~string](list []T) string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = string(v)
	}
	return strings.Join(all, ",")
}
