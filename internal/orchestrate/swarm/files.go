package swarm

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// expandedMax is how much the templates of one task's files may come to, in bytes
// (Kubernetes, corev1.MaxSecretSize).
const expandedMax = corev1.MaxSecretSize

// observeFiles looks again at services that have secrets or configs of a namespace
// where one has changed.
func (l *Loop) observeFiles(tx *store.Tx) {
	changed := map[string]bool{}
	for key := range tables.Secrets.Changed(tx) {
		changed[key.Namespace] = true
	}
	for key := range tables.ConfigMaps.Changed(tx) {
		changed[key.Namespace] = true
	}
	var again []object.Key
	for key, svc := range l.services {
		if changed[key.Namespace] && len(svc.Refs()) > 0 {
			again = append(again, key)
		}
	}
	for _, key := range again {
		l.observeService(tx, key)
	}
}

// files tells the task where its secrets and configs are. What has templates is
// expanded into a Secret of the task's own, nil where nothing has, which is to be put
// once its pod is.
func (s *step) files(t *ours.Task) (*corev1.Secret, error) {
	if s.found == nil {
		found, missing := tables.SwarmFiles(s.tx, s.svc)
		if missing != nil {
			return nil, fmt.Errorf("TaskTemplate.ContainerSpec.%s: there is no %s %s (%s) in namespace %s", missing.Field, missing.Word(), missing.Name, missing.ID, s.key.Namespace)
		}
		for _, f := range found {
			s.found = append(s.found, *f)
		}
	}
	own := &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: map[string][]byte{}}
	own.Namespace, own.Name, own.Labels = s.key.Namespace, s.key.Name+"-files-"+t.ID, map[string]string{ours.ServiceLabel: s.key.Name}
	size := 0
	for i, f := range s.found {
		given := ours.Given{Config: f.Config, Name: f.Object.GetName(), Key: f.Key}
		if f.Templating() != nil {
			text, err := s.svc.Render(*t, s.found, i)
			if err != nil {
				return nil, fmt.Errorf("TaskTemplate.%w", err)
			}
			given = ours.Given{Name: own.Name, Key: strconv.Itoa(i)}
			own.Data[given.Key] = text
			size += len(text)
		}
		t.Files = append(t.Files, given)
	}
	switch {
	case size > expandedMax:
		return nil, fmt.Errorf("TaskTemplate.ContainerSpec: the templates of its secrets and configs come to %d bytes, more than the %d that one task may have", size, expandedMax)
	case len(own.Data) == 0:
		return nil, nil
	}
	return own, nil
}

// putFiles puts the Secret of a task's own, which goes with its pod.
func (s *step) putFiles(own *corev1.Secret, pod *corev1.Pod) {
	if own == nil {
		return
	}
	own.OwnerReferences = []metav1.OwnerReference{object.ControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))}
	tables.Secrets.Put(s.tx, own)
	s.room--
}
