package fast

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Table is the untyped table of a resource.
type Table = *store.Table[store.Object, any]

// Reader answers plain reads of the resources it was given.
type Reader struct {
	store *store.Store
	kinds map[schema.GroupVersionResource]kind
}

type kind struct {
	table Table
	list  string // the list's kind
}

// New returns a Reader that answers nothing yet.
func New(s *store.Store) *Reader {
	return &Reader{s, map[schema.GroupVersionResource]kind{}}
}

// Add makes the Reader answer for a resource. One whose stored version is not
// the served one is left to the library, which converts it.
func (r *Reader) Add(gvr schema.GroupVersionResource, t Table) {
	if gvk := t.GVK(); gvk.GroupVersion() == gvr.GroupVersion() && !deprecated(t) {
		r.kinds[gvr] = kind{t, gvk.Kind + "List"}
	}
}

// deprecated reports whether the library warns those who use the kind.
func deprecated(t Table) bool {
	_, ok := any(t.New()).(interface{ APILifecycleDeprecated() (major, minor int) })
	return ok
}

// Handler answers what is plain and hands the rest to next.
func (r *Reader) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet || !wantsProtobuf(req.Header) || !r.read(w, req) {
			next.ServeHTTP(w, req)
		}
	})
}

// wantsProtobuf reports whether the client likes protobuf best, with no form of
// its own asked for (a table, metadata only).
func wantsProtobuf(h http.Header) bool {
	accept := h["Accept"]
	if len(accept) != 1 {
		return false
	}
	first, _, _ := strings.Cut(accept[0], ",")
	return first == runtime.ContentTypeProtobuf
}

// read answers the request and reports whether it did.
func (r *Reader) read(w http.ResponseWriter, req *http.Request) bool {
	info, ok := request.RequestInfoFrom(req.Context())
	if !ok || !info.IsResourceRequest || info.Subresource != "" {
		return false
	}
	k, ok := r.kinds[schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}]
	if !ok || (info.Namespace != "" && !k.table.Namespaced()) {
		return false
	}
	started := time.Now()
	var size int
	switch {
	case info.Verb == "get" && req.URL.RawQuery == "":
		row, ok := k.table.Row(r.store.Snapshot(), object.Key{Namespace: info.Namespace, Name: info.Name})
		if !ok || tables.Hidden(row) {
			return false
		}
		value := row.Stored()
		if value == nil {
			return false
		}
		size = len(value)
		head(w, http.StatusOK, size)
		_, _ = w.Write(value) // a client that left needs no answer
	case info.Verb == "list" && plainList(req.URL.RawQuery):
		if size, ok = r.list(w, k, info.Namespace); !ok {
			return false
		}
	default:
		return false
	}
	scope := "cluster"
	switch {
	case info.Name != "":
		scope = "resource"
	case info.Namespace != "":
		scope = "namespace"
	}
	metrics.MonitorRequest(req, strings.ToUpper(info.Verb), info.APIGroup, info.APIVersion, info.Resource, "", scope,
		metrics.APIServerComponent, false, "", http.StatusOK, size, time.Since(started))
	return true
}

// plainList reports whether a list's query asks for everything as it is now.
func plainList(query string) bool { return query == "" || query == "resourceVersion=0" }

func head(w http.ResponseWriter, code, size int) {
	h := w.Header()
	h.Set("Content-Type", runtime.ContentTypeProtobuf)
	h.Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(code)
}

// magic begins a protobuf object on the wire and in etcd
// (k8s.io/apimachinery/pkg/runtime/serializer/protobuf).
const magic = "k8s\x00"

// The fields of runtime.Unknown and of every list.
const (
	unknownTypeMeta protowire.Number = 1
	unknownRaw      protowire.Number = 2
	unknownEncoding protowire.Number = 3
	unknownType     protowire.Number = 4
	listMetadata    protowire.Number = 1
	listItems       protowire.Number = 2
)

// list writes a list from the stored objects: every Kubernetes list is its
// metadata as field 1 and its items as field 2.
func (r *Reader) list(w http.ResponseWriter, k kind, namespace string) (size int, ok bool) {
	snap := r.store.Snapshot()
	meta, err := (&metav1.ListMeta{ResourceVersion: snap.TableRev(k.table).String()}).Marshal()
	if err != nil {
		return 0, false
	}
	items := make([][]byte, 0, k.table.Len(snap))
	inner := protowire.SizeTag(listMetadata) + protowire.SizeBytes(len(meta))
	for row := range k.table.Rows(snap, namespace) {
		if tables.Hidden(row) {
			continue
		}
		raw := row.Raw()
		if raw == nil {
			return 0, false // an object without a protobuf form
		}
		items = append(items, raw)
		inner += protowire.SizeTag(listItems) + protowire.SizeBytes(len(raw))
	}
	apiVersion, _ := k.table.GVK().ToAPIVersionAndKind()
	gvk, err := (&runtime.TypeMeta{APIVersion: apiVersion, Kind: k.list}).Marshal()
	if err != nil {
		return 0, false
	}
	front := append([]byte(magic), appendBytes(nil, unknownTypeMeta, gvk)...)
	front = protowire.AppendVarint(protowire.AppendTag(front, unknownRaw, protowire.BytesType), uint64(inner))
	front = appendBytes(front, listMetadata, meta)
	back := appendBytes(appendBytes(nil, unknownEncoding, nil), unknownType, nil)
	size = len(front) + inner - protowire.SizeTag(listMetadata) - protowire.SizeBytes(len(meta)) + len(back)
	head(w, http.StatusOK, size)
	out := chunks{w: w, buf: make([]byte, 0, chunkBytes)}
	out.add(front)
	var tag [16]byte
	for _, raw := range items {
		out.add(protowire.AppendVarint(protowire.AppendTag(tag[:0], listItems, protowire.BytesType), uint64(len(raw))))
		out.add(raw)
	}
	out.add(back)
	out.flush()
	return size, true
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

const chunkBytes = 64 << 10

// chunks gathers small pieces into larger writes.
type chunks struct {
	w   http.ResponseWriter
	buf []byte
}

func (c *chunks) add(b []byte) {
	if len(c.buf)+len(b) > cap(c.buf) {
		c.flush()
	}
	if len(b) > cap(c.buf) {
		_, _ = c.w.Write(b) // a client that left needs no answer
		return
	}
	c.buf = append(c.buf, b...)
}

func (c *chunks) flush() {
	_, _ = c.w.Write(c.buf)
	c.buf = c.buf[:0]
}
