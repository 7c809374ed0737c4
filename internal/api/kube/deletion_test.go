package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func seconds(n int64) *int64 { return &n }

// TestDeleteAgrees checks that a DELETE through the door, where the library
// decides, and object.Deletion, which loops and other doors use, do the same.
func TestDeleteAgrees(t *testing.T) {
	h := newHandler(t)
	type change = func(p *corev1.Pod)
	bound := func(p *corev1.Pod) { p.Spec.NodeName = "n" }
	ended := func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = "n", corev1.PodSucceeded }
	held := func(p *corev1.Pod) { p.Finalizers = []string{"x.y/z"} }
	short := func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = seconds(7) }
	marked := func(p *corev1.Pod) {
		at := metav1.NewTime(time.Now().Add(20 * time.Second))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, seconds(30)
	}
	for _, c := range []struct {
		name   string
		pod    []change
		grace  *int64
		policy metav1.DeletionPropagation
	}{
		{name: "unbound"},
		{name: "bound", pod: []change{bound}},
		{name: "own grace", pod: []change{bound, short}},
		{name: "now", pod: []change{bound}, grace: seconds(1)},
		{name: "force", pod: []change{bound}, grace: seconds(0)},
		{name: "force held", pod: []change{bound, held}, grace: seconds(0)},
		{name: "negative", pod: []change{bound}, grace: seconds(-3)},
		{name: "ended", pod: []change{ended}},
		{name: "held", pod: []change{held}},
		{name: "bound and held", pod: []change{bound, held}},
		{name: "again", pod: []change{bound, marked}},
		{name: "again, shorter", pod: []change{bound, marked}, grace: seconds(5)},
		{name: "again, in time", pod: []change{bound, marked}, grace: seconds(20)},
		{name: "again, longer", pod: []change{bound, marked}, grace: seconds(500)},
		{name: "again, by force", pod: []change{bound, marked}, grace: seconds(0)},
		{name: "orphan", policy: metav1.DeletePropagationOrphan},
		{name: "orphan bound", pod: []change{bound}, policy: metav1.DeletePropagationOrphan},
		{name: "foreground", pod: []change{bound}, policy: metav1.DeletePropagationForeground},
		{name: "background", pod: []change{bound, held}, policy: metav1.DeletePropagationBackground},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Generation: 1}}
			for _, f := range c.pod {
				f(pod)
			}
			write(t, h.store, func(tx *store.Tx) { tables.Pods.Put(tx, pod) })
			defer write(t, h.store, func(tx *store.Tx) { tables.Pods.Delete(tx, key(pod)) })
			before, _ := tables.Pods.Get(h.store.Snapshot(), key(pod))
			want := before.DeepCopy()
			removed, _ := object.Deletion{Now: time.Now(), Policy: c.policy, GraceSeconds: c.grace}.Mark(want)

			opts := metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}, GracePeriodSeconds: c.grace}
			if c.policy != "" {
				opts.PropagationPolicy = &c.policy
			}
			body, err := json.Marshal(opts)
			if err != nil {
				t.Fatal(err)
			}
			if w := h.do("DELETE", "/api/v1/namespaces/default/pods/p", medias[0], string(body)); w.Code != 200 && w.Code != 202 {
				t.Fatalf("%d: %s", w.Code, w.Body)
			}
			got, ok := tables.Pods.Get(h.store.Snapshot(), key(pod))
			if ok == removed {
				t.Fatalf("removed: %v at the door, %v by Mark", !ok, removed)
			}
			if ok && says(got) != says(want) {
				t.Errorf("the door says %s, Mark says %s", says(got), says(want))
			}
		})
	}
}

// TestDeleteNamespace checks that a namespace is marked and closed to new
// objects, under the conditions the caller set, and stays until it is finalized.
func TestDeleteNamespace(t *testing.T) {
	h := newHandler(t)
	const path = "/api/v1/namespaces"
	if w := h.do("POST", path, medias[0], `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}`); w.Code != 201 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	for _, step := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"DELETE", path + "/a", `{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"other"}}`, 409, "UID"},
		{"DELETE", path + "/a", `{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"resourceVersion":"1"}}`, 409, "ResourceVersion"},
		{"DELETE", path + "/a?dryRun=All", "", 200, "Active"},
		{"DELETE", path + "/a", "", 200, `"phase":"Terminating"`},
		{"DELETE", path + "/a", "", 200, `"phase":"Terminating"`},
		{"POST", path + "/a/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`, 403, "being terminated"},
		{"POST", path + "/a/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`, 403, `"reason":"NamespaceTerminating"`},
		{"PUT", path + "/a/finalize", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"},"spec":{}}`, 200, ""},
		{"GET", path + "/a", "", 404, ""},
		{"DELETE", path + "/a", "", 404, `namespaces \"a\" not found`},
	} {
		w := h.do(step.method, step.path, medias[0], step.body)
		if w.Code != step.code || !strings.Contains(w.Body.String(), step.want) {
			t.Errorf("%s %s: %d, want %d with %q: %s", step.method, step.path, w.Code, step.code, step.want, w.Body)
		}
	}
}

// says is what a deletion left on an object; times to 5 s, as the two run one
// after the other.
func says(p *corev1.Pod) string {
	grace, in := int64(-1), time.Duration(-1)
	if g := p.DeletionGracePeriodSeconds; g != nil {
		grace = *g
	}
	if at := p.DeletionTimestamp; at != nil {
		in = time.Until(at.Time).Round(5 * time.Second)
	}
	return fmt.Sprintf("grace %d, in %v, finalizers %v, generation %d", grace, in, p.Finalizers, p.Generation)
}

func key(o store.Object) object.Key {
	return object.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func write(t *testing.T, s *store.Store, f func(tx *store.Tx)) {
	t.Helper()
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}
