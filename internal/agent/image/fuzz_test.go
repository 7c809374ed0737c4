package image

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// FuzzCredentials: any pull secret is read or refused, for any image.
func FuzzCredentials(f *testing.F) {
	f.Add([]byte(`{"auths":{"docker.io":{"auth":"dTpw"}}}`), "docker.io/library/web")
	f.Add([]byte(`{"https://*.example.com/v2/":{"username":"u","auth":"="}}`), "a.example.com/x")
	f.Add([]byte(`{"auths":null}`), "")
	f.Fuzz(func(t *testing.T, data []byte, repo string) {
		for kind, key := range map[corev1.SecretType]string{
			corev1.SecretTypeDockerConfigJson: corev1.DockerConfigJsonKey, corev1.SecretTypeDockercfg: corev1.DockerConfigKey,
		} {
			auths, err := authsOf(&corev1.Secret{Type: kind, Data: map[string][]byte{key: data}})
			if err != nil {
				continue
			}
			for server, a := range auths {
				n := Match(server, repo)
				if n > len(repo) {
					t.Errorf("%q names %d bytes of %q", server, n, repo)
				}
				_, _ = a.credentials() // an error is as good
			}
		}
	})
}
