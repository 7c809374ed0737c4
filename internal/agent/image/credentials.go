package image

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-containerregistry/pkg/name"

	"trireme/internal/runtime"
)

// auth is one entry of a docker configuration file.
type auth struct {
	Username, Password, Auth string
	IdentityToken            string `json:"identitytoken"`
	RegistryToken            string `json:"registrytoken"`
}

// Credentials returns what the secrets hold for the reference's registry, the
// most exact match of each first. Secrets of other types are passed over; one
// that cannot be read is an error beside the rest.
func Credentials(ref string, secrets []*corev1.Secret) ([]runtime.Credentials, error) {
	parsed, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("reading image name %q: %w", ref, err)
	}
	repo := parsed.Context().RegistryStr() + "/" + parsed.Context().RepositoryStr()
	var out []runtime.Credentials
	var wrong error
	for _, s := range secrets {
		auths, err := authsOf(s)
		if err != nil {
			wrong = fmt.Errorf("reading pull secret %s/%s: %w", s.Namespace, s.Name, err)
			continue
		}
		best, bestLen := runtime.Credentials{}, -1
		for server, a := range auths {
			if n := Match(server, repo); n > bestLen {
				c, err := a.credentials()
				if err != nil {
					wrong = fmt.Errorf("reading pull secret %s/%s: %s: %w", s.Namespace, s.Name, server, err)
					continue
				}
				best, bestLen = c, n
			}
		}
		if bestLen >= 0 {
			out = append(out, best)
		}
	}
	return out, wrong
}

func authsOf(s *corev1.Secret) (map[string]auth, error) {
	var auths map[string]auth
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct{ Auths map[string]auth }
		err := json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &file)
		return file.Auths, err
	case corev1.SecretTypeDockercfg:
		err := json.Unmarshal(s.Data[corev1.DockerConfigKey], &auths)
		return auths, err
	}
	return nil, nil
}

func (a auth) credentials() (runtime.Credentials, error) {
	c := runtime.Credentials{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if a.Auth == "" {
		return c, nil
	}
	b, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return c, fmt.Errorf("auth: %w", err)
	}
	user, password, ok := strings.Cut(string(b), ":")
	if !ok {
		return c, errors.New("auth is not user:password")
	}
	c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	return c, nil
}

// dockerHub is what the field's names for Docker's registry stand for.
const dockerHub = "index.docker.io"

// Match returns how much of repo the server names, -1 if it is another. Each
// part of the host may be a pattern; the path must be a prefix (Kubernetes,
// "Interpretation of config.json").
func Match(server, repo string) int {
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	server = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(server, "/"), "/v1"), "/v2")
	host, dir, _ := strings.Cut(server, "/")
	repoHost, repoPath, _ := strings.Cut(repo, "/")
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = dockerHub
	}
	want, have := strings.Split(host, "."), strings.Split(repoHost, ".")
	if len(want) != len(have) {
		return -1
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return -1
		}
	}
	if dir != "" && repoPath != dir && !strings.HasPrefix(repoPath, dir+"/") {
		return -1
	}
	return len(dir)
}
