package agent

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/assigned"
	"trireme/internal/agent/image"
	"trireme/internal/agent/provider"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// credentials returns what the pod's pull secrets and its service account's hold
// for the image's registry.
func (a *Agent) credentials(pod *corev1.Pod, ref string) []runtime.Credentials {
	refs := slices.Clone(pod.Spec.ImagePullSecrets)
	sa, ok := assigned.Get[*corev1.ServiceAccount](a.objects, "serviceaccounts", object.Key{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName})
	if ok {
		refs = append(refs, sa.ImagePullSecrets...)
	}
	var secrets []*corev1.Secret
	for _, r := range refs {
		if s, ok := a.objects.Secret(object.Key{Namespace: pod.Namespace, Name: r.Name}); ok {
			secrets = append(secrets, s)
		}
	}
	if len(secrets) == 0 {
		return nil
	}
	creds, err := image.Credentials(ref, secrets)
	if err != nil {
		a.cfg.Log.Warn("reading pull secrets", "pod", object.KeyOf(pod).String(), "err", err)
	}
	return creds
}

// pull is how an image is brought for a pod.
func (a *Agent) pull(pod *corev1.Pod, ref string, policy corev1.PullPolicy) image.Request {
	return image.Request{
		Ref: ref, Policy: policy, Credentials: a.credentials(pod, ref), Asker: a.providers.Asker(pod),
		Provide: func(ctx context.Context) ([]runtime.Credentials, error) {
			return a.providers.Credentials(ctx, ref, pod)
		},
	}
}

// openProviders reads which programs know registries' credentials.
func (a *Agent) openProviders() (err error) {
	if a.cfg.CredentialProviders.Path == "" {
		return nil
	}
	cfg := a.cfg.CredentialProviders
	cfg.Account = func(pod *corev1.Pod) (*corev1.ServiceAccount, bool) {
		return assigned.Get[*corev1.ServiceAccount](a.objects, "serviceaccounts", object.Key{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName})
	}
	cfg.Token = func(pod *corev1.Pod, audience string) (string, error) {
		token, _, err := a.keeper.Token(pod, &corev1.ServiceAccountTokenProjection{Audience: audience}) // for an hour: what managers grant nodes
		return token, err
	}
	a.providers, err = provider.Open(cfg)
	return err
}

// layers brings the images of volumes.
type layers struct{ a *Agent }

// Layers implements volume.Images.
func (l layers) Layers(pod *corev1.Pod, src *corev1.ImageVolumeSource, holder string) ([]string, error) {
	ctx := l.a.runContext()
	img, err := l.a.images.Ensure(ctx, l.a.pull(pod, src.Reference, src.PullPolicy))
	if err != nil {
		return nil, err
	}
	return l.a.cfg.Runtime.HoldLayers(ctx, img.ID, holder)
}

// Release implements volume.Images.
func (l layers) Release(holder string) error {
	return l.a.cfg.Runtime.ReleaseLayers(l.a.runContext(), holder)
}
