package looptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// planted is a loop with a defect.
type planted struct {
	namer
	step func(tx *store.Tx)
}

func (p planted) Reads() []store.TableID {
	return []store.TableID{tables.Namespaces.ID(), tables.ConfigMaps.ID()}
}

func (p planted) Reconcile(tx *store.Tx) (time.Time, error) {
	p.step(tx)
	return time.Time{}, nil
}

// caught is the failure of a test under test.
type caught struct{ text string }

type spy struct{ testing.TB }

func (spy) Fatalf(format string, args ...any) { panic(caught{fmt.Sprintf(format, args...)}) }
func (s spy) Fatal(args ...any)               { panic(caught{fmt.Sprint(args...)}) }

func config(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"v": value}}
}

// TestCheckCatches plants a defect of each kind that Check is there to find.
func TestCheckCatches(t *testing.T) {
	const script = "-- put --\n{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n-- settle --\n"
	n := 0
	tests := []struct {
		defect, want string
		step         func(tx *store.Tx)
	}{
		{"never at rest", "do not come to rest", func(tx *store.Tx) {
			n++
			tables.ConfigMaps.Put(tx, config("c", fmt.Sprint(n)))
		}},
		{"writes what stands there on a full pass", "wrote at rest", func(tx *store.Tx) {
			if tx.FullPass() {
				tables.ConfigMaps.Put(tx, config("c", "same"))
			}
		}},
		{"depends on the order of a map", "other rows", func(tx *store.Tx) {
			m := map[string]bool{}
			for i := range 100 {
				m[fmt.Sprint(i)] = true
			}
			for k := range m {
				if tables.ConfigMaps.Len(tx) == 0 {
					tables.ConfigMaps.Put(tx, config("c", k))
				}
			}
		}},
		{"writes what it does not declare", "does not declare", func(tx *store.Tx) {
			tables.Secrets.Put(tx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.defect, func(t *testing.T) {
			defer func() {
				if c, ok := recover().(caught); !ok || !strings.Contains(c.text, tt.want) {
					t.Errorf("Check said %q, want something with %q", c.text, tt.want)
				}
			}()
			looptest.Check(spy{t}, script, tables.All(), func() []loop.Reconciler { return []loop.Reconciler{planted{step: tt.step}} })
		})
	}
}
