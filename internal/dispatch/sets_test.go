package dispatch_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestLargeSet checks that a set of many messages arrives as one, whole tables
// with it.
func TestLargeSet(t *testing.T) {
	m := newManager(t, time.Minute)
	const n = 30
	m.update(func(tx *store.Tx) {
		for i := range n {
			name := fmt.Sprint("s", i)
			tables.Secrets.Put(tx, secret(name, strings.Repeat("x", 100<<10)))
			tables.Pods.Put(tx, pod(fmt.Sprint("p", i), "n1", withSecret(name)))
			tables.Services.Put(tx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
		}
	})
	a := m.agent("n1", "services")
	full, items := a.next()
	if !full || len(items) != 3*n {
		t.Fatalf("full = %t with %d objects, want %d", full, len(items), 3*n)
	}
	m.update(func(tx *store.Tx) { tables.Services.Delete(tx, object.Key{Namespace: "default", Name: "s0"}) })
	if i := a.drainUntil("services default/s0"); !i.Deleted {
		// A full set may have come once more at the start; the deletion follows it.
		for !a.drainUntil("services default/s0").Deleted {
		}
	}
}

// TestSecretsAreNotGivenWhole checks that a node cannot ask for all secrets.
func TestSecretsAreNotGivenWhole(t *testing.T) {
	m := newManager(t, time.Minute)
	cert, pool := m.identity("n1")
	if err := m.session(cert, pool, "n1", "secrets"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("asking for all secrets: %v", err)
	}
}

// TestSharedReference checks that an object stays while one pod of two needs it,
// and that a pod replaced under its name brings what the new one refers to.
func TestSharedReference(t *testing.T) {
	m := newManager(t, time.Minute)
	m.update(func(tx *store.Tx) {
		tables.Secrets.Put(tx, secret("s", "1"))
		tables.Secrets.Put(tx, secret("t", "1"))
		tables.Pods.Put(tx, pod("a", "n1", withSecret("s")))
		tables.Pods.Put(tx, pod("b", "n1", withSecret("s")))
	})
	a := m.agent("n1")
	a.drainUntil("secrets default/s")
	m.awaitReady("n1", corev1.ConditionTrue)
	m.update(func(tx *store.Tx) { // one transaction: gone and there again
		tables.Pods.Delete(tx, podKey)
		tables.Pods.Put(tx, pod("a", "n1", withSecret("t")))
	})
	full, items := a.next()
	for ; full; full, items = a.next() {
	}
	if len(items) != 2 || items["pods default/a"].Deleted || items["secrets default/t"].Object == nil {
		t.Errorf("after the replacement came %v", items)
	}
	m.update(func(tx *store.Tx) { tables.Pods.Delete(tx, object.Key{Namespace: "default", Name: "b"}) })
	if _, items = a.next(); len(items) != 2 || !items["secrets default/s"].Deleted {
		t.Errorf("after the last pod with the secret came %v", items)
	}
}

// TestVolumeWithoutPods checks that a volume which lies on the node is not said to
// have gone when the last pod that used it goes: the agent would remove its data.
func TestVolumeWithoutPods(t *testing.T) {
	m := newManager(t, time.Minute)
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "v", Annotations: map[string]string{claim.ProvisionedBy: claim.LocalProvisioner, claim.SelectedNode: "n1"}},
		Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/v"}}},
	}
	a := m.agent("n1")
	m.awaitReady("n1", corev1.ConditionTrue)
	m.update(func(tx *store.Tx) {
		tables.PersistentVolumeClaims.Put(tx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"},
		})
		p := pod("a", "n1")
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"},
		}}}
		tables.Pods.Put(tx, p)
	})
	a.drainUntil("persistentvolumeclaims default/c")
	m.update(func(tx *store.Tx) { tables.PersistentVolumes.Put(tx, v) }) // a pod waits for it
	a.drainUntil("persistentvolumes v")
	m.update(func(tx *store.Tx) { tables.Pods.Delete(tx, podKey) })
	for gone := false; !gone; {
		_, items := a.next()
		gone = items["persistentvolumeclaims default/c"].Deleted
		if i, ok := items["persistentvolumes v"]; ok && i.Deleted {
			t.Error("the volume was said to have gone")
		}
	}
	m.update(func(tx *store.Tx) { tables.PersistentVolumes.Delete(tx, object.Key{Name: "v"}) })
	if i := a.drainUntil("persistentvolumes v"); !i.Deleted {
		t.Errorf("the volume that is gone came as %v", i)
	}
}

// TestReplacedSession checks that a node's newer session ends the older one, and
// that the older one's end does not make the node look away.
func TestReplacedSession(t *testing.T) {
	m := newManager(t, 400*time.Millisecond)
	cert, pool := m.identity("n1")
	ended := make(chan error, 1)
	first := make(chan struct{})
	go func() { ended <- m.hold(cert, pool, "n1", first) }()
	<-first
	second := m.agentAs(cert, pool, "n1")
	second.next()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "newer session") {
		t.Errorf("the first session ended with %v", err)
	}
	if n := m.d.Sessions(); n != 1 {
		t.Errorf("%d sessions, want the newer one", n)
	}
}
