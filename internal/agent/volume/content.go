package volume

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode int32
	uid  *int64 // its owner; nil: root
	gid  *int64 // its group; nil: root, or the pod's
}

const defaultMode = 0o644

// content returns what the volume holds by path, and the kind whose folder it
// lies in: empty where the volume takes nothing from objects.
func (m *Manager) content(pod *corev1.Pod, v *corev1.Volume) (kind string, files map[string]file, err error) {
	kind, files, err = m.read(pod, v)
	if err != nil || kind == "" {
		return kind, files, err
	}
	return kind, files, own(files, pod, v.Name)
}

func (m *Manager) read(pod *corev1.Pod, v *corev1.Volume) (kind string, files map[string]file, err error) {
	files = map[string]file{}
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return "configmap", files, m.configMap(files, source{pod.Namespace, s.Name, s.Items, s.Optional, modeOf(s.DefaultMode)})
	case v.Secret != nil:
		s := v.Secret
		return "secret", files, m.secret(files, source{pod.Namespace, s.SecretName, s.Items, s.Optional, modeOf(s.DefaultMode)})
	case v.DownwardAPI != nil:
		return "downward-api", files, m.downward(files, pod, v.DownwardAPI.Items, modeOf(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		return "projected", files, m.projected(files, pod, v)
	}
	return "", nil, nil
}

func modeOf(m *int32) int32 {
	if m == nil {
		return defaultMode
	}
	return *m
}

// source is what configMaps and secrets have in common, as volumes and as parts
// of projected ones.
type source struct {
	namespace, name string
	items           []corev1.KeyToPath
	optional        *bool
	mode            int32
}

func (s source) may() bool { return s.optional != nil && *s.optional }

func (m *Manager) configMap(files map[string]file, s source) error {
	cm, ok := m.objects.ConfigMap(object.Key{Namespace: s.namespace, Name: s.name})
	if !ok {
		if s.may() {
			return nil
		}
		return fmt.Errorf("configmap %q not found", s.name)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	maps.Copy(data, cm.BinaryData)
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	return s.pick(files, data)
}

func (m *Manager) secret(files map[string]file, s source) error {
	o, ok := m.objects.Secret(object.Key{Namespace: s.namespace, Name: s.name})
	if !ok {
		if s.may() {
			return nil
		}
		return fmt.Errorf("secret %q not found", s.name)
	}
	return s.pick(files, o.Data)
}

func (s source) pick(files map[string]file, data map[string][]byte) error {
	if len(s.items) == 0 {
		for _, k := range slices.Sorted(maps.Keys(data)) {
			if err := add(files, k, file{data: data[k], mode: s.mode}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range s.items {
		b, ok := data[item.Key]
		if !ok {
			if s.may() {
				continue
			}
			return fmt.Errorf("references non-existent config key: %s", item.Key)
		}
		mode := s.mode
		if item.Mode != nil {
			mode = *item.Mode
		}
		if err := add(files, item.Path, file{data: b, mode: mode}); err != nil {
			return err
		}
	}
	return nil
}

// add refuses a path that would leave the volume, whoever let it through.
func add(files map[string]file, name string, f file) error {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || clean == "." || clean == ".." || strings.HasPrefix(clean, "..") {
		return fmt.Errorf("invalid path %q: it must be relative, below the volume, and not begin with '..'", name)
	}
	files[clean] = f
	return nil
}

func (m *Manager) downward(files map[string]file, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode int32) error {
	n := m.node()
	for i := range items {
		item := &items[i]
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = n.Field(pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = n.Resource(pod, "", item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		fileMode := mode
		if item.Mode != nil {
			fileMode = *item.Mode
		}
		if err := add(files, item.Path, file{data: []byte(value), mode: fileMode}); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) projected(files map[string]file, pod *corev1.Pod, v *corev1.Volume) error {
	p := v.Projected
	mode := modeOf(p.DefaultMode)
	for i := range p.Sources {
		var err error
		switch s := &p.Sources[i]; {
		case s.ConfigMap != nil:
			err = m.configMap(files, source{pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, mode})
		case s.Secret != nil:
			err = m.secret(files, source{pod.Namespace, s.Secret.Name, s.Secret.Items, s.Secret.Optional, mode})
		case s.DownwardAPI != nil:
			err = m.downward(files, pod, s.DownwardAPI.Items, mode)
		case s.ClusterTrustBundle != nil:
			err = m.trustBundle(files, s.ClusterTrustBundle, mode)
		case s.ServiceAccountToken != nil:
			err = m.token(files, pod, s.ServiceAccountToken, filepath.Join(m.dir(pod.UID, "projected", v.Name), s.ServiceAccountToken.Path), mode)
		case s.PodCertificate != nil:
			err = m.certificate(files, certified{pod, v, i}, s.PodCertificate)
		default:
			err = fmt.Errorf("a projected source that this node does not serve: it knows configMap, secret, downwardAPI, clusterTrustBundle, serviceAccountToken and podCertificate")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
