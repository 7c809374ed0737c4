package images

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/image"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/lru"

	"trireme/internal/api/docker/engine"
	"trireme/internal/api/docker/query"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Request is one, as the door has it.
type Request struct {
	*http.Request
	Snap *store.Snapshot // the committed state at its beginning, as who asks may see it
	All  *store.Snapshot // the whole of it
	// May reports whether who asks, by the name Who, may do a verb to a resource.
	May   func(verb, group, resource string, key object.Key) bool
	Who   string
	Out   http.ResponseWriter
	Raw   io.Reader            // the body, without a bound
	Typed kubernetes.Interface // calls the Kubernetes door as whoever asks
	// Custom does so for kinds of ours.
	Custom dynamic.Interface
}

// Server is the images' part of the door.
type Server struct {
	node    string     // this machine's
	configs *lru.Cache // configurations of images by their ids
	silent  *lru.Cache // when registries could not be reached, by their hosts
}

// New returns the server of a machine.
func New(node string) *Server { return &Server{node, lru.New(configsMax), lru.New(silentMax)} }

// call is one request of this server.
type call struct {
	Request
	door *Server
}

type handler func(*call) (any, error)

// The names of images have slashes, so that what is asked of one stands behind the name.
var routes = map[string]handler{
	"GET /images/json": listImages, "GET /images/{rest...}": ofImage, "POST /images/{rest...}": toImage, "DELETE /images/{name...}": removeImage,
	"GET /images/get": saveImages, "POST /images/create": pullImage, "POST /images/load": loadImages, "POST /images/prune": pruneImages,
	"GET /distribution/{rest...}": distribution, "POST /auth": login,
}

// Routes returns the handlers by pattern (net/http.ServeMux), without a version.
func Routes() map[string]func(*Server, Request) (any, error) {
	all := map[string]func(*Server, Request) (any, error){}
	for pattern, h := range routes {
		all[pattern] = func(s *Server, r Request) (any, error) { return h(&call{r, s}) }
	}
	return all
}

func (c *call) flag(name string) bool { return query.Flag(c.Request.Request, name) }
func (c *call) read(v any) error      { return query.Body(c.Request.Request, v) }

func (c *call) filters(allowed ...string) (query.Set, error) {
	return query.Filters(c.Request.Request, allowed...)
}

// held is an image that nodes have.
type held struct {
	image.Summary
	names []string // whole
	nodes []string // this machine's first
}

// onAgent is an image as an agent's HTTPS tells it.
type onAgent struct {
	ID        string   `json:"id"`
	Names     []string `json:"names"`
	Digests   []string `json:"digests"`
	SizeBytes int64    `json:"sizeBytes"`
}

// images returns the images of the nodes that the caller may see, those of this machine
// as its agent has them now.
func (c *call) images() []*held {
	all := map[string]*held{}
	if c.May("get", "", "nodes/proxy", object.Key{Name: c.door.node}) {
		var own []onAgent
		if b, err := c.agent("GET", c.door.node, "images").DoRaw(c.Context()); err == nil && json.Unmarshal(b, &own) == nil {
			for _, i := range own {
				add(all, c.door.node, i)
			}
		}
	}
	for n := range tables.Nodes.All(c.Snap) {
		for _, i := range n.Status.Images {
			is := onAgent{SizeBytes: i.SizeBytes}
			for _, name := range i.Names {
				if strings.Contains(name, "@") {
					is.Digests = append(is.Digests, name)
				} else {
					is.Names = append(is.Names, name)
				}
			}
			add(all, n.Name, is)
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b *held) int { return strings.Compare(a.ID, b.ID) })
}

// add puts an image of a node to those that are the same: of one digest, or where it has
// none of one name.
func add(all map[string]*held, node string, i onAgent) {
	if len(i.Names)+len(i.Digests) == 0 {
		return
	}
	at := strings.Join(i.Names, " ")
	if len(i.Digests) > 0 {
		_, at, _ = strings.Cut(i.Digests[0], "@")
	}
	h := all[at]
	if h == nil {
		sum := sha256.Sum256([]byte(at))
		id := "sha256:" + hex.EncodeToString(sum[:])
		if strings.HasPrefix(at, "sha256:") {
			id = at
		}
		h = &held{Summary: image.Summary{ID: cmp.Or(i.ID, id), Size: i.SizeBytes, SharedSize: -1, Containers: -1, Labels: map[string]string{}, RepoTags: []string{}, RepoDigests: []string{}}}
		all[at] = h
	}
	for _, name := range slices.Concat(i.Names, i.Digests) {
		short := familiar(name)
		switch {
		case slices.Contains(h.names, name):
			continue
		case strings.Contains(name, "@"):
			h.RepoDigests = append(h.RepoDigests, short)
		default:
			h.RepoTags = append(h.RepoTags, short)
		}
		h.names = append(h.names, name)
	}
	if !slices.Contains(h.nodes, node) {
		h.nodes = append(h.nodes, node)
	}
}

// familiar returns a name as docker's clients show it: busybox:1.
func familiar(name string) string {
	if n, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.FamiliarString(n)
	}
	return name
}

// findImage returns the image of a name, an id or the beginning of one, and the whole name
// that was meant; empty: it was an id. Where a name is another image's elsewhere, it is this
// machine's that is meant.
func (c *call) findImage(ref string) (*held, string, error) {
	all := c.images()
	slices.SortStableFunc(all, func(a, b *held) int {
		return cmp.Compare(slices.Index(b.nodes, c.door.node), slices.Index(a.nodes, c.door.node)) // its own stands first there: 0 before -1
	})
	if named, err := reference.ParseDockerRef(ref); err == nil {
		for _, h := range all {
			for _, name := range h.names {
				if name == named.String() {
					return h, name, nil
				}
			}
		}
	}
	id := strings.TrimPrefix(ref, "sha256:")
	var found []*held
	for _, h := range all {
		if len(id) >= 4 && strings.HasPrefix(strings.TrimPrefix(h.ID, "sha256:"), id) {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 0:
		return nil, "", kind.New(kind.NotFound, "No such image: %s", ref)
	case 1:
		return found[0], "", nil
	}
	return nil, "", kind.New(kind.Invalid, "image %s is ambiguous (%d matches found)", ref, len(found))
}

func listImages(c *call) (any, error) {
	f, err := c.filters("before", "dangling", "label", "reference", "since", "until")
	if err != nil {
		return nil, err
	}
	out := []image.Summary{}
	for _, h := range c.images() {
		c.describe(h)
		if len(f["reference"]) > 0 { // of other names nothing is to be seen
			other := func(name string) bool { return !f.Any("reference", func(p string) bool { return refersTo(p, name) }) }
			h.RepoTags, h.RepoDigests = slices.DeleteFunc(h.RepoTags, other), slices.DeleteFunc(h.RepoDigests, other)
			if len(h.RepoTags)+len(h.RepoDigests) == 0 {
				continue
			}
		}
		if f.Equal("dangling", "false") && f.Labels("label", h.Labels) {
			out = append(out, h.Summary)
		}
	}
	return out, nil
}

// refersTo reports whether a pattern of names is met by a name, or by what stands before
// its tag.
func refersTo(pattern, name string) bool {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	ok, err := reference.FamiliarMatch(pattern, n)
	if err == nil && ok {
		return true
	}
	p, err := reference.ParseNormalizedNamed(pattern)
	return err == nil && (p.String() == n.String() || reference.IsNameOnly(p) && p.Name() == n.Name())
}

// describe adds what only the image itself tells, where this machine has it.
func (c *call) describe(h *held) {
	if len(h.nodes) == 0 || h.nodes[0] != c.door.node || !c.May("get", "", "nodes/proxy", object.Key{Name: h.nodes[0]}) {
		return
	}
	if conf, err := c.imageConfig(h); err == nil {
		h.Created = conf.Created.Unix()
		if conf.Config.Labels != nil {
			h.Labels = conf.Config.Labels
		}
	}
}

// configsMax is how many images' configurations are remembered.
const configsMax = 512

// imageConfig returns an image's configuration, which is remembered: it cannot change.
func (c *call) imageConfig(h *held) (*v1.ConfigFile, error) {
	if have, ok := c.door.configs.Get(h.ID); ok {
		return have.(*v1.ConfigFile), nil
	}
	i, err := c.open(h)
	if err != nil {
		return nil, err
	}
	conf, err := i.ConfigFile()
	if err == nil {
		c.door.configs.Add(h.ID, conf)
	}
	return conf, err
}

// ofImage answers what is asked about one image.
func ofImage(c *call) (any, error) {
	rest := c.PathValue("rest")
	for suffix, f := range map[string]func(*call, string) (any, error){"/json": inspectImage, "/history": historyOf, "/get": saveImage} {
		if name, ok := strings.CutSuffix(rest, suffix); ok {
			return f(c, name)
		}
	}
	return nil, kind.New(kind.Unsupported, "%s %s is not served by this door; see docs/docker.md for what is", c.Method, c.URL.Path)
}

// toImage does something with one image.
func toImage(c *call) (any, error) {
	rest := c.PathValue("rest")
	for suffix, f := range map[string]func(*call, string) (any, error){"/tag": tagImage, "/push": pushImage} {
		if name, ok := strings.CutSuffix(rest, suffix); ok {
			return f(c, name)
		}
	}
	return nil, kind.New(kind.Unsupported, "%s %s is not served by this door; see docs/docker.md for what is", c.Method, c.URL.Path)
}

// configured returns an image with its configuration, read from a node that has it.
func (c *call) configured(ref string) (h *held, i v1.Image, conf *v1.ConfigFile, err error) {
	if h, _, err = c.findImage(ref); err != nil {
		return nil, nil, nil, err
	}
	if i, err = c.open(h); err != nil {
		return nil, nil, nil, err
	}
	if conf, err = i.ConfigFile(); err != nil {
		return nil, nil, nil, engine.FromKubernetes(err)
	}
	return h, i, conf, nil
}

// Exposed returns the ports that an image exposes, as "80/tcp", sorted. kind.NotFound: no
// node has it.
func (s *Server) Exposed(r Request, ref string) ([]string, error) {
	_, _, conf, err := (&call{r, s}).configured(ref)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(conf.Config.ExposedPorts)), nil
}

func inspectImage(c *call, ref string) (any, error) {
	h, _, conf, err := c.configured(ref)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(conf.Config)
	if err != nil {
		return nil, err
	}
	out := image.InspectResponse{
		ID: h.ID, RepoTags: h.RepoTags, RepoDigests: h.RepoDigests, Created: conf.Created.UTC().Format(time.RFC3339Nano), Author: conf.Author,
		Architecture: conf.Architecture, Variant: conf.Variant, Os: conf.OS, OsVersion: conf.OSVersion, Size: h.Size, RootFS: image.RootFS{Type: conf.RootFS.Type},
	}
	for _, id := range conf.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, id.String())
	}
	return out, json.Unmarshal(raw, &out.Config)
}

func historyOf(c *call, ref string) (any, error) {
	h, i, conf, err := c.configured(ref)
	if err != nil {
		return nil, err
	}
	manifest, err := i.Manifest()
	if err != nil {
		return nil, engine.FromKubernetes(err)
	}
	out, layer := []image.HistoryResponseItem{}, 0
	for _, step := range conf.History {
		item := image.HistoryResponseItem{ID: "<missing>", Created: step.Created.Unix(), CreatedBy: step.CreatedBy, Comment: step.Comment, Tags: []string{}}
		if !step.EmptyLayer && layer < len(manifest.Layers) {
			item.Size = manifest.Layers[layer].Size
			layer++
		}
		out = append(out, item)
	}
	slices.Reverse(out)
	if len(out) > 0 {
		out[0].ID, out[0].Tags = h.ID, h.RepoTags
	}
	return out, nil
}

func tagImage(c *call, ref string) (any, error) {
	h, _, err := c.findImage(ref)
	if err != nil {
		return nil, err
	}
	as, err := reference.ParseDockerRef(strings.TrimSuffix(c.FormValue("repo")+":"+c.FormValue("tag"), ":"))
	if err != nil {
		return nil, kind.New(kind.Malformed, "invalid reference format: repo=%q tag=%q: %v", c.FormValue("repo"), c.FormValue("tag"), err)
	}
	node := c.door.node
	if h.nodes[0] != node {
		return nil, kind.New(kind.NotFound, "this machine, %s, has no image %s: `docker pull` it", node, ref)
	}
	if _, err = c.agent("POST", node, "images/tag").Param("ref", h.names[0]).Param("as", as.String()).DoRaw(c.Context()); err != nil {
		return nil, fromAgent(err)
	}
	if c.sharedAny(h.names) {
		err = c.share(as.String())
	}
	return engine.Answer{Code: http.StatusCreated}, err
}

// removeImage takes a name, or an image with all its names, from this machine.
func removeImage(c *call) (any, error) {
	ref, node := c.PathValue("name"), c.door.node
	h, name, err := c.findImage(ref)
	if err != nil {
		return nil, err
	}
	if h.nodes[0] != node {
		return nil, kind.New(kind.NotFound, "this machine, %s, has no image %s", node, ref)
	}
	if name == "" && len(h.RepoTags) > 1 && !c.flag("force") {
		return nil, kind.New(kind.Exists, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", ref)
	}
	return c.drop(h, name)
}

// drop removes an image of this machine, or where it has others only its name.
func (c *call) drop(h *held, name string) ([]image.DeleteResponse, error) {
	untag := name != "" && !strings.Contains(name, "@") && len(h.RepoTags) > 1
	req := c.agent("DELETE", c.door.node, "images/"+cmp.Or(name, h.names[0]))
	if untag {
		req = req.Param("untag", "1")
	}
	if _, err := req.DoRaw(c.Context()); err != nil {
		if err = fromAgent(err); strings.Contains(err.Error(), "is in use") {
			return nil, kind.New(kind.Exists, "conflict: unable to delete %s (cannot be forced) - image is being used by a container", familiar(cmp.Or(name, h.names[0])))
		}
		return nil, err
	}
	if err := c.unshare(cmp.Or(name, strings.Join(h.names, " "))); err != nil {
		return nil, err
	}
	if untag {
		return []image.DeleteResponse{{Untagged: familiar(name)}}, nil
	}
	out := []image.DeleteResponse{}
	for _, tag := range slices.Concat(h.RepoTags, h.RepoDigests) {
		out = append(out, image.DeleteResponse{Untagged: tag})
	}
	return append(out, image.DeleteResponse{Deleted: h.ID}), nil
}

// pruneImages removes what no container uses from this machine, where all are asked for:
// none is without a name.
func pruneImages(c *call) (any, error) {
	f, err := c.filters("dangling", "label", "label!", "until")
	if err != nil {
		return nil, err
	}
	if len(f["label"])+len(f["label!"])+len(f["until"]) > 0 {
		return nil, kind.New(kind.Unsupported, "filters: images are pruned by no filter but dangling")
	}
	report := image.PruneReport{ImagesDeleted: []image.DeleteResponse{}}
	if !slices.Contains(f["dangling"], "false") {
		return report, nil
	}
	for _, h := range c.images() {
		if h.nodes[0] != c.door.node {
			continue
		}
		gone, err := c.drop(h, "")
		if kind.Is(err, kind.Exists) {
			continue // in use
		}
		if err != nil {
			return nil, err
		}
		report.ImagesDeleted = append(report.ImagesDeleted, gone...)
		report.SpaceReclaimed += uint64(h.Size)
	}
	return report, nil
}

// Summaries returns the images of the nodes that who asks may see.
func (s *Server) Summaries(r Request) []image.Summary {
	out := []image.Summary{}
	for _, h := range (&call{r, s}).images() {
		out = append(out, h.Summary)
	}
	return out
}
