package fast

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"trireme/internal/object"
	"trireme/internal/store"
)

// Admission is what every create passes.
type Admission interface {
	admission.MutationInterface
	admission.ValidationInterface
	// Concerned reports whether anybody but the cluster's own rules has a say.
	Concerned(gr schema.GroupResource, subresource string, op admission.Operation) bool
}

// WriterConfig configures a Writer. All of it is required.
type WriterConfig struct {
	Store  *store.Store
	Scheme *runtime.Scheme
	Admit  Admission
	// Types returns what brings objects of the sample's kind into the typed form
	// that managed fields are computed on.
	Types func(sample runtime.Object) (managedfields.TypeConverter, error)
	// BytesMax is how large a request may be.
	BytesMax int64
}

// Writer creates plain objects: protobuf in, protobuf out, no options, nobody but
// the cluster's own rules has a say, nobody writes the request down.
//
// It does what the library's handler does (k8s.io/apiserver, endpoints/handlers,
// createHandler), with the same storage, less what is the same every time: one
// decoding, no conversions, the managed fields of an object that is new, the answer
// from the bytes that were stored. Whatever is odd, and whatever is refused, is
// done again by the library: errors are its own.
type Writer struct {
	cfg     WriterConfig
	encoder runtime.Encoder
	made    atomic.Int64
	kinds   map[schema.GroupVersionResource]*created
}

// created is one resource that a Writer knows.
type created struct {
	gvr     schema.GroupVersionResource
	gvk     schema.GroupVersionKind
	table   Table
	storage rest.Creater
	fields  func() (*fields, error) // made with the first object
}

// NewWriter returns a Writer that creates nothing yet.
func NewWriter(cfg WriterConfig) *Writer {
	return &Writer{cfg: cfg, encoder: protobuf.NewSerializer(cfg.Scheme, cfg.Scheme), kinds: map[schema.GroupVersionResource]*created{}}
}

// Made returns how many objects were created the short way.
func (c *Writer) Made() int64 { return c.made.Load() }

// Add makes the Writer create objects of a resource. One whose stored version is not
// the served one is left to the library.
func (c *Writer) Add(gvr schema.GroupVersionResource, t Table, storage any) {
	creater, ok := storage.(rest.Creater)
	gvk := t.GVK()
	if !ok || gvk.GroupVersion() != gvr.GroupVersion() || deprecated(t) || gvr.Resource == "namespaces" { // a namespace is within itself
		return
	}
	c.kinds[gvr] = &created{gvr, gvk, t, creater, sync.OnceValues(func() (*fields, error) {
		live := t.New()
		types, err := c.cfg.Types(live)
		if err != nil {
			return nil, err
		}
		reset, _ := storage.(rest.ResetFieldsStrategy)
		return newFields(types, live, gvk, reset)
	})}
}

// Handler creates what is plain and hands the rest to next.
func (c *Writer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		k, info := c.plain(req)
		if k == nil {
			next.ServeHTTP(w, req)
			return
		}
		started := time.Now()
		body := make([]byte, req.ContentLength)
		n, err := io.ReadFull(req.Body, body)
		if err != nil {
			req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:n]), req.Body))
			next.ServeHTTP(w, req)
			return
		}
		value := c.create(req, k, info.Namespace, body)
		if value == nil {
			req.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, req)
			return
		}
		c.made.Add(1)
		head(w, http.StatusCreated, len(value))
		_, _ = w.Write(value) // a client that left needs no answer
		metrics.MonitorRequest(req, http.MethodPost, info.APIGroup, info.APIVersion, info.Resource, "", "resource",
			metrics.APIServerComponent, false, "", http.StatusCreated, len(value), time.Since(started))
	})
}

// plain returns the resource of a request that the Writer may answer, or nil.
func (c *Writer) plain(req *http.Request) (*created, *request.RequestInfo) {
	if req.Method != http.MethodPost || req.URL.RawQuery != "" || !wantsProtobuf(req.Header) ||
		!slices.Equal(req.Header["Content-Type"], protobufOnly) || len(req.Header["Content-Encoding"]) > 0 ||
		req.ContentLength <= 0 || req.ContentLength > c.cfg.BytesMax {
		return nil, nil
	}
	info, ok := request.RequestInfoFrom(req.Context())
	if !ok || !info.IsResourceRequest || info.Verb != "create" || info.Subresource != "" || info.Name != "" {
		return nil, nil
	}
	k := c.kinds[schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}]
	if k == nil || (info.Namespace != "") != k.table.Namespaced() ||
		c.cfg.Admit.Concerned(k.gvr.GroupResource(), "", admission.Create) {
		return nil, nil
	}
	return k, info
}

var protobufOnly = []string{runtime.ContentTypeProtobuf}

// create returns the encoded object that was stored, nil where the library is to
// answer.
func (c *Writer) create(req *http.Request, k *created, namespace string, body []byte) []byte {
	o := k.decode(body)
	if o == nil {
		return nil
	}
	c.cfg.Scheme.Default(o)
	rest.WipeObjectMetaSystemFields(o)
	if rest.EnsureObjectNamespaceMatchesRequestNamespace(namespace, o) != nil {
		return nil
	}
	f, err := k.fields()
	if err != nil || f.own(o, req.UserAgent()) != nil {
		return nil
	}
	ctx := request.WithNamespace(req.Context(), namespace)
	user, _ := request.UserFrom(ctx)
	opts := &metav1.CreateOptions{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "CreateOptions"}}
	a := admission.NewAttributesRecord(o, nil, k.gvk, namespace, o.GetName(), k.gvr, "", admission.Create, opts, false, user)
	scope := admission.NewObjectInterfacesFromScheme(c.cfg.Scheme)
	if c.cfg.Admit.Admit(ctx, a, scope) != nil {
		return nil
	}
	made, err := k.storage.Create(ctx, o, rest.AdmissionToValidateObjectFunc(c.cfg.Admit, a, scope), opts)
	if err != nil {
		return nil
	}
	return c.encoded(k, made.(store.Object))
}

// encoded returns the stored bytes of what was made, or encodes it where it has
// changed since.
func (c *Writer) encoded(k *created, o store.Object) []byte {
	row, ok := k.table.Row(c.cfg.Store.Snapshot(), object.Key{Namespace: o.GetNamespace(), Name: o.GetName()})
	if ok && row.Rev().String() == o.GetResourceVersion() {
		if value := row.Stored(); value != nil {
			return value
		}
	}
	o.GetObjectKind().SetGroupVersionKind(k.gvk) // the outermost struct is this request's
	var b bytes.Buffer
	if err := c.encoder.Encode(o, &b); err != nil {
		return nil
	}
	return b.Bytes()
}

// decode returns the object in the body, nil where it is none of this kind or has
// what the library treats in its own way.
func (k *created) decode(body []byte) store.Object {
	raw, ok := bytes.CutPrefix(body, []byte(magic))
	if !ok {
		return nil
	}
	var u runtime.Unknown
	if u.Unmarshal(raw) != nil || u.GroupVersionKind() != k.gvk || u.ContentEncoding != "" || u.ContentType != "" {
		return nil
	}
	o := k.table.New()
	m, ok := o.(interface{ Unmarshal([]byte) error })
	if !ok || m.Unmarshal(u.Raw) != nil {
		return nil
	}
	if o.GetManagedFields() != nil || len(o.GetOwnerReferences()) > 1 { // own fields, perhaps owners twice
		return nil
	}
	return o
}
