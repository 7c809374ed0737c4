package dispatch_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// mirrorOf is a row that a node asks for; hash tells versions apart.
func mirrorOf(name, node, hash string) *corev1.Pod {
	p := pod(name, node)
	p.Annotations = map[string]string{object.StaticSource: "file", object.StaticHash: hash, corev1.MirrorPodAnnotationKey: hash}
	p.Spec = corev1.PodSpec{
		NodeName: node, RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSDefault,
		Containers: []corev1.Container{{Name: "c", Image: "i", ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePolicy: corev1.TerminationMessageReadFile}},
	}
	return p
}

// TestMirrors: the rows of a node's static pods come, come again when they are
// deleted, and go with their pods; a node gets no others.
func TestMirrors(t *testing.T) {
	m := newManager(t, time.Minute)
	m.update(func(tx *store.Tx) {
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		tables.Pods.Put(tx, pod("taken", "n1"))
	})
	a := m.agent("n1")
	reader, elsewhere := mirrorOf("reads", "n1", "1"), mirrorOf("far", "n2", "1")
	reader.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}}
	plain := pod("plain", "n1")
	a.ReportMirrors([]*corev1.Pod{mirrorOf("web", "n1", "1"), reader, elsewhere, plain, mirrorOf("taken", "n1", "1")})
	key := object.Key{Namespace: "default", Name: "web"}
	var uid types.UID
	m.await("the mirror", func(s *store.Snapshot) bool {
		p, ok := tables.Pods.Get(s, key)
		if ok {
			uid = p.UID
		}
		return ok && p.Spec.NodeName == "n1" && len(p.OwnerReferences) == 1 && p.OwnerReferences[0].Kind == "Node" && uid != ""
	})
	for _, name := range []string{"reads", "far", "plain"} {
		if _, ok := tables.Pods.Get(m.store.Snapshot(), object.Key{Namespace: "default", Name: name}); ok {
			t.Errorf("the node made the pod %s", name)
		}
	}
	if p, _ := tables.Pods.Get(m.store.Snapshot(), object.Key{Namespace: "default", Name: "taken"}); object.MirrorPod(p) {
		t.Error("a pod was replaced")
	}
	m.update(func(tx *store.Tx) {
		p, _ := tables.Pods.Get(tx, key)
		p = p.DeepCopy()
		now := metav1.Now()
		p.DeletionTimestamp = &now
		tables.Pods.Put(tx, p)
	})
	a.ReportMirrors([]*corev1.Pod{mirrorOf("web", "n1", "1")})
	m.await("another mirror", func(s *store.Snapshot) bool {
		p, ok := tables.Pods.Get(s, key)
		return ok && p.UID != uid && p.DeletionTimestamp == nil
	})
	a.ReportMirrors([]*corev1.Pod{mirrorOf("web", "n1", "2")})
	m.await("the mirror of another version", func(s *store.Snapshot) bool {
		p, ok := tables.Pods.Get(s, key)
		return ok && p.Annotations[corev1.MirrorPodAnnotationKey] == "2"
	})
	a.ReportMirrors(nil)
	m.await("none", func(s *store.Snapshot) bool { _, ok := tables.Pods.Get(s, key); return !ok })
	if _, ok := tables.Pods.Get(m.store.Snapshot(), object.Key{Namespace: "default", Name: "taken"}); !ok {
		t.Error("a pod that is no mirror was removed")
	}
}
