package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	kubeletv1 "k8s.io/kubelet/config/v1"
	credentialv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"

	"trireme/internal/agent/image"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// Config is what Providers are told. All is required.
type Config struct {
	Path   string // of the configuration: a file or a directory of some
	BinDir string // of the programs
	// Account returns a pod's service account, false where it has none that is known.
	Account func(*corev1.Pod) (*corev1.ServiceAccount, bool)
	// Token returns a token of the pod's service account for an audience.
	Token func(pod *corev1.Pod, audience string) (string, error)
}

// Providers are the programs of a node. Nil ones know no credentials.
type Providers struct {
	cfg  Config
	list []*plugin
}

// Open reads the configuration. The programs must be there.
func Open(cfg Config) (*Providers, error) {
	all, err := load(cfg.Path)
	if err != nil {
		return nil, &kind.Error{Kind: kind.Invalid, Op: "reading --image-credential-provider-config", Err: err}
	}
	p := &Providers{cfg: cfg}
	for _, one := range all {
		path := filepath.Join(cfg.BinDir, one.Name)
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return nil, kind.New(kind.Invalid, "image credential provider %q: %s is no program: put it into --image-credential-provider-bin-dir", one.Name, path)
		}
		p.list = append(p.list, &plugin{spec: one, path: path, kept: map[string]answer{}})
	}
	return p, nil
}

// Credentials returns what the programs know for an image that a pod runs, the first
// program's first. The error says which failed; what the others said is returned
// beside it.
func (p *Providers) Credentials(ctx context.Context, ref string, pod *corev1.Pod) (out []runtime.Credentials, err error) {
	if p == nil {
		return nil, nil
	}
	parsed, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("reading image name %q: %w", ref, err)
	}
	repo := parsed.Context().Name()
	var errs []error
	for _, one := range p.list {
		if !matches(one.spec.MatchImages, repo) {
			continue
		}
		auths, err := p.ask(ctx, one, repo, pod)
		if err != nil {
			errs = append(errs, fmt.Errorf("image credential provider %q: %w", one.spec.Name, err))
			continue
		}
		for _, key := range slices.Backward(slices.Sorted(maps.Keys(auths))) { // longer before shorter, names before patterns
			if image.Match(key, repo) >= 0 {
				out = append(out, runtime.Credentials{Username: auths[key].Username, Password: auths[key].Password})
			}
		}
	}
	return out, errors.Join(errs...)
}

// Asker says on whose behalf the programs are asked for an image: pods of the same
// asker have the same credentials. Empty: who asks is all the same.
func (p *Providers) Asker(pod *corev1.Pod) string {
	if p == nil || !slices.ContainsFunc(p.list, func(one *plugin) bool { return one.spec.TokenAttributes != nil }) {
		return ""
	}
	return object.Key{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName}.String()
}

func matches(patterns []string, repo string) bool {
	return slices.ContainsFunc(patterns, func(m string) bool { return image.Match(m, repo) >= 0 })
}

// plugin is one program and what it has said.
type plugin struct {
	spec kubeletv1.CredentialProvider
	path string

	asking singleflight.Group
	mu     sync.Mutex
	kept   map[string]answer // by cache key
}

type answer struct {
	auths map[string]credentialv1.AuthConfig
	until time.Time
}

// ask returns what the program says or has said for the repository.
func (p *Providers) ask(ctx context.Context, one *plugin, repo string, pod *corev1.Pod) (map[string]credentialv1.AuthConfig, error) {
	shown := repo
	if rest, ok := strings.CutPrefix(repo, name.DefaultRegistry+"/"); ok {
		shown = "docker.io/" + rest // as people and programs call it
	}
	req := credentialv1.CredentialProviderRequest{Image: shown}
	req.APIVersion, req.Kind = credentialv1.SchemeGroupVersion.String(), "CredentialProviderRequest"
	account, err := p.vouch(one, pod, &req)
	if err != nil || account == "" && one.needsAccount() {
		return nil, err
	}
	for {
		got, err, _ := one.asking.Do(shown+"\x00"+account, func() (any, error) {
			if auths, ok := one.remembered(shown, account); ok {
				return auths, nil
			}
			resp, err := one.run(ctx, &req)
			if err != nil {
				return nil, err
			}
			one.remember(shown, account, resp)
			return resp.Auth, nil
		})
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			continue // whoever asked first went away
		}
		if err != nil {
			return nil, err
		}
		return got.(map[string]credentialv1.AuthConfig), nil
	}
}

// vouch puts what the program wants to know of the pod's service account into the
// request. account tells accounts apart for which the program may answer differently;
// it is empty where it does not ask, or where there is none.
func (p *Providers) vouch(one *plugin, pod *corev1.Pod, req *credentialv1.CredentialProviderRequest) (account string, err error) {
	t := one.spec.TokenAttributes
	if t == nil {
		return "", nil
	}
	sa, ok := p.cfg.Account(pod)
	if !ok {
		return "", nil
	}
	annotations, missing := pick(t, sa.Annotations)
	if missing != "" {
		return "", kind.New(kind.Invalid, "the service account %s lacks the annotation %s, which the program needs", object.KeyOf(sa), missing)
	}
	token, err := p.cfg.Token(pod, t.ServiceAccountTokenAudience)
	if err != nil {
		return "", fmt.Errorf("asking for a token of service account %s: %w", object.KeyOf(sa), err)
	}
	req.ServiceAccountToken, req.ServiceAccountAnnotations = token, annotations
	parts := []string{sa.Namespace, sa.Name, string(sa.UID)}
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		parts = append(parts, k, annotations[k])
	}
	if t.CacheType == kubeletv1.TokenServiceAccountTokenCacheType {
		parts = append(parts, token)
	}
	return fmt.Sprintf("%q", parts), nil
}

func (one *plugin) needsAccount() bool {
	t := one.spec.TokenAttributes
	return t != nil && *t.RequireServiceAccount
}

// cacheKey returns where an answer for the image is kept, by what the program says
// that it holds for.
func cacheKey(t credentialv1.PluginCacheKeyType, shown, account string) string {
	what := shown
	switch t {
	case credentialv1.RegistryPluginCacheKeyType:
		what, _, _ = strings.Cut(shown, "/")
	case credentialv1.GlobalPluginCacheKeyType:
		what = ""
	}
	return strings.Join([]string{string(t), what, account}, "\x00")
}

// cacheKeyTypes are what an answer may hold for, the narrowest first.
var cacheKeyTypes = []credentialv1.PluginCacheKeyType{
	credentialv1.ImagePluginCacheKeyType, credentialv1.RegistryPluginCacheKeyType, credentialv1.GlobalPluginCacheKeyType,
}

func (one *plugin) remembered(shown, account string) (map[string]credentialv1.AuthConfig, bool) {
	one.mu.Lock()
	defer one.mu.Unlock()
	for _, t := range cacheKeyTypes {
		if a, ok := one.kept[cacheKey(t, shown, account)]; ok && time.Now().Before(a.until) {
			return a.auths, true
		}
	}
	return nil, false
}

func (one *plugin) remember(shown, account string, resp *credentialv1.CredentialProviderResponse) {
	life := one.spec.DefaultCacheDuration.Duration
	if resp.CacheDuration != nil {
		life = resp.CacheDuration.Duration
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(one.kept, func(_ string, a answer) bool { return !now.Before(a.until) })
	if life > 0 {
		one.kept[cacheKey(resp.CacheKeyType, shown, account)] = answer{resp.Auth, now.Add(life)}
	}
}
