package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// token adds a service account's token. Where none can be had now, the one that
// lies at old stays: it may be good for a while, and a pod that runs is not stopped
// because no manager answers.
func (m *Manager) token(files map[string]file, pod *corev1.Pod, src *corev1.ServiceAccountTokenProjection, old string, mode int32) error {
	if m.give.Tokens == nil {
		return fmt.Errorf("this node gets no tokens of service accounts")
	}
	f := credential(pod, mode)
	token, _, err := m.give.Tokens.Token(pod, src)
	f.data = []byte(token)
	if err != nil {
		var missing error
		if f.data, missing = os.ReadFile(old); missing != nil {
			return fmt.Errorf("fetching a token of service account %q: %w", pod.Spec.ServiceAccountName, err)
		}
	}
	return add(files, src.Path, f)
}

// user returns the user that all containers of the pod run as, nil where they
// differ or do not say.
func user(pod *corev1.Pod) *int64 {
	var one *int64
	for i, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		var own *int64
		if sc := pod.Spec.SecurityContext; sc != nil {
			own = sc.RunAsUser
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			own = c.SecurityContext.RunAsUser
		}
		if own == nil || (i > 0 && *own != *one) {
			return nil
		}
		one = own
	}
	return one
}

// credential returns a file that is for the pod's own user and group, where they are
// known, and nobody else.
func credential(pod *corev1.Pod, mode int32) file {
	f := file{mode: mode, uid: user(pod)}
	if f.uid != nil || group(pod) != nil {
		f.mode = 0o600
	}
	return f
}

// certified names the source that asks for a certificate.
type certified struct {
	pod    *corev1.Pod
	volume *corev1.Volume
	source int
}

// certificate adds a key and the chain that a signer made for it: in one file, in two,
// or in both ways (API reference, PodCertificateProjection). Where none can be had now,
// what lies there stays, as with tokens.
func (m *Manager) certificate(files map[string]file, c certified, src *corev1.PodCertificateProjection) error {
	if m.give.Certificates == nil {
		return fmt.Errorf("this node gets no certificates of pods")
	}
	f := credential(c.pod, modeOf(c.volume.Projected.DefaultMode))
	if src.User != nil {
		f.uid = src.User
	}
	key, chain, err := m.give.Certificates.Certificate(c.pod, c.volume.Name, c.source, src)
	for _, one := range []struct {
		path string
		data []byte
	}{
		{src.CredentialBundlePath, slices.Concat(key, chain)}, {src.KeyPath, key}, {src.CertificateChainPath, chain},
	} {
		if one.path == "" {
			continue
		}
		f.data = one.data
		if err != nil {
			var missing error
			if f.data, missing = os.ReadFile(filepath.Join(m.dir(c.pod.UID, "projected", c.volume.Name), one.path)); missing != nil {
				return err
			}
		}
		if err := add(files, one.path, f); err != nil {
			return err
		}
	}
	return nil
}
