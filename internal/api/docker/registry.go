package docker

import (
	"encoding/json"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/api/docker/images"
	"trireme/internal/kind"
	ours "trireme/internal/object/swarm"
)

// authSuffix ends the name of the Secret with what a service's user showed to be passed on
// to registries.
const authSuffix = "-registry-auth"

// keepAuth keeps what the caller shows for the registry of the service's image beside the
// service, and returns the Secret's name; empty: nothing was shown.
func (c *call) keepAuth(s *ours.Service) (string, error) {
	a, err := images.Auth(c.Request)
	if a == nil || err != nil {
		return "", err
	}
	named, err := reference.ParseDockerRef(s.Spec.TaskTemplate.ContainerSpec.Image)
	if err != nil {
		return "", kind.New(kind.Invalid, "TaskTemplate.ContainerSpec.Image: %v", err)
	}
	b, err := json.Marshal(map[string]any{"auths": map[string]*registry.AuthConfig{reference.Domain(named): a}})
	if err != nil {
		return "", err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name + authSuffix}, Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: b},
	}
	secrets := c.typed().CoreV1().Secrets(s.Namespace)
	if s.UID != "" {
		secret.OwnerReferences = owned(s)
	}
	_, err = secrets.Create(c.Context(), secret, metav1.CreateOptions{FieldManager: "docker"})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(c.Context(), secret, metav1.UpdateOptions{FieldManager: "docker"})
	}
	return secret.Name, fromKubernetes(err)
}

// ownAuth has the secret go with the service, once that is there.
func (c *call) ownAuth(s *ours.Service, name string) error {
	if name == "" {
		return nil
	}
	secrets := c.typed().CoreV1().Secrets(s.Namespace)
	secret, err := secrets.Get(c.Context(), name, metav1.GetOptions{})
	if err != nil {
		return fromKubernetes(err)
	}
	secret.OwnerReferences = owned(s)
	_, err = secrets.Update(c.Context(), secret, metav1.UpdateOptions{FieldManager: "docker"})
	return fromKubernetes(err)
}

func owned(s *ours.Service) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: ours.Group.String(), Kind: ours.Kind.Kind, Name: s.Name, UID: s.UID}}
}
