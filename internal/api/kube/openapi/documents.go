package openapi

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	"github.com/munnerz/goautoneg"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/util"
)

// keepFor is how long a document is kept after it was made: clients that come
// together, or ask for several parts, pay once.
const keepFor = time.Minute

const (
	pathV2 = "/openapi/v2"
	pathV3 = "/openapi/v3"
)

// Documents serves the OpenAPI documents of one server.
type Documents struct {
	routes *restful.Container
	v2     *common.Config
	v3     *common.OpenAPIV3Config
	build  string

	making sync.Mutex // a document takes tens of MB while it is made: one at a time

	mu   sync.Mutex
	kept map[string]document // by path and media type
}

// document is one encoding.
type document struct {
	mediaType string
	body      []byte
}

// New describes the routes, which are complete before the first request. The
// configurations are as the server completed them; v3 is asked for definitions at
// each document: its own copy of them is dropped.
func New(routes *restful.Container, v2 *common.Config, v3 *common.OpenAPIV3Config) *Documents {
	v3.Definitions = nil
	return &Documents{routes: routes, v2: v2, v3: v3, build: buildID(), kept: map[string]document{}}
}

// Install serves the documents at the paths that the library serves its own at.
func (d *Documents) Install(m *mux.PathRecorderMux) {
	m.Handle(pathV2, http.HandlerFunc(d.serveV2))
	m.Handle(pathV3, http.HandlerFunc(d.serveList))
	m.HandlePrefix(pathV3+"/", http.HandlerFunc(d.serveV3))
}

// buildID says which program this is: it differs where anything in the code does.
// Without one the documents are those of this process only.
func buildID() string {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return rand.Text()
	}
	defer f.Close()
	if s := f.Section(".note.go.buildid"); s != nil {
		if b, err := s.Data(); err == nil && len(b) > 0 {
			return string(b)
		}
	}
	return rand.Text()
}

// etag returns the ETag of the document of these web services.
func (d *Documents) etag(path string, services ...*restful.WebService) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", d.build, path)
	for _, ws := range services {
		var lines []string // their order is a map's
		for _, r := range ws.Routes() {
			lines = append(lines, fmt.Sprintf("%s %s %s\n", r.Method, r.Path, r.Operation))
		}
		slices.Sort(lines)
		io.WriteString(h, strings.Join(lines, "")) // a hash takes everything
	}
	return fmt.Sprintf("%X", h.Sum(nil))
}

// serveV2 answers the one document of all groups.
func (d *Documents) serveV2(w http.ResponseWriter, req *http.Request) {
	all := slices.SortedFunc(slices.Values(d.routes.RegisteredWebServices()), func(a, b *restful.WebService) int { return cmp.Compare(a.RootPath(), b.RootPath()) })
	d.serve(w, req, d.etag(pathV2, all...), func(m *mux.PathRecorderMux) {
		c := *d.v2 // the builder writes itself into it, and would be kept
		routes.OpenAPI{Config: &c}.InstallV2(d.routes, m)
	})
}

// serveList answers which group versions have a document, and under which hash.
func (d *Documents) serveList(w http.ResponseWriter, req *http.Request) {
	list := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for _, ws := range d.routes.RegisteredWebServices() {
		group := strings.TrimPrefix(ws.RootPath(), "/")
		list.Paths[group] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: d.address(ws)}
	}
	body, err := json.Marshal(list)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Etag", strconv.Quote(fmt.Sprintf("%X", sha256.Sum256(body))))
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, req, pathV3, time.Time{}, bytes.NewReader(body))
}

func (d *Documents) address(ws *restful.WebService) string {
	u := url.URL{Path: pathV3 + ws.RootPath(), RawQuery: url.Values{"hash": {d.etag(pathV3, ws)}}.Encode()}
	return u.String()
}

// serveV3 answers the document of one group version. A client that names a hash
// may keep the answer for good; one that names another is sent to the right one.
func (d *Documents) serveV3(w http.ResponseWriter, req *http.Request) {
	root := strings.TrimPrefix(req.URL.Path, pathV3)
	services := d.routes.RegisteredWebServices()
	i := slices.IndexFunc(services, func(ws *restful.WebService) bool { return ws.RootPath() == root })
	if i < 0 {
		http.NotFound(w, req)
		return
	}
	ws := services[i]
	etag := d.etag(pathV3, ws)
	if hash := req.URL.Query().Get("hash"); hash != "" {
		if hash != etag {
			http.Redirect(w, req, d.address(ws), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123))
	}
	d.serve(w, req, etag, func(m *mux.PathRecorderMux) {
		c := *d.v3
		routes.OpenAPI{V3Config: &c}.InstallV3(restful.NewContainer().Add(ws), m)
	})
}

// serve answers a document that the library's own handler makes on a mux of its
// own, which is thrown away.
func (d *Documents) serve(w http.ResponseWriter, req *http.Request, etag string, install func(*mux.PathRecorderMux)) {
	w.Header().Set("Vary", "Accept")
	accept := accepted(req.Header.Get("Accept"))
	if accept == "" {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	w.Header().Set("Etag", strconv.Quote(etag))
	if req.Header.Get("If-None-Match") == strconv.Quote(etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	doc, err := d.document(req.URL.Path, accept, install)
	if err != nil {
		w.Header().Del("Etag")
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", doc.mediaType)
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(doc.body))
}

// accepted returns the media type to answer in, empty where none is understood.
func accepted(header string) string {
	const jsonType = "application/json"
	if header == "" {
		return jsonType
	}
	for _, c := range goautoneg.ParseAccept(header) {
		switch t := c.Type + "/" + c.SubType; {
		case t == "*/*" || t == "application/*" || t == jsonType:
			return jsonType
		case strings.HasPrefix(t, "application/com.github.proto-openapi.spec.v") && strings.HasSuffix(t, "v1.0+protobuf"):
			return t
		}
	}
	return ""
}

func (d *Documents) document(path, accept string, install func(*mux.PathRecorderMux)) (document, error) {
	key := path + " " + accept
	if doc, ok := d.find(key); ok {
		return doc, nil
	}
	d.making.Lock()
	defer d.making.Unlock()
	if doc, ok := d.find(key); ok { // made while this one waited
		return doc, nil
	}
	m := mux.NewPathRecorderMux(key)
	install(m)
	req, err := http.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return document{}, err
	}
	req.Header.Set("Accept", accept)
	w := responsewriter.NewInMemoryResponseWriter()
	m.ServeHTTP(w, req)
	if w.RespCode() != http.StatusOK || len(w.Data()) == 0 {
		return document{}, fmt.Errorf("the OpenAPI document %s was not made: status %d", path, w.RespCode())
	}
	doc := document{w.Header().Get("Content-Type"), w.Data()}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[key] = doc
	time.AfterFunc(keepFor, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.kept, key)
	})
	return doc, nil
}

func (d *Documents) find(key string) (document, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc, ok := d.kept[key]
	return doc, ok
}

// Types returns what brings objects of the sample's kind into the typed form that
// managed fields are computed on.
func (d *Documents) Types(sample runtime.Object) (managedfields.TypeConverter, error) {
	d.making.Lock()
	defer d.making.Unlock()
	c := *d.v3
	models, err := builder3.BuildOpenAPIDefinitionsForResources(&c, util.GetCanonicalTypeName(sample))
	if err != nil {
		return nil, err
	}
	return managedfields.NewTypeConverter(models, false)
}
