package policy

import (
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// What a pod finds of its service account, and where.
const (
	tokenMount   = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolume  = "kube-api-access-"
	tokenSeconds = 3607 // an hour and a sign that it was filled in (as Kubernetes' own)
	rootCA       = "kube-root-ca.crt"
)

// completeAccount gives a new pod what it gets of its service account: the secrets its
// images are pulled with, and, unless one of the two opts out, a volume with a
// token, the authority and the namespace, in every container (Kubernetes,
// "Managing Service Accounts", ServiceAccount admission controller). It refuses a
// pod whose account does not exist; but the account default is made by a loop, a
// moment after its namespace, and is not waited for.
func completeAccount(r store.Reader, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "default", "default"
	}
	name := pod.Spec.ServiceAccountName
	sa, ok := tables.ServiceAccounts.Get(r, object.Key{Namespace: pod.Namespace, Name: name})
	if !ok {
		if name != "default" {
			return denied("error looking up service account %s/%s: serviceaccount %q not found", pod.Namespace, name, name)
		}
		sa = &corev1.ServiceAccount{}
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, sa.ImagePullSecrets...)
	}
	if mounts(pod, sa) {
		mountToken(pod)
	}
	return nil
}

// mounts reports whether the pod gets a token: it says so itself, or its account
// does, or neither says anything.
func mounts(pod *corev1.Pod, sa *corev1.ServiceAccount) bool {
	if m := pod.Spec.AutomountServiceAccountToken; m != nil {
		return *m
	}
	if m := sa.AutomountServiceAccountToken; m != nil {
		return *m
	}
	return true
}

func mountToken(pod *corev1.Pod) {
	name, have := "", false
	for i := range pod.Spec.Volumes {
		if n := pod.Spec.Volumes[i].Name; strings.HasPrefix(n, tokenVolume) {
			name, have = n, true
		}
	}
	if !have {
		name = tokenVolume + suffix(pod)
	}
	used := false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if c := &list[i]; !mountsAt(c, tokenMount) {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMount})
				used = true
			}
		}
	}
	if used && !have {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenSources()}})
	}
}

func mountsAt(c *corev1.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		if m.MountPath == path {
			return true
		}
	}
	return false
}

func tokenSources() *corev1.ProjectedVolumeSource {
	mode, seconds := int32(0o644), int64(tokenSeconds)
	return &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: corev1.ServiceAccountTokenKey, ExpirationSeconds: &seconds}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCA},
				Items:                []corev1.KeyToPath{{Key: corev1.ServiceAccountRootCAKey, Path: corev1.ServiceAccountRootCAKey}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: corev1.ServiceAccountNamespaceKey, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}
}

// suffix makes the volume's name one of its own, out of what the pod is: the same
// pod gives the same name.
func suffix(pod *corev1.Pod) string {
	h := fnv.New64a()
	for _, s := range []string{pod.Namespace, "/", pod.Name, pod.GenerateName} {
		h.Write([]byte(s))
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		h.Write([]byte(ref.UID))
	}
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	out := make([]byte, 5)
	for i, n := 0, h.Sum64(); i < len(out); i++ {
		out[i] = alphabet[n%uint64(len(alphabet))]
		n /= uint64(len(alphabet))
	}
	return string(out)
}
