package admit

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// FuzzPath takes any JSON of every kind down the path of a write: what passes may be
// written back as it stands, with its status, and comes out of the cluster's rules and
// quotas stored or refused.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		`{"metadata":{"name":"a","namespace":"default"}}`,
		`{"metadata":{"name":"a","namespace":"default"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"9e9"}}}],"priorityClassName":"x"}}`,
		`{"metadata":{"name":"a","namespace":"default"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"-1"}}}}`,
		`{"metadata":{"name":"a"},"spec":{"hard":{"pods":"-1","count/x.y":"1"},"limits":[{"type":"Pod","max":{"cpu":"1"}}]}}`,
		`{"metadata":{"name":"a","namespace":"default"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}},"status":{"active":-1}}`,
		`{"metadata":{"name":"a","namespace":"default"},"spec":{"ports":[{"port":80}],"type":"NodePort"}}`,
	} {
		f.Add([]byte(seed))
	}
	s := ruled(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, table := range tables.All() {
			o := table.New()
			if json.Unmarshal(in, o) == nil {
				walk(t, s, table, o)
			}
		}
	})
}

// ruled returns a store with rules in its namespace.
func ruled(f *testing.F) *store.Store {
	n := 0
	s, err := store.Open(f.Context(), store.Config{Now: time.Now, NewID: func() types.UID { n++; return types.UID(fmt.Sprint(n)) }}, tables.Defs()...)
	if err != nil {
		f.Fatal(err)
	}
	some := corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"), "storage": resource.MustParse("1Gi")}
	_, err = s.Update(f.Context(), func(tx *store.Tx) error {
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}}})
		tables.LimitRanges.Put(tx, &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "l"},
			Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
				{Type: "Container", Max: some, Default: some, DefaultRequest: some}, {Type: "Pod", Max: some}, {Type: "PersistentVolumeClaim", Max: some},
			}},
		})
		tables.ResourceQuotas.Put(tx, &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
				"pods": resource.MustParse("1"), "limits.cpu": resource.MustParse("1"), "requests.storage": resource.MustParse("1Gi"),
				"services.nodeports": resource.MustParse("1"), "count/jobs.batch": resource.MustParse("1"),
			}},
		})
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// walk takes one object down the path; in the end nothing is stored.
func walk(t *testing.T, s *store.Store, table *store.Table[store.Object, any], o store.Object) {
	t.Helper()
	Default(o)
	PrepareCreate(o)
	if faults := Validate(o); len(faults) > 0 {
		return
	}
	o.SetResourceVersion("1")
	same := o.DeepCopyObject().(store.Object)
	PrepareUpdate(same, o)
	if faults := ValidateUpdate(same, o); len(faults) > 0 {
		t.Errorf("%T: one that may be made may not be written back: %v\n%s", o, faults.ToAggregate(), text(t, o))
	}
	PrepareStatus(same, o)
	if len(ValidateStatus(o)) == 0 {
		if faults := ValidateStatusUpdate(same, o); len(faults) > 0 {
			t.Errorf("%T: the status that it has may not be written back: %v\n%s", o, faults.ToAggregate(), text(t, o))
		}
	}
	done := fmt.Errorf("nothing is to be stored")
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		gr := policy.GroupResource(table)
		if err := Complete(tx, o, nil); err != nil {
			return done
		}
		if Check(tx, o, nil) != nil || Security(tx, o, nil).Refusal != nil {
			return done
		}
		if fits, books := Fits(tx, gr, o, nil), InTx(tx, gr, o, nil); books == nil && fits != nil {
			t.Errorf("%T: booked, and would not fit: %v\n%s", o, fits, text(t, o))
		}
		return done
	})
	if err != done {
		t.Errorf("%T: %v", o, err)
	}
}

func text(t *testing.T, o store.Object) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}
