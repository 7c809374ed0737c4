package fast

import (
	"crypto/sha256"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/lru"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"trireme/internal/store"
)

// fields computes who owns which fields of a new object: its creator all that it
// has over an empty one (Kubernetes, "Server-side apply: field management"). The
// library's manager does the same and also what only an object needs that others
// own fields of.
type fields struct {
	types managedfields.TypeConverter
	gvk   schema.GroupVersionKind
	live  *typed.TypedValue // the empty object
	reset fieldpath.Filter  // nil: nothing
	known *lru.Cache        // the digest of an object without its name → the fields it has, as JSON
}

// knownMax is how many different objects of a kind are remembered: replicas that somebody
// makes one by one differ in their names, which nobody owns.
const (
	knownMax      = 64
	knownBytesMax = 16 << 10 // of the fields of one
)

// nobodys are the fields that are never owned (managedfields, stripMetaManager).
var nobodys = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"), fieldpath.MakePathOrDie("metadata"),
	fieldpath.MakePathOrDie("metadata", "name"), fieldpath.MakePathOrDie("metadata", "namespace"),
	fieldpath.MakePathOrDie("metadata", "creationTimestamp"), fieldpath.MakePathOrDie("metadata", "selfLink"),
	fieldpath.MakePathOrDie("metadata", "uid"), fieldpath.MakePathOrDie("metadata", "clusterName"),
	fieldpath.MakePathOrDie("metadata", "generation"), fieldpath.MakePathOrDie("metadata", "managedFields"),
	fieldpath.MakePathOrDie("metadata", "resourceVersion"),
)

func newFields(types managedfields.TypeConverter, live store.Object, gvk schema.GroupVersionKind, reset rest.ResetFieldsStrategy) (*fields, error) {
	f := &fields{types: types, gvk: gvk, known: lru.New(knownMax)}
	if reset != nil {
		f.reset = fieldpath.NewExcludeFilterSetMap(reset.GetResetFields())[fieldpath.APIVersion(gvk.GroupVersion().String())]
	}
	var err error
	f.live, err = f.typed(live)
	return f, err
}

func (f *fields) typed(o store.Object) (*typed.TypedValue, error) {
	o.GetObjectKind().SetGroupVersionKind(f.gvk)
	return f.types.ObjectToTyped(o, typed.AllowDuplicates)
}

// own writes into o that its creator owns its fields.
func (f *fields) own(o store.Object, userAgent string) error {
	raw, err := f.of(o)
	if len(raw) == 0 || err != nil {
		return err
	}
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: manager(userAgent), Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: f.gvk.GroupVersion().String(),
		Time: &metav1.Time{Time: time.Now().UTC()}, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: raw},
	}})
	return nil
}

// of returns the fields that o has and that may be owned, as FieldsV1; nil: none. It is not
// to be changed.
func (f *fields) of(o store.Object) ([]byte, error) {
	digest, ok := nameless(o)
	if ok {
		if raw, ok := f.known.Get(digest); ok {
			return raw.([]byte), nil
		}
	}
	raw, err := f.compare(o)
	if ok && err == nil && len(raw) <= knownBytesMax {
		f.known.Add(digest, raw)
	}
	return raw, err
}

// nameless is a digest of all of the object but its name; false: it has no protobuf form.
func nameless(o store.Object) (digest [sha256.Size]byte, ok bool) {
	m, ok := o.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return digest, false
	}
	name := o.GetName()
	o.SetName("")
	b, err := m.Marshal()
	o.SetName(name)
	return sha256.Sum256(b), err == nil
}

// compare computes the fields.
func (f *fields) compare(o store.Object) ([]byte, error) {
	defer o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // as the registry has it
	now, err := f.typed(o)
	if err != nil {
		return nil, err
	}
	diff, err := f.live.Compare(now)
	if err != nil {
		return nil, err
	}
	set := diff.Modified.Union(diff.Added)
	if f.reset != nil {
		set = f.reset.Filter(set)
	}
	if set = set.Difference(nobodys); set.Empty() {
		return nil, nil
	}
	return set.ToJSON()
}

// manager is the name of a client that gives none: what its user agent begins with
// (k8s.io/apiserver, endpoints/handlers, prefixFromUserAgent).
func manager(userAgent string) string {
	first, _, _ := strings.Cut(userAgent, "/")
	var b strings.Builder
	for _, r := range first {
		if !unicode.IsPrint(r) {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		b.WriteRune(r)
	}
	if b.Len() == 0 {
		return "unknown"
	}
	return b.String()
}
