package images

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"trireme/internal/api/docker/engine"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/tables"
)

// steps tells how something goes on, as a line of JSON a step.
type steps struct{ out http.ResponseWriter }

// line is a step, or how it ended badly.
type line struct {
	Status      string `json:"status,omitempty"`
	ID          string `json:"id,omitempty"`
	Stream      string `json:"stream,omitempty"`
	Error       string `json:"error,omitempty"`
	ErrorDetail *fault `json:"errorDetail,omitempty"`
}

type fault struct {
	Message string `json:"message"`
}

func (c *call) steps() steps {
	c.Out.Header().Set("Content-Type", "application/json")
	c.Out.WriteHeader(http.StatusOK)
	return steps{c.Out}
}

func (s steps) say(l line) {
	_ = json.NewEncoder(s.out).Encode(l) // the client has gone
	_ = http.NewResponseController(s.out).Flush()
}

// end tells how it ended; what fails after the beginning can only be told there.
func (s steps) end(err error, last ...string) (any, error) {
	if err != nil {
		s.say(line{Error: err.Error(), ErrorDetail: &fault{err.Error()}})
		return engine.Streamed, nil
	}
	for _, text := range last {
		s.say(line{Status: text})
	}
	return engine.Streamed, nil
}

// pullImage has this machine's agent pull an image.
func pullImage(c *call) (any, error) {
	if c.FormValue("fromSrc") != "" {
		return nil, kind.New(kind.Unsupported, "fromSrc: no image is made of a file system here: build one, and give it to `docker load`")
	}
	ref := c.FormValue("fromImage")
	if tag := c.FormValue("tag"); strings.Contains(tag, ":") {
		ref += "@" + tag
	} else if tag != "" {
		ref += ":" + tag
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, kind.New(kind.Malformed, "invalid reference format: %q: %v", ref, err)
	}
	creds, err := Auth(c.Request.Request)
	if err != nil {
		return nil, err
	}
	node := c.door.node
	if n, ok := tables.Nodes.Get(c.Snap, object.Key{Name: node}); ok && c.FormValue("platform") != "" && !strings.HasPrefix(c.FormValue("platform"), "linux/"+n.Status.NodeInfo.Architecture) {
		return nil, kind.New(kind.Unsupported, "platform: %s pulls for its own, linux/%s", node, n.Status.NodeInfo.Architecture)
	}
	if err := c.mayOnAgent("create"); err != nil {
		return nil, err
	}
	body := []byte("[]")
	if creds != nil {
		if body, err = json.Marshal([]any{map[string]string{
			"Username": creds.Username, "Password": creds.Password, "IdentityToken": creds.IdentityToken, "RegistryToken": creds.RegistryToken,
		}}); err != nil {
			return nil, err
		}
	}
	s := c.steps()
	s.say(line{Status: "Pulling from " + reference.Path(named) + " on " + node, ID: tagOf(named)})
	b, err := c.agent("POST", node, "images/pull").Param("ref", named.String()).Body(body).DoRaw(c.Context())
	if err != nil {
		return s.end(fromAgent(err))
	}
	var got onAgent
	if err := json.Unmarshal(b, &got); err != nil {
		return s.end(err)
	}
	digest := ""
	for _, d := range got.Digests {
		_, digest, _ = strings.Cut(d, "@")
	}
	return s.end(nil, "Digest: "+cmp.Or(digest, got.ID), "Status: Image is up to date for "+familiar(named.String()))
}

func tagOf(n reference.Named) string {
	if t, ok := n.(reference.Tagged); ok {
		return t.Tag()
	}
	return ""
}

// mayOnAgent refuses who may not do the verb through this machine's agent, before anything
// is answered.
func (c *call) mayOnAgent(verb string) error {
	if !c.May(verb, "", "nodes/proxy", object.Key{Name: c.door.node}) {
		return kind.New(kind.Denied, "user %q may not %s nodes/proxy of %s, which images are reached by", c.Who, verb, c.door.node)
	}
	return nil
}

// loadImages brings the images of an archive to this machine, whose containerd checks what
// the archive is made of, and has the other nodes find them.
func loadImages(c *call) (any, error) {
	if err := c.mayOnAgent("create"); err != nil {
		return nil, err
	}
	b, err := c.agent("POST", c.door.node, "images/import").SetHeader("Content-Type", "application/x-tar").Body(c.Raw).DoRaw(c.Context())
	if err != nil {
		return nil, fromAgent(err)
	}
	var got struct{ Names []string }
	if err := json.Unmarshal(b, &got); err != nil {
		return nil, err
	}
	s := c.steps()
	for _, n := range got.Names {
		s.say(line{Stream: fmt.Sprintf("Loaded image: %s\n", familiar(n))})
		if err := c.share(n); err != nil {
			s.say(line{Stream: fmt.Sprintf("Only %s has %s: %v\n", c.door.node, familiar(n), err)})
		}
	}
	return engine.Streamed, nil
}

func saveImages(c *call) (any, error) {
	if err := c.ParseForm(); err != nil {
		return nil, kind.New(kind.Malformed, "reading the query: %v", err)
	}
	return c.save(c.Form["names"])
}

func saveImage(c *call, ref string) (any, error) { return c.save([]string{ref}) }

// save sends images as `docker load` and `trireme image import` take them.
func (c *call) save(refs []string) (any, error) {
	if len(refs) == 0 {
		return nil, kind.New(kind.Malformed, "names: give the name of an image at least")
	}
	all := map[name.Reference]v1.Image{}
	for _, ref := range refs {
		h, named, err := c.findImage(ref)
		if err != nil {
			return nil, err
		}
		i, err := c.open(h)
		if err != nil {
			return nil, err
		}
		as, err := name.ParseReference(cmp.Or(named, h.names[0]))
		if err != nil {
			return nil, err
		}
		all[as] = i
	}
	c.Out.Header().Set("Content-Type", "application/x-tar")
	c.Out.WriteHeader(http.StatusOK)
	if err := tarball.MultiRefWrite(all, c.Out); err != nil {
		panic(http.ErrAbortHandler) // a tar that is not whole must not look like one
	}
	return engine.Streamed, nil
}

// pushImage sends an image that this machine's agent has to its registry.
func pushImage(c *call, ref string) (any, error) {
	if tag := c.FormValue("tag"); tag != "" {
		ref += ":" + tag
	}
	creds, err := Auth(c.Request.Request)
	if err != nil {
		return nil, err
	}
	h, named, err := c.findImage(ref)
	if err != nil {
		return nil, err
	}
	if named == "" {
		return nil, kind.New(kind.Malformed, "%s: give a name to push to", ref)
	}
	to, err := name.ParseReference(named)
	if err != nil {
		return nil, kind.New(kind.Malformed, "invalid reference format: %v", err)
	}
	i, err := c.open(h)
	if err != nil {
		return nil, err
	}
	s := c.steps()
	s.say(line{Status: "The push refers to repository [" + to.Context().Name() + "]"})
	if err := remote.Write(to, i, c.remote(creds)...); err != nil {
		return s.end(fromRegistry(err))
	}
	digest, err := i.Digest()
	if err != nil {
		return s.end(err)
	}
	return s.end(nil, to.Identifier()+": digest: "+digest.String())
}
