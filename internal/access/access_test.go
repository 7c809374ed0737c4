package access_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/access"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func open(t testing.TB, f func(tx *store.Tx)) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, f)
	return s
}

func write(t testing.TB, s *store.Store, f func(tx *store.Tx)) {
	t.Helper()
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func role(tx *store.Tx, ns, name string, rules ...rbacv1.PolicyRule) {
	if ns == "" {
		tables.ClusterRoles.Put(tx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})
		return
	}
	tables.Roles.Put(tx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Rules: rules})
}

func bind(tx *store.Tx, ns, name, kind string, subjects ...rbacv1.Subject) {
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	if ns == "" {
		tables.ClusterRoleBindings.Put(tx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: subjects})
		return
	}
	tables.RoleBindings.Put(tx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, RoleRef: ref, Subjects: subjects})
}

func rule(verbs, group, resources, names, urls string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: strings.Fields(verbs), Resources: strings.Fields(resources), ResourceNames: strings.Fields(names), NonResourceURLs: strings.Fields(urls)}
	if resources != "" {
		r.APIGroups = []string{group}
	}
	return r
}

// TestAllows asks about one user with roles of every shape. A question is
// "verb group/resource[/sub] [namespace[/name]]" or "verb /path".
func TestAllows(t *testing.T) {
	jane := rbacv1.Subject{Kind: rbacv1.UserKind, Name: "jane"}
	s := open(t, func(tx *store.Tx) {
		role(tx, "a", "pods", rule("get list", "", "pods pods/log", "", ""))
		bind(tx, "a", "pods", "Role", jane)
		role(tx, "", "scale", rule("update", "*", "*/scale", "", ""), rule("get", "apps", "deployments", "one two", ""))
		bind(tx, "b", "scale", "ClusterRole", jane)
		role(tx, "", "urls", rule("get", "", "", "", "/logs/* /exact"), rule("*", "own.example.com", "*", "", ""))
		bind(tx, "", "urls", "ClusterRole", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "group"})
		bind(tx, "a", "lost", "Role", jane)
	})
	who := access.User{Name: "jane", Groups: []string{"other", "group"}}
	c := access.NewChecker(s)
	for q, want := range map[string]bool{
		"get /pods a": true, "get /pods a/x": true, "get /pods/log a/x": true, "list /pods a": true,
		"watch /pods a": false, "get /pods b": false, "get /pods": false, "get /pods/exec a/x": false, "get apps/pods a": false,
		"update apps/deployments/scale b/x": true, "update any.example.com/things/scale b/x": true,
		"update apps/deployments b/x": false, "update apps/deployments/scale a/x": false,
		"get apps/deployments b/one": true, "get apps/deployments b/three": false, "get apps/deployments b": false,
		"get /logs/": true, "get /logs/a/b": true, "get /logs": false, "get /exact": true, "get /exact/x": false, "put /exact": false,
		"burn own.example.com/things": true, "burn own.example.com/things/parts x/y": true, "burn example.com/things": false,
	} {
		r := parse(who, q)
		if got, reason := c.Allows(&r); got != want {
			t.Errorf("%s: %v, want %v (%s)", q, got, want, reason)
		}
	}
	r := parse(who, "get /nodes a")
	if _, reason := c.Allows(&r); !strings.Contains(reason, `role.rbac.authorization.k8s.io "lost" not found`) {
		t.Errorf("the reason does not name the role that is missing: %q", reason)
	}
	// What is taken away is gone at once.
	write(t, s, func(tx *store.Tx) { tables.RoleBindings.Delete(tx, object.Key{Namespace: "a", Name: "pods"}) })
	r = parse(who, "get /pods a")
	if got, _ := c.Allows(&r); got {
		t.Error("a binding that was deleted still allows")
	}
}

func parse(who access.User, q string) access.Request {
	f := strings.Fields(q)
	r := access.Request{User: who, Verb: f[0]}
	group, rest, _ := strings.Cut(f[1], "/")
	if strings.HasPrefix(f[1], "/logs") || strings.HasPrefix(f[1], "/exact") {
		r.Path = f[1]
		return r
	}
	r.APIGroup = group
	r.Resource, r.Subresource, _ = strings.Cut(rest, "/")
	if len(f) > 2 {
		r.Namespace, r.Name, _ = strings.Cut(f[2], "/")
		if r.Namespace == "-" {
			r.Namespace = ""
		}
	}
	return r
}

// TestNode asks what a node may do, with a pod on it that names objects.
func TestNode(t *testing.T) {
	s := open(t, func(tx *store.Tx) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{
			NodeName: "n1", ServiceAccountName: "robot", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			Containers: []corev1.Container{{Name: "c", EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}}}}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}}},
		}}
		tables.Pods.Put(tx, p)
		tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "other"}, Spec: corev1.PodSpec{NodeName: "n2"}})
		tables.PersistentVolumeClaims.Put(tx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "claim"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "vol"}})
	})
	c := access.NewChecker(s)
	who := access.User{Name: access.NodePrefix + "n1", Groups: []string{access.Nodes}}
	for q, want := range map[string]bool{
		"get /secrets a/pull": true, "watch /secrets a/pull": true, "get /secrets a/other": false, "list /secrets a": false, "get /secrets b/pull": false,
		"get /configmaps a/env": true, "update /configmaps a/env": false, "get /persistentvolumeclaims a/claim": true,
		"get /persistentvolumes -/vol": true, "get /persistentvolumes -/vol2": false,
		"create /serviceaccounts/token a/robot": true, "create /serviceaccounts/token a/default": false,
		"get /pods a/p": true, "get /pods a/other": false, "update /pods/status a/p": true, "update /pods/status a/other": false, "update /pods a/p": false,
		"delete /pods a/p": true, "create /pods a": false, "list /pods": false, "create /pods/eviction a/p": true, "create /pods/exec a/p": false,
		"update /nodes/status -/n1": true, "update /nodes/status -/n2": false, "update /nodes -/n1": false, "get /nodes -/n1": true, "list /nodes": true,
		"update coordination.k8s.io/leases kube-node-lease/n1": true, "update coordination.k8s.io/leases kube-node-lease/n2": false,
		"list /services": true, "create /services a": false, "create /events a": true, "get rbac.authorization.k8s.io/roles a/r": false,
	} {
		r := parse(who, q)
		if got, reason := c.Allows(&r); got != want {
			t.Errorf("%s: %v, want %v (%s)", q, got, want, reason)
		}
	}
	own := access.Request{User: who, Verb: "watch", Resource: "pods", OnNode: "n1"}
	if got, _ := c.Allows(&own); !got {
		t.Error("a node may not watch its own pods")
	}
	// The name alone makes no node.
	r := parse(access.User{Name: who.Name}, "get /secrets a/pull")
	if got, _ := c.Allows(&r); got {
		t.Error("a user with a node's name and without its group is taken for the node")
	}
}

// TestBootstrap checks that a second start writes nothing, repairs what was taken
// away, and leaves alone what says so.
func TestBootstrap(t *testing.T) {
	s := open(t, access.Bootstrap)
	if rev, err := s.Update(t.Context(), func(tx *store.Tx) error {
		access.Bootstrap(tx)
		if n := tx.Writes(); n != 0 {
			t.Errorf("a second start writes %d rows", n)
		}
		return nil
	}); err != nil || rev != s.Snapshot().Rev() {
		t.Fatal(err)
	}
	key := object.Key{Name: "system:discovery"}
	write(t, s, func(tx *store.Tx) {
		r, _ := tables.ClusterRoles.Get(tx, key)
		r = r.DeepCopy()
		r.Rules = []rbacv1.PolicyRule{rule("get", "", "", "", "/mine")}
		tables.ClusterRoles.Put(tx, r)
		b, _ := tables.ClusterRoleBindings.Get(tx, object.Key{Name: "system:basic-user"})
		b = b.DeepCopy()
		b.Subjects, b.Annotations = nil, map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
		tables.ClusterRoleBindings.Put(tx, b)
	})
	write(t, s, access.Bootstrap)
	c := access.NewChecker(s)
	who := access.User{Name: "jane", Groups: []string{access.Authenticated}}
	for path, want := range map[string]bool{"/mine": true, "/apis/apps/v1": true, "/secret": false} {
		if got, reason := c.Allows(&access.Request{User: who, Verb: "get", Path: path}); got != want {
			t.Errorf("get %s: %v, want %v (%s)", path, got, want, reason)
		}
	}
	if got, _ := c.Allows(&access.Request{User: who, Verb: "create", APIGroup: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}); got {
		t.Error("a binding that says autoupdate=false was changed back")
	}
}

// BenchmarkAllows asks for an account with a role of its own, in a cluster of
// 1,000 namespaces with such accounts: the budget is 5 µs.
func BenchmarkAllows(b *testing.B) {
	s := open(b, func(tx *store.Tx) {
		access.Bootstrap(tx)
		for i := range 1000 {
			ns := fmt.Sprintf("ns-%d", i)
			role(tx, ns, "robot", rule("get list watch", "", "configmaps secrets pods", "", ""), rule("get", "apps", "deployments", "", ""), rule("create", "", "events", "", ""))
			bind(tx, ns, "robot", "Role", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "robot"})
		}
	})
	c := access.NewChecker(s)
	who := access.User{Name: "system:serviceaccount:ns-7:robot", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ns-7", access.Authenticated}}
	b.ReportAllocs()
	for b.Loop() {
		r := access.Request{User: who, Verb: "create", Resource: "events", Namespace: "ns-7"}
		if ok, reason := c.Allows(&r); !ok {
			b.Fatal(reason)
		}
	}
}

// BenchmarkCompile measures what the first question after a change costs.
func BenchmarkCompile(b *testing.B) {
	s := open(b, func(tx *store.Tx) {
		for i := range 1000 {
			ns := fmt.Sprintf("ns-%d", i)
			role(tx, ns, "robot", rule("get", "", "pods", "", ""))
			bind(tx, ns, "robot", "Role", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "robot"})
		}
	})
	for b.Loop() {
		access.Compile(s.Snapshot())
	}
}
