package images

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

const (
	registryMax = 10 * time.Second // that a registry may take to say what a name stands for
	// reachMax is how long one is tried to be reached: clients wait for it at every
	// service they make, with nothing but a warning where there is none.
	reachMax = 2 * time.Second
	// silentFor is how long one that was not reached is not tried again.
	silentFor = 10 * time.Second
	silentMax = 256 // of them that are remembered
)

// reaching is how registries are connected to.
var reaching = func() http.RoundTripper {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: reachMax}).DialContext // looking its name up is part of that
	return t
}()

// Auth returns what the caller shows to be passed on to a registry, nil: nothing.
func Auth(req *http.Request) (*registry.AuthConfig, error) {
	text := req.Header.Get(registry.AuthHeader)
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, kind.New(kind.Malformed, "%s: not base64: %v", registry.AuthHeader, err)
	}
	var a registry.AuthConfig
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, kind.New(kind.Malformed, "%s: invalid JSON: %v", registry.AuthHeader, err)
	}
	if a.Username+a.Auth+a.IdentityToken+a.RegistryToken == "" {
		return nil, nil
	}
	return &a, nil
}

func (c *call) remote(a *registry.AuthConfig) []remote.Option {
	return []remote.Option{remote.WithContext(c.Context()), remote.WithAuth(shown(a))}
}

func shown(a *registry.AuthConfig) authn.Authenticator {
	if a == nil {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken})
}

// fromRegistry classifies what a registry said.
func fromRegistry(err error) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return kind.New(kind.Unavailable, "asking the registry: %v", err)
	}
	switch t.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return kind.New(kind.Unauthenticated, "unauthorized: %v", err)
	case http.StatusNotFound:
		return kind.New(kind.NotFound, "%v", err)
	}
	return kind.New(kind.Unavailable, "asking the registry: %v", err)
}

// distribution tells an image's digest and platforms as its registry has them: clients
// write them into specs. Whoever makes services anywhere may have a registry asked, as
// nodes ask it for them.
func distribution(c *call) (any, error) {
	ref, ok := strings.CutSuffix(c.PathValue("rest"), "/json")
	named, err := reference.ParseDockerRef(ref)
	if !ok || err != nil {
		return nil, kind.New(kind.Malformed, "invalid reference format: %q: %v", ref, err)
	}
	if !c.mayServe() {
		return nil, kind.New(kind.Denied, "user %q may not create services.%s in any namespace, and so ask no registry", c.Who, ours.Group.Group)
	}
	if c.given(named.String()) {
		return nil, kind.New(kind.NotFound, "the cluster itself holds %s: nodes find it by its name (`kubectl get images`)", ref)
	}
	auth, err := Auth(c.Request.Request)
	if err != nil {
		return nil, err
	}
	at, err := name.ParseReference(named.String())
	if err != nil {
		return nil, kind.New(kind.Malformed, "invalid reference format: %q: %v", ref, err)
	}
	host := at.Context().RegistryStr()
	if last, ok := c.door.silent.Get(host); ok && time.Since(last.(time.Time)) < silentFor {
		return nil, kind.New(kind.Unavailable, "asking the registry: %s could not be reached a moment ago", host)
	}
	ctx, cancel := context.WithTimeout(c.Context(), registryMax)
	defer cancel()
	got, err := remote.Get(at, remote.WithContext(ctx), remote.WithAuth(shown(auth)), remote.WithTransport(reaching), remote.WithRetryPredicate(func(error) bool { return false }))
	if err != nil {
		var unreached *net.OpError
		if errors.As(err, &unreached) && unreached.Op == "dial" {
			c.door.silent.Add(host, time.Now())
		}
		return nil, fromRegistry(err)
	}
	out := registry.DistributionInspect{Descriptor: ocispec.Descriptor{MediaType: string(got.MediaType), Digest: digest.Digest(got.Digest.String()), Size: got.Size}}
	out.Platforms, err = platforms(got)
	return out, fromRegistryIf(err)
}

func fromRegistryIf(err error) error {
	if err == nil {
		return nil
	}
	return fromRegistry(err)
}

// platforms returns what an image can run on.
func platforms(d *remote.Descriptor) ([]ocispec.Platform, error) {
	if !d.MediaType.IsIndex() {
		i, err := d.Image()
		if err != nil {
			return nil, err
		}
		conf, err := i.ConfigFile()
		if err != nil {
			return nil, err
		}
		return []ocispec.Platform{{Architecture: conf.Architecture, OS: conf.OS, Variant: conf.Variant, OSVersion: conf.OSVersion}}, nil
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	out := []ocispec.Platform{}
	for _, one := range m.Manifests {
		if p := one.Platform; p != nil && p.OS != "unknown" {
			out = append(out, platform(p))
		}
	}
	return out, nil
}

func platform(p *v1.Platform) ocispec.Platform {
	return ocispec.Platform{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant, OSVersion: p.OSVersion}
}

// mayServe reports whether the caller may make services in some namespace.
func (c *call) mayServe() bool {
	for row := range tables.Namespaces.Rows(c.All, "") {
		if c.May("create", ours.Group.Group, ours.Services.Resource, object.Key{Namespace: row.Key().Name}) {
			return true
		}
	}
	return false
}

// given reports whether the cluster holds the image by its whole name (package registry).
func (c *call) given(whole string) bool {
	prefix := tables.CustomPlace{Group: "trireme.dev", Plural: "images"}.CustomKey().String()
	for row := range tables.CustomObjects.RowsFrom(c.All, prefix, "") {
		spec, _ := row.Object().Object["spec"].(map[string]any)
		if spec["reference"] == whole {
			return true
		}
	}
	return false
}

// login checks what somebody wants to show to a registry from now on.
func login(c *call) (any, error) {
	if err := c.mayOnAgent("create"); err != nil {
		return nil, err
	}
	var a registry.AuthConfig
	if err := c.read(&a); err != nil {
		return nil, err
	}
	host := a.ServerAddress
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	at, err := name.NewRegistry(host)
	if err != nil {
		return nil, kind.New(kind.Malformed, "serveraddress: %v", err)
	}
	ctx, cancel := context.WithTimeout(c.Context(), registryMax)
	defer cancel()
	t, err := transport.NewWithContext(ctx, at, shown(&a), remote.DefaultTransport, []string{})
	if err != nil {
		return nil, fromRegistry(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Scheme()+"://"+at.RegistryStr()+"/v2/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return nil, fromRegistry(err)
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, fromRegistry(err)
	}
	return registry.AuthResponse{Status: "Login Succeeded"}, nil
}
