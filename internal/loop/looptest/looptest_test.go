package looptest_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// namer gives every namespace a config map that carries its name.
type namer struct{}

func (namer) Name() string            { return "test/namer" }
func (namer) Reads() []store.TableID  { return []store.TableID{tables.Namespaces.ID()} }
func (namer) Writes() []store.TableID { return []store.TableID{tables.ConfigMaps.ID()} }

func (namer) Reconcile(tx *store.Tx) (time.Time, error) {
	for key := range tables.Namespaces.Changed(tx) {
		to := object.Key{Namespace: key.Name, Name: "about"}
		if _, ok := tables.Namespaces.Row(tx, key); !ok {
			tables.ConfigMaps.Delete(tx, to)
			continue
		}
		if _, ok := tables.ConfigMaps.Row(tx, to); !ok {
			tables.ConfigMaps.Put(tx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: to.Namespace, Name: to.Name}, Data: map[string]string{"name": key.Name},
			})
		}
	}
	return time.Time{}, nil
}

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", tables.All(), func() []loop.Reconciler { return []loop.Reconciler{namer{}} })
}
