package kube_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"trireme/internal/access"
	"trireme/internal/loop"
	"trireme/internal/orchestrate/clusterrole"
	"trireme/internal/store"
)

// withRoles writes the roles that every cluster has, and runs the loop that fills
// in the aggregated ones.
func (d *door) withRoles(t *testing.T) {
	t.Helper()
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error { access.Bootstrap(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	d.runLoops(t, clusterrole.New())
}

// runLoops runs control loops until the test ends.
func (d *door) runLoops(t *testing.T, loops ...loop.Reconciler) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.New(d.store, loop.Config{Log: slog.New(slog.DiscardHandler)}, loops...).Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

const grants = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [pods, pods/log], verbs: [get, list]}, {apiGroups: [""], resources: [configmaps], resourceNames: [one], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
subjects: [{kind: User, name: jane}, {kind: ServiceAccount, name: robot, namespace: default}]
roleRef: {kind: Role, name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: admins}
subjects: [{kind: Group, name: admins}]
roleRef: {kind: ClusterRole, name: admin}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lost, namespace: default}
subjects: [{kind: User, name: lost}]
roleRef: {kind: Role, name: nothere}
`

// TestRBAC drives roles, bindings and impersonation by kubectl.
func TestRBAC(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.withRoles(t)
	for _, step := range []struct {
		name, stdin, args string
		want              string // part of the output
		fails             bool
	}{
		{name: "aggregated", args: "get clusterrole view -o yaml", want: "replicationcontrollers/scale"},
		{name: "grants", stdin: grants, args: "apply -f -", want: "rolebinding.rbac.authorization.k8s.io/lost created"},
		{name: "columns", args: "get rolebinding reader -o wide", want: "default/robot"},
		{name: "role columns", args: "get clusterrole cluster-admin", want: "CREATED AT"},
		{name: "allowed", args: "get pods --as jane", want: "No resources found"},
		{name: "subresource", args: "auth can-i get pods --subresource log --as jane", want: "yes"},
		{name: "other verb", args: "delete pod x --as jane", want: `User "jane" cannot delete resource "pods" in API group "" in the namespace "default"`, fails: true},
		{name: "other namespace", args: "get pods -n kube-system --as jane", want: "forbidden", fails: true},
		{name: "by name", args: "auth can-i get configmap/one --as jane", want: "yes"},
		{name: "not another", args: "auth can-i get configmap/two --as jane", want: "no", fails: true},
		{name: "account", args: "auth can-i list pods --as system:serviceaccount:default:robot", want: "yes"},
		{name: "group", args: "auth can-i create deployments --as bob --as-group admins", want: "yes"},
		{name: "not nodes", args: "auth can-i get nodes --as bob --as-group admins", want: "no", fails: true},
		{name: "list", args: "auth can-i --list --as jane --as-group system:authenticated", want: "pods/log"},
		{name: "whoami", args: "auth whoami --as jane --as-uid 7 --as-group a --as-group system:authenticated -o yaml", want: "uid: \"7\""},
		{name: "missing role", args: "auth can-i get pods --as lost", want: `role.rbac.authorization.k8s.io "nothere" not found`, fails: true},
		{name: "impersonation is a right", args: "get pods --as jane --as-group admins --as-uid 7", want: "No resources found"},
		{name: "no escalation", args: "create role more --verb=delete --resource=pods --as bob --as-group system:authenticated", want: "forbidden", fails: true},
		{name: "own rights", args: "create role same --verb=delete --resource=pods --as bob --as-group admins", want: "created"},
		{name: "more than own", args: "create role more --verb=get --resource=nodes --as bob --as-group admins", want: "is attempting to grant RBAC permissions not currently held", fails: true},
		{name: "bind more", args: "create rolebinding more --clusterrole cluster-admin --user bob --as bob --as-group admins", want: "not currently held", fails: true},
		{name: "patch more", args: `patch role same --type json -p [{"op":"add","path":"/rules/0/verbs/-","value":"burn"}] --as bob --as-group admins`, want: "not currently held", fails: true},
		{name: "bind verb", args: "create clusterrole binder --verb=bind --resource=clusterroles.rbac.authorization.k8s.io", want: "created"},
		{name: "give it", args: "create clusterrolebinding binder --clusterrole binder --group admins", want: "created"},
		{name: "binds", args: "create rolebinding more --clusterrole cluster-admin --user bob --as bob --as-group admins", want: "created"},
		{name: "role is fixed", args: `patch rolebinding reader -p {"roleRef":{"name":"other"}}`, want: "cannot change roleRef", fails: true},
		{name: "empty verbs", stdin: "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: bad}\nrules: [{apiGroups: [''], resources: [pods]}]", args: "apply --validate=false -f -", want: "rules[0].verbs: Required value", fails: true},
		{name: "reconcile", stdin: strings.Replace(grants, "[get, list]", "[get, list, watch]", 1), args: "auth reconcile -f -", want: "reconciled"},
		{name: "reconciled", args: "auth can-i watch pods --as jane", want: "yes"},
		{name: "anonymous", args: "auth can-i get pods --as system:anonymous --as-group system:unauthenticated", want: "no", fails: true},
		{name: "anonymous version", args: "get --raw /version --as system:anonymous --as-group system:unauthenticated", want: "gitVersion"},
		{name: "discovery", args: "get --raw /api --as jane --as-group system:authenticated", want: "versions"},
		{name: "no discovery", args: "get --raw /api --as system:anonymous --as-group system:unauthenticated", want: "forbidden", fails: true},
	} {
		out, err := d.kubectl(t, step.stdin, strings.Fields(step.args)...)
		if (err != nil) != step.fails || !strings.Contains(out, step.want) {
			t.Errorf("%s: kubectl %s: %v\n%s", step.name, step.args, err, out)
		}
	}
}
