package provider

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	kubeletv1 "k8s.io/kubelet/config/v1"
	credentialv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
	"sigs.k8s.io/yaml"
)

// configKind is the kind of the configuration's files.
const configKind = "CredentialProviderConfig"

// load reads a file, or those of a directory in the order of their names.
func load(path string) ([]kubeletv1.CredentialProvider, error) {
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if info.IsDir() {
		files = nil
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(e.Name())) && !e.IsDir() {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	var all []kubeletv1.CredentialProvider
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var c kubeletv1.CredentialProviderConfig
		if err := yaml.UnmarshalStrict(b, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if want := kubeletv1.SchemeGroupVersion.String(); c.APIVersion != want || c.Kind != configKind {
			return nil, fmt.Errorf("%s: it is %s %s: it must be %s %s", f, c.APIVersion, c.Kind, want, configKind)
		}
		all = append(all, c.Providers...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: providers is empty: name at least one", path)
	}
	seen := map[string]bool{}
	for i := range all {
		if err := check(&all[i]); err != nil {
			return nil, fmt.Errorf("%s: provider %q: %w", path, all[i].Name, err)
		}
		if seen[all[i].Name] {
			return nil, fmt.Errorf("%s: provider %q: the name is there twice", path, all[i].Name)
		}
		seen[all[i].Name] = true
	}
	return all, nil
}

func check(p *kubeletv1.CredentialProvider) error {
	switch {
	case p.Name == "" || p.Name == "." || p.Name == ".." || strings.ContainsAny(p.Name, `/\ `):
		return fmt.Errorf("name must be that of a program in the directory of --image-credential-provider-bin-dir")
	case p.APIVersion != credentialv1.SchemeGroupVersion.String():
		return fmt.Errorf("apiVersion %q is not supported: %s is", p.APIVersion, credentialv1.SchemeGroupVersion)
	case len(p.MatchImages) == 0:
		return fmt.Errorf("matchImages is empty: say for which images it is")
	case p.DefaultCacheDuration == nil || p.DefaultCacheDuration.Duration < 0:
		return fmt.Errorf("defaultCacheDuration must be given, and not be negative")
	}
	for _, m := range p.MatchImages {
		if u, err := url.Parse("https://" + strings.TrimPrefix(m, "https://")); err != nil || u.Host == "" || strings.Contains(u.Port()+u.Path, "*") {
			return fmt.Errorf("matchImages: %q is no HOST[:PORT][/PATH], with * in parts of the host only", m)
		}
	}
	for _, e := range p.Env {
		if e.Name == "" {
			return fmt.Errorf("env: a variable without a name")
		}
	}
	return checkToken(p.TokenAttributes)
}

func checkToken(t *kubeletv1.ServiceAccountTokenAttributes) error {
	if t == nil {
		return nil
	}
	switch {
	case t.ServiceAccountTokenAudience == "":
		return fmt.Errorf("tokenAttributes.serviceAccountTokenAudience is empty: say whom the token is for")
	case t.CacheType != kubeletv1.TokenServiceAccountTokenCacheType && t.CacheType != kubeletv1.ServiceAccountServiceAccountTokenCacheType:
		return fmt.Errorf("tokenAttributes.cacheType %q is neither Token nor ServiceAccount", t.CacheType)
	case t.RequireServiceAccount == nil:
		return fmt.Errorf("tokenAttributes.requireServiceAccount must be given")
	case !*t.RequireServiceAccount && len(t.RequiredServiceAccountAnnotationKeys) > 0:
		return fmt.Errorf("tokenAttributes.requiredServiceAccountAnnotationKeys need requireServiceAccount")
	}
	keys := map[string]bool{}
	for _, k := range slices.Concat(t.RequiredServiceAccountAnnotationKeys, t.OptionalServiceAccountAnnotationKeys) {
		if faults := validation.IsQualifiedName(strings.ToLower(k)); len(faults) > 0 {
			return fmt.Errorf("tokenAttributes: annotation key %q: %s", k, strings.Join(faults, "; "))
		}
		if keys[k] {
			return fmt.Errorf("tokenAttributes: annotation key %q is there twice", k)
		}
		keys[k] = true
	}
	return nil
}

// pick returns those of an account's annotations that the program is to see. missing
// is a required one that the account has not.
func pick(t *kubeletv1.ServiceAccountTokenAttributes, has map[string]string) (out map[string]string, missing string) {
	out = map[string]string{}
	for _, k := range slices.Concat(t.RequiredServiceAccountAnnotationKeys, t.OptionalServiceAccountAnnotationKeys) {
		v, ok := has[k]
		if ok {
			out[k] = v
		} else if slices.Contains(t.RequiredServiceAccountAnnotationKeys, k) {
			return nil, k
		}
	}
	return out, ""
}
