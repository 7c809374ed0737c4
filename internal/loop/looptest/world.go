package looptest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
)

// Table is any table: what tables.All lists.
type Table = *store.Table[store.Object, any]

// Start is the time at which a World's clock stands at first.
var Start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// ticksMax is how many ticks loops may take to come to rest.
const ticksMax = 200

// World is a store in memory whose clock and IDs are its own, so that the same
// calls give the same rows.
type World struct {
	Store *store.Store
	t     testing.TB
	now   time.Time
	ids   int
	all   []Table
	seen  map[string]flat   // rows at the last Diff
	names map[string]string // UIDs, as text writes them
}

// New returns an empty World of the given tables.
func New(t testing.TB, tables []Table) *World {
	t.Helper()
	w := &World{t: t, now: Start, all: tables, seen: map[string]flat{}, names: map[string]string{}}
	defs := make([]store.Def, len(tables))
	for i, table := range tables {
		defs[i] = table
	}
	s, err := store.Open(t.Context(), store.Config{Now: w.Now, NewID: w.newID}, defs...)
	if err != nil {
		t.Fatal(err)
	}
	w.Store = s
	return w
}

// Now returns the World's time.
func (w *World) Now() time.Time { return w.now }

// Advance moves the World's clock.
func (w *World) Advance(d time.Duration) { w.now = w.now.Add(d) }

// newID returns the next of a fixed row of UUIDs.
func (w *World) newID() types.UID {
	w.ids++
	h := sha256.Sum256(fmt.Appendf(nil, "id %d", w.ids))
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]))
}

// Update runs f as one transaction and fails the test on an error.
func (w *World) Update(f func(*store.Tx)) {
	w.t.Helper()
	_, err := w.Store.Update(w.t.Context(), func(tx *store.Tx) error { f(tx); return nil })
	if err != nil {
		w.t.Fatal(err)
	}
}

// Put creates or replaces the objects in the YAML documents. An object without
// a UID keeps the one of the row it replaces.
func (w *World) Put(docs string) {
	w.t.Helper()
	w.Update(func(tx *store.Tx) {
		for _, doc := range split(docs) {
			table, o := w.decode(doc)
			key := keyIn(table, o)
			if old, ok := table.Get(tx, key); ok && o.GetUID() == "" {
				o.SetUID(old.GetUID())
				o.SetCreationTimestamp(old.GetCreationTimestamp())
			}
			table.PutAt(tx, key, o)
		}
	})
}

// Merge merges the YAML documents into existing objects (RFC 7386; lists are
// replaced whole). A name that ends in "*" stands for every object whose name
// starts so.
func (w *World) Merge(docs string) {
	w.t.Helper()
	w.Update(func(tx *store.Tx) {
		for _, doc := range split(docs) {
			table, o := w.decode(doc)
			at := keyIn(table, o)
			prefix, many := strings.CutSuffix(at.Name, "*")
			n := 0
			for row := range table.Rows(tx, at.Namespace) {
				if k := row.Key(); k.Name == prefix || many && strings.HasPrefix(k.Name, prefix) {
					table.PutAt(tx, k, w.merged(row.Object(), doc))
					n++
				}
			}
			if n == 0 {
				w.t.Fatalf("merge: no %s %s", table.ID(), at)
			}
		}
	})
}

func (w *World) merged(old store.Object, doc string) store.Object {
	var base, patch map[string]any
	w.must(json.Unmarshal(w.json(old), &base))
	w.must(yaml.Unmarshal([]byte(doc), &patch))
	if m, ok := patch["metadata"].(map[string]any); ok {
		delete(m, "name")
	}
	next := w.table(schema.GroupKind{}, old).New()
	w.must(json.Unmarshal(w.json(merge(base, patch)), next))
	return next
}

func merge(base, patch map[string]any) map[string]any {
	for k, v := range patch {
		b, bok := base[k].(map[string]any)
		p, pok := v.(map[string]any)
		switch {
		case v == nil:
			delete(base, k)
		case bok && pok:
			merge(b, p)
		default:
			base[k] = v
		}
	}
	return base
}

// Delete removes a row, "" namespace for objects outside namespaces.
func (w *World) Delete(id store.TableID, key object.Key) {
	w.t.Helper()
	w.Update(func(tx *store.Tx) {
		for _, table := range w.all {
			if table.ID() == id {
				table.Delete(tx, key)
			}
		}
	})
}

// Settle runs the loops until none writes any more, timers that are due
// included, and fails the test if one errs or they do not come to rest.
func (w *World) Settle(r *loop.Runner) {
	w.t.Helper()
	for range ticksMax {
		again, next, err := r.Tick(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, st := range r.Stats() {
			if st.Err != "" {
				w.t.Fatalf("loop %s: %s", st.Name, st.Err)
			}
		}
		if !again && next.After(w.now) {
			return
		}
	}
	w.t.Fatalf("the loops wrote in each of %d ticks: they do not come to rest", ticksMax)
}

// Runner returns a runner of the loops on the World's clock.
func (w *World) Runner(loops ...loop.Reconciler) *loop.Runner {
	return loop.New(w.Store, loop.Config{Now: w.Now, Resync: 1000 * time.Hour}, loops...)
}

func split(docs string) []string {
	var out []string
	for _, d := range strings.Split("\n"+docs, "\n---") {
		if strings.TrimSpace(d) != "" {
			out = append(out, d)
		}
	}
	return out
}

func (w *World) decode(doc string) (Table, store.Object) {
	w.t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
		w.t.Fatalf("%v in\n%s", err, doc)
	}
	table := w.table(meta.GroupVersionKind().GroupKind(), nil)
	o := table.New()
	if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
		w.t.Fatalf("%v in\n%s", err, doc)
	}
	if table.Namespaced() && o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	return table, o
}

// keyIn returns the key of o in its table. The resource of a custom kind is
// named like Kubernetes' own: the kind in small letters and an s, after an s es.
func keyIn(t Table, o store.Object) object.Key {
	if !t.GVK().Empty() {
		return object.KeyOf(o)
	}
	gvk := o.GetObjectKind().GroupVersionKind()
	resource := strings.ToLower(gvk.Kind) + "s"
	if strings.HasSuffix(resource, "ss") {
		resource = strings.TrimSuffix(resource, "s") + "es"
	}
	return object.Key{Namespace: gvk.Group, Name: resource + "/" + object.KeyOf(o).String()}
}

// table returns the table of the kind, or the one that holds objects like o.
func (w *World) table(kind schema.GroupKind, o store.Object) Table {
	i := slices.IndexFunc(w.all, func(t Table) bool {
		if o != nil {
			return fmt.Sprintf("%T", t.New()) == fmt.Sprintf("%T", o)
		}
		return t.GVK().GroupKind() == kind
	})
	if i < 0 { // of a custom kind: the table that holds many
		i = slices.IndexFunc(w.all, func(t Table) bool { return t.GVK().Empty() })
	}
	if i < 0 {
		w.t.Fatalf("no table for kind %s (%T)", kind, o)
	}
	return w.all[i]
}

func (w *World) json(v any) []byte {
	b, err := json.Marshal(v)
	w.must(err)
	return b
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
