package kube

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"trireme/internal/store"
)

// twoWays is two doors over two equal stores: what one is sent plainly the other is
// sent with a query that says nothing, which keeps it on the library's way.
type twoWays struct {
	short, long *handler
	scheme      *runtime.Scheme
}

func newTwoWays(t testing.TB) *twoWays {
	t.Helper()
	_, plain, err := schemes()
	if err != nil {
		t.Fatal(err)
	}
	return &twoWays{newHandler(t), newHandler(t), plain}
}

// post sends the body to both.
func (w *twoWays) post(path, body string) (short, long *httptest.ResponseRecorder) {
	one := func(h *handler, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "https://door"+path, strings.NewReader(body))
		r.TLS = h.tls
		r.Header.Set("Content-Type", protobufType)
		r.Header.Set("Accept", protobufType)
		r.Header.Set("User-Agent", "two\u200bways/1.0 (test)")
		answer := httptest.NewRecorder()
		h.http.ServeHTTP(answer, r)
		return answer
	}
	return one(w.short, path), one(w.long, path+"?pretty=false")
}

const protobufType = "application/vnd.kubernetes.protobuf"

// plain returns an answer as text, without what differs from one create to the
// next.
func (w *twoWays) plain(t testing.TB, r *httptest.ResponseRecorder) string {
	t.Helper()
	body := r.Body.String()
	if o, _, err := protobuf.NewSerializer(w.scheme, w.scheme).Decode(r.Body.Bytes(), nil, nil); err == nil {
		m, err := meta.Accessor(o)
		if err != nil { // a Status
			return fmt.Sprintf("%d %q", r.Code, body)
		}
		uid, name := string(m.GetUID()), m.GetName()
		body = strings.ReplaceAll(w.encoded(t, unstamped(m, o)), uid, "its UID") // some tell it within
		if m.GetGenerateName() != "" {
			body = strings.ReplaceAll(body, name, "its name")
		}
	}
	return fmt.Sprintf("%d %s %s %q", r.Code, r.Header().Get("Content-Type"), r.Header().Get("Warning"), body)
}

// unstamped takes away when the object was made.
func unstamped(m metav1.Object, o runtime.Object) runtime.Object {
	m.SetCreationTimestamp(metav1.Time{})
	for i := range m.GetManagedFields() {
		if e := &m.GetManagedFields()[i]; e.Time != nil && time.Since(e.Time.Time) < time.Minute {
			e.Time = nil
		}
	}
	return o
}

func (w *twoWays) encoded(t testing.TB, o runtime.Object) string {
	t.Helper()
	var b bytes.Buffer
	if err := protobuf.NewSerializer(w.scheme, w.scheme).Encode(o, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// samples are objects of many kinds, and where they are created.
func (w *twoWays) samples(t testing.TB) map[string][]runtime.Object {
	t.Helper()
	b, err := os.ReadFile("testdata/creates.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{}
	for _, r := range resources() {
		if _, ok := paths[r.gv.String()+r.table.GVK().Kind]; ok {
			continue
		}
		paths[r.gv.String()+r.table.GVK().Kind] = path(r)
	}
	out := map[string][]runtime.Object{}
	for _, doc := range strings.Split(string(b), "\n---\n") {
		j, err := utilyaml.ToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		o, gvk, err := codecs(w.scheme).UniversalDeserializer().Decode(j, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		p := paths[gvk.GroupVersion().String()+gvk.Kind]
		out[p] = append(out[p], o)
	}
	return out
}

func path(r resource) string {
	p := "/apis/" + r.gv.String()
	if r.gv.Group == "" {
		p = "/api/" + r.gv.Version
	}
	if r.table.Namespaced() {
		p += "/namespaces/default"
	}
	return p + "/" + r.plural
}

// TestCreateShortWay: what is created the short way is what the library creates, and so
// is every refusal.
func TestCreateShortWay(t *testing.T) {
	w := newTwoWays(t)
	for path, objects := range w.samples(t) {
		for _, o := range objects {
			name := path + "/" + o.(store.Object).GetName()
			body := w.encoded(t, o)
			for _, c := range []struct {
				name string
				body string
				code int // 0: whatever
			}{
				{"created", body, 201},
				{"exists", body, 0},
				{"cut short", body[:len(body)-3], 0},
				{"another kind", w.encoded(t, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "b"}}), 0},
				{"named badly", w.changed(t, o, func(m metav1.Object) { m.SetName("No/Name") }), 0},
				{"nameless", w.changed(t, o, func(m metav1.Object) { m.SetName("") }), 0},
				{"generated name", w.changed(t, o, func(m metav1.Object) { m.SetName(""); m.SetGenerateName("made-") }), 0},
				{"another namespace", w.changed(t, o, func(m metav1.Object) { m.SetName("n"); m.SetNamespace("other") }), 0},
				{"with a version", w.changed(t, o, func(m metav1.Object) { m.SetName("v"); m.SetResourceVersion("7") }), 400},
				{"labelled badly", w.changed(t, o, func(m metav1.Object) { m.SetName("l"); m.SetLabels(map[string]string{"a b": "c"}) }), 422},
				{"labelled", w.changed(t, o, func(m metav1.Object) {
					m.SetName("labelled")
					m.SetLabels(map[string]string{"a": "b", "x.io/c": ""})
					m.SetAnnotations(map[string]string{"e": "f"})
					m.SetFinalizers([]string{"x.io/a", "x.io/b"})
					m.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", UID: "u"}})
					m.SetUID("forged")
					m.SetGeneration(7)
				}), 0},
				{"owned twice", w.changed(t, o, func(m metav1.Object) {
					r := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: "n", UID: "u"}
					m.SetName("twice")
					m.SetOwnerReferences([]metav1.OwnerReference{r, r})
				}), 0},
				{"with fields", w.changed(t, o, func(m metav1.Object) {
					m.SetName("fields")
					m.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "m", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{}}`)}}})
				}), 0},
			} {
				before := w.short.server.writes.Made()
				short, long := w.post(path, c.body)
				if c.name == "created" && !strings.HasSuffix(path, "/endpoints") && w.short.server.writes.Made() != before+1 {
					t.Errorf("%s was created the long way", name)
				}
				if s, l := w.plain(t, short), w.plain(t, long); s != l || (c.code != 0 && short.Code != c.code) {
					t.Errorf("%s, %s: want %d:\nshort %s\nlong  %s", name, c.name, c.code, s, l)
				}
			}
		}
	}
}

// TestCreateAlike: the second of two that are alike is what the library makes of it, and so
// is one that differs in a label.
func TestCreateAlike(t *testing.T) {
	w := newTwoWays(t)
	for path, objects := range w.samples(t) {
		if strings.HasSuffix(path, "/resourcequotas") {
			continue // it would limit the others
		}
		for _, o := range objects {
			for name, labels := range map[string]map[string]string{"one": nil, "two": nil, "other": {"other": "x"}} {
				short, long := w.post(path, w.changed(t, o, func(m metav1.Object) {
					m.SetName(m.GetName() + "-" + name)
					if labels != nil {
						m.SetLabels(labels)
					}
				}))
				if s, l := w.plain(t, short), w.plain(t, long); s != l {
					t.Errorf("%s, %s:\nshort %s\nlong  %s", path, name, s, l)
				}
			}
		}
	}
}

// changed returns a copy of the object, changed and encoded.
func (w *twoWays) changed(t testing.TB, o runtime.Object, f func(metav1.Object)) string {
	t.Helper()
	c := o.DeepCopyObject()
	m, err := meta.Accessor(c)
	if err != nil {
		t.Fatal(err)
	}
	f(m)
	return w.encoded(t, c)
}

// FuzzCreate sends any body both ways.
func FuzzCreate(f *testing.F) {
	w := newTwoWays(f)
	samples := w.samples(f)
	var paths []string
	for path, objects := range samples {
		for _, o := range objects {
			f.Add(path, w.encoded(f, o))
		}
		paths = append(paths, path)
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		if samples[path] == nil {
			path = paths[len(path)%len(paths)]
		}
		short, long := w.post(path, body)
		if s, l := w.plain(t, short), w.plain(t, long); s != l && !strings.Contains(body, "made") {
			t.Errorf("%s:\nshort %s\nlong  %s", path, s, l)
		}
	})
}
