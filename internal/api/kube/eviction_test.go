package kube_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/disruption"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// guarded is a door with n ready pods on a node and a budget over them.
type guarded struct {
	*door
	client kubernetes.Interface
	runner *loop.Runner
}

func guard(t *testing.T, pods []string, b *policyv1.PodDisruptionBudget) *guarded {
	t.Helper()
	d := serve(t)
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	b.Namespace, b.Name = "default", "b"
	b.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	if _, err := client.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = d.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, name := range pods {
			tables.Pods.Put(tx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{NodeName: "n1"},
				Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return &guarded{d, client, loop.New(d.store, loop.Config{}, disruption.New())}
}

func (g *guarded) tick(t *testing.T) {
	t.Helper()
	if _, _, err := g.runner.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (g *guarded) evict(ctx context.Context, name string, opts *metav1.DeleteOptions) error {
	e := &policyv1.Eviction{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "Eviction"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, DeleteOptions: opts,
	}
	// The library would try again by itself.
	return g.client.CoreV1().RESTClient().Post().MaxRetries(0).Namespace("default").Resource("pods").Name(name).SubResource("eviction").Body(e).Do(ctx).Error()
}

// wantGuarded checks the answer of a refused eviction, as clients such as kubectl drain
// read it.
func wantGuarded(t *testing.T, err error, why string) {
	t.Helper()
	st, ok := err.(apierrors.APIStatus)
	if !ok || !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "Cannot evict pod as it would violate the pod's disruption budget.") {
		t.Fatalf("answer %v", err)
	}
	causes := st.Status().Details.Causes
	if len(causes) != 1 || causes[0].Type != policyv1.DisruptionBudgetCause || causes[0].Message != why {
		t.Errorf("causes %+v, want %q", causes, why)
	}
}

func least(n int) *policyv1.PodDisruptionBudget {
	v := intstr.FromInt32(int32(n))
	return &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &v}}
}

func TestEviction(t *testing.T) {
	g := guard(t, []string{"a", "b", "c"}, least(2))
	wantGuarded(t, g.evict(t.Context(), "a", nil), "The disruption budget b is still being processed by the server.")
	g.tick(t)
	if err := g.evict(t.Context(), "a", &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	other := metav1.NewUIDPreconditions("other")
	if err := g.evict(t.Context(), "a", &metav1.DeleteOptions{Preconditions: other}); !apierrors.IsConflict(err) {
		t.Errorf("a precondition that does not hold: %v", err)
	}
	if err := g.evict(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	pod, _ := tables.Pods.Get(g.store.Head(), key("a"))
	if c := object.PodCondition(pod, corev1.DisruptionTarget); pod.DeletionTimestamp == nil || c == nil || c.Reason != "EvictionByEvictionAPI" {
		t.Errorf("the evicted pod: deletion %v, condition %+v", pod.DeletionTimestamp, c)
	}
	b, _ := tables.PodDisruptionBudgets.Get(g.store.Head(), key("b"))
	if _, named := b.Status.DisruptedPods["a"]; b.Status.DisruptionsAllowed != 0 || !named {
		t.Errorf("the budget after it: %+v", b.Status)
	}
	wantGuarded(t, g.evict(t.Context(), "b", nil), "The disruption budget b needs 2 healthy pods and has 3 currently")
	g.tick(t)
	wantGuarded(t, g.evict(t.Context(), "b", nil), "The disruption budget b needs 2 healthy pods and has 2 currently")
	if err := g.evict(t.Context(), "nobody", nil); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}
	if err := g.evict(t.Context(), "a", nil); err != nil {
		t.Errorf("a pod that is to go anyway: %v", err)
	}
}

// TestEvictionsAreAtomic: of many at once, the budget lets through what it allows.
func TestEvictionsAreAtomic(t *testing.T) {
	names := strings.Fields("a b c d e f g h i j k l m n o p")
	g := guard(t, names, least(len(names)-3))
	g.tick(t)
	var wg sync.WaitGroup
	var went atomic.Int32
	for _, name := range names {
		wg.Go(func() {
			if err := g.evict(context.Background(), name, nil); err == nil {
				went.Add(1)
			}
		})
	}
	wg.Wait()
	if n := went.Load(); n != 3 {
		t.Errorf("%d evictions went through, want 3", n)
	}
}

// TestUnhealthyEviction: a pod that is not ready harms nobody's budget, depending on the
// policy.
func TestUnhealthyEviction(t *testing.T) {
	always := policyv1.AlwaysAllow
	for _, c := range []struct {
		name   string
		least  int
		policy *policyv1.UnhealthyPodEvictionPolicyType
		ok     bool
	}{
		{"budget met", 1, nil, true},
		{"budget not met", 2, nil, false},
		{"always", 2, &always, true},
	} {
		b := least(c.least)
		b.Spec.UnhealthyPodEvictionPolicy = c.policy
		g := guard(t, []string{"a", "sick"}, b)
		if _, err := g.store.Update(t.Context(), func(tx *store.Tx) error {
			pod, _ := tables.Pods.Get(tx, key("sick"))
			next := pod.DeepCopy()
			next.Status.Conditions = nil
			tables.Pods.Put(tx, next)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		g.tick(t)
		if err := g.evict(t.Context(), "sick", nil); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func key(name string) object.Key { return object.Key{Namespace: "default", Name: name} }
