package kube_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const validating = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicas}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  matchConditions: [{name: mine, expression: "object.metadata.name != 'free'"}]
  variables: [{name: most, expression: "int(params.data.most)"}]
  validations:
  - expression: "object.spec.replicas <= variables.most"
    messageExpression: "'at most ' + string(variables.most) + ' replicas'"
    reason: Invalid
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: replicas}
spec:
  policyName: replicas
  validationActions: [Deny]
  paramRef: {name: bounds, namespace: default, parameterNotFoundAction: Deny}
  matchResources: {namespaceSelector: {matchLabels: {guarded: "yes"}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: typo}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]
  validations: [{expression: "object.spec.replicaz > 1"}]
`

const mutating = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: tag}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  matchConditions: [{name: most, expression: "object.metadata.name != 'bounds'"}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{metadata: Object.metadata{labels: {'tag': 'applied'}}}"}
  - patchType: JSONPatch
    jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/data', value: {'by': 'policy'}}]"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: tag}
spec: {policyName: tag}
`

func TestPolicies(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	c := d.client(t)
	d.must(t, "", "label", "namespace", "default", "guarded=yes")
	d.must(t, "", "create", "cm", "bounds", "--from-literal=most=3")
	d.must(t, validating, "create", "-f", "-")
	many := strings.Replace(deployment, "replicas: 2", "replicas: 4", 1)
	var out string
	until(t, "the validating policy", func() bool {
		var err error
		out, err = d.kubectl(t, many, "create", "--dry-run=server", "-f", "-")
		return err != nil && strings.Contains(out, "denied request: at most 3 replicas")
	})
	d.play(t, []step{
		{name: "within", stdin: deployment, args: "create -f -", want: "created"},
		{name: "too many", args: "patch deploy web -p {\"spec\":{\"replicas\":5}}", fails: true, want: "ValidatingAdmissionPolicy 'replicas' with binding 'replicas' denied request: at most 3 replicas"},
		{name: "not mine", stdin: strings.Replace(many, "name: web}", "name: free}", 1), args: "create -f -", want: "created"},
		{name: "table", args: "get validatingadmissionpolicies", want: "v1/ConfigMap"},
		{name: "elsewhere", args: "create ns open", want: "created"},
		{name: "in it", stdin: many, args: "create -n open -f -", want: "created"},
	})
	until(t, "the types to be checked", func() bool {
		p, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), "typo", metav1.GetOptions{})
		return err == nil && p.Status.TypeChecking != nil && len(p.Status.TypeChecking.ExpressionWarnings) == 1 &&
			strings.Contains(p.Status.TypeChecking.ExpressionWarnings[0].Warning, "undefined field 'replicaz'")
	})
	d.must(t, mutating, "create", "-f", "-")
	until(t, "the mutating policy", func() bool {
		out, _ = d.kubectl(t, "", "create", "cm", "x", "--dry-run=server", "-o", "jsonpath={.metadata.labels.tag}/{.data.by}")
		return out == "applied/policy"
	})
	d.must(t, "", "delete", "validatingadmissionpolicybinding,mutatingadmissionpolicybinding", "--all")
	d.must(t, "", "patch", "deploy", "web", "-p", `{"spec":{"replicas":5}}`)
}

// TestRegistrationFaults checks which field is named for what is wrong with a
// registration, and that the compiler's words are in the answer.
func TestRegistrationFaults(t *testing.T) {
	needKubectl(t)
	d, h := serve(t), serveHooks(t)
	policy := func(from, to string) string {
		one, _, _ := strings.Cut(validating, "---")
		if !strings.Contains(one, from) {
			t.Fatalf("no %q in the policy", from)
		}
		return strings.Replace(one, from, to, 1)
	}
	hook := h.yaml("Mutating", "a", "/label", configMaps, "timeoutSeconds: 5")
	mutating, _, _ := strings.Cut(mutating, "---")
	for _, b := range []struct{ name, yaml, want string }{
		{"syntax", policy("object.spec.replicas <= variables.most", "object.spec.replicas <= "), "spec.validations[0].expression: Invalid value"},
		{"its words", policy("object.spec.replicas <= variables.most", "objekt.spec > 1"), "undeclared reference to 'objekt'"},
		{"no bool", policy("object.spec.replicas <= variables.most", "1 + 1"), "must evaluate to bool"},
		{"no string", policy(`"'at most ' + string(variables.most) + ' replicas'"`, `"1"`), "spec.validations[0].messageExpression: Invalid value"},
		{"variable", policy("name: most,", "name: for,"), "spec.variables[0].name: Invalid value"},
		{"unknown variable", policy("<= variables.most", "<= variables.least"), "undefined field 'least'"},
		{"condition", policy("object.metadata.name != 'free'", "((("), "spec.matchConditions[0].expression: Invalid value"},
		{"reason", policy("reason: Invalid", "reason: Because"), "spec.validations[0].reason: Unsupported value"},
		{"operation", policy("operations: [CREATE, UPDATE]", "operations: [FLY]"), "operations[0]: Unsupported value"},
		{"no rules", policy("resources: [deployments]", "resources: []"), "resourceRules[0].resources: Required value"},
		{"kind of parameters", policy("kind: ConfigMap", "kind: \"Config Map\""), "spec.paramKind.kind: Invalid value"},
		{"patch", strings.Replace(mutating, "op: 'add'", "opp: 'add'", 1), "spec.mutations[1].jsonPatch.expression: Invalid value"},
		{"patch type", strings.Replace(mutating, "patchType: JSONPatch", "patchType: Scissors", 1), "spec.mutations[1].patchType: Unsupported value"},
		{"reinvocation", strings.Replace(mutating, "reinvocationPolicy: Never", "reinvocationPolicy: Often", 1), "spec.reinvocationPolicy: Unsupported value"},
		{"timeout", strings.Replace(hook, "timeoutSeconds: 5", "timeoutSeconds: 31", 1), "webhooks[0].timeoutSeconds: Invalid value"},
		{"name", strings.Replace(hook, "a.example.com", "a", 1), "webhooks[0].name: Invalid value"},
		{"plain HTTP", strings.Replace(hook, "https://", "http://", 1), "webhooks[0].clientConfig.url: Invalid value"},
		{"side effects", strings.Replace(hook, "sideEffects: None", "sideEffects: Some", 1), "webhooks[0].sideEffects: Unsupported value"},
		{"versions", strings.Replace(hook, "[v1]\n  sideEffects", "[v7]\n  sideEffects", 1), "webhooks[0].admissionReviewVersions: Invalid value"},
		{"binding", "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: b}\nspec: {policyName: p, validationActions: [Deny, Warn]}", "spec.validationActions: Invalid value"},
		{"parameters", "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: b}\nspec: {policyName: p, validationActions: [Deny], paramRef: {name: a, selector: {}, parameterNotFoundAction: Deny}}", "spec.paramRef.name: Forbidden"},
	} {
		out, err := d.kubectl(t, b.yaml, "create", "--validate=false", "-f", "-")
		if err == nil || !strings.Contains(out, b.want) {
			t.Errorf("%s: %s\nwant %s", b.name, out, b.want)
		}
	}
	d.must(t, hook, "create", "-f", "-")
}

func TestPodSecurity(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	host := "# YAML\n{apiVersion: v1, kind: Pod, metadata: {name: %}, spec: {hostNetwork: true, containers: [{name: c, image: i}]}}"
	named := func(name string) string { return strings.Replace(host, "%", name, 1) }
	d.play(t, []step{
		{name: "free", stdin: named("a"), args: "create -f -", want: "created"},
		{name: "raised", args: "label ns default pod-security.kubernetes.io/enforce=baseline", want: `existing pods in namespace "default" violate the new PodSecurity enforce level "baseline:latest"`},
		{name: "named", args: "label ns default pod-security.kubernetes.io/enforce=baseline --overwrite", want: ""},
		{name: "refused", stdin: named("b"), args: "create -f -", fails: true, want: `pods "b" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`},
		{name: "enough", args: "run p --image=i", want: "created"},
		{name: "warn too", args: "label ns default pod-security.kubernetes.io/warn=restricted", want: "labeled"},
		{name: "warned", args: "run q --image=i", want: `Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false`},
		{name: "template", stdin: deployment, args: "create -f -", want: `Warning: would violate PodSecurity "restricted:latest"`},
		{name: "no such level", args: "label ns default pod-security.kubernetes.io/enforce=strong --overwrite", fails: true, want: "must be one of privileged, baseline, restricted"},
		{name: "by version", args: "label ns default pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/enforce-version=v1.25 --overwrite", want: "labeled"},
		{name: "its name", args: "run r --image=i", fails: true, want: `violates PodSecurity "restricted:v1.25"`},
	})
}
