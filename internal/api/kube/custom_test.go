package kube_test

import (
	"strings"
	"testing"
)

const sites = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sites.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: sites, singular: site, kind: Site, shortNames: [st], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Tier, type: string, jsonPath: .spec.tier}
    selectableFields: [{jsonPath: .spec.tier}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the site shall be.
            required: [replicas]
            properties:
              replicas: {type: integer, minimum: 0, maximum: 10}
              tier: {type: string, default: free}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, port: {type: integer}}}
            x-kubernetes-validations:
            - {rule: "self.tier != 'free' || self.replicas <= 3", message: "the free tier has three replicas at most"}
            - {rule: "self.replicas >= oldSelf.replicas - 2", message: "no more than two at once"}
          status: {type: object, properties: {replicas: {type: integer}}}
`

const siteA = `
apiVersion: example.com/v1
kind: Site
metadata: {name: a}
spec: {replicas: 1}
`

// TestCustomResource is the life of a custom resource, by kubectl.
func TestCustomResource(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.must(t, sites, "apply", "-f", "-")
	d.must(t, "", "wait", "--for=condition=Established", "--timeout=20s", "crd/sites.example.com")
	for _, step := range []struct {
		name, stdin string
		args        string
		want        string
		fails       bool
	}{
		{name: "create", stdin: siteA, args: "apply -f -", want: "site.example.com/a created"},
		{name: "defaulted", args: "get site a -o jsonpath={.spec.tier}/{.metadata.generation}", want: "free/1"},
		{name: "short name and column", args: "get st", want: "TIER"},
		{name: "category", args: "get all", want: "site.example.com/a"},
		{name: "strict", stdin: strings.Replace(siteA, "replicas: 1", "replicas: 1, colour: red", 1), args: "apply -f -", want: `unknown field "spec.colour"`, fails: true},
		{name: "warn", stdin: strings.Replace(siteA, "replicas: 1", "replicas: 1, colour: red", 1), args: "apply --validate=warn -f -", want: `unknown field "spec.colour"`},
		{name: "pruned", args: "get site a -o jsonpath={.spec}", want: `{"replicas":1,"tier":"free"}`},
		{name: "schema", stdin: strings.Replace(siteA, "replicas: 1", "replicas: 11", 1), args: "apply -f -", want: "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10", fails: true},
		{name: "cel", stdin: strings.Replace(siteA, "replicas: 1", "replicas: 4", 1), args: "apply -f -", want: "the free tier has three replicas at most", fails: true},
		{name: "required", stdin: strings.Replace(siteA, "replicas: 1", "tier: free", 1), args: "replace -f -", want: "spec.replicas: Required value", fails: true},
		{name: "scale", args: "scale site a --replicas=3", want: "scaled"},
		{name: "cel on transitions", args: "scale site a --replicas=0", want: "no more than two at once", fails: true},
		{name: "status", args: `patch site a --subresource=status --type=merge -p {"status":{"replicas":2},"spec":{"tier":"gold"}}`, want: "patched"},
		{name: "status alone", args: "get site a -o jsonpath={.status.replicas}/{.spec.tier}/{.metadata.generation}", want: "2/free/2"},
		{name: "not by the main resource", args: `patch site a --type=merge -p {"status":{"replicas":9}}`, want: "no change"},
		{name: "other", stdin: strings.ReplaceAll(strings.Replace(siteA, "replicas: 1", "replicas: 1, tier: gold", 1), "name: a", "name: b, labels: {x: z1}"), args: "create -f -", want: "created"},
		{name: "field selector", args: "get site --field-selector spec.tier=gold -o name", want: "site.example.com/b"},
		{name: "label selector", args: "get site -l x=z1 -o name", want: "site.example.com/b"},
		{name: "chunks", args: "get site --chunk-size=1 -o jsonpath={.items[*].metadata.name}", want: "a b"},
		{name: "no such field", args: "get site --field-selector spec.replicas=1", want: "field label not supported", fails: true},
		{name: "server-side", stdin: strings.Replace(siteA, "replicas: 1", "ports: [{name: http, port: 80}]", 1), args: "apply --server-side --field-manager=x -f -", want: "serverside-applied"},
		{name: "merged by key", stdin: strings.Replace(siteA, "replicas: 1", "ports: [{name: tls, port: 443}]", 1), args: "apply --server-side --field-manager=y -f -", want: "serverside-applied"},
		{name: "both", args: "get site a -o jsonpath={.spec.ports[*].name}", want: "http tls"},
		{name: "conflict", stdin: strings.Replace(siteA, "replicas: 1", "ports: [{name: tls, port: 8443}]", 1), args: "apply --server-side --field-manager=x -f -", want: "conflict", fails: true},
		{name: "dry run", stdin: strings.Replace(siteA, "name: a", "name: dry", 1), args: "create --dry-run=server -f -", want: "created (server dry run)"},
		{name: "not stored", args: "get site dry", want: "not found", fails: true},
		{name: "no namespace", stdin: siteA, args: "create -n nope -f -", want: `namespaces "nope" not found`, fails: true},
		{name: "explain", args: "explain site.spec", want: "What the site shall be."},
		{name: "api-resources", args: "api-resources --api-group=example.com", want: "sites"},
		{name: "apiservice", args: "get apiservice v1.example.com", want: "True"},
		{name: "local apiservices", args: "get apiservices", want: "v1.apps"},
		{name: "openapi v2", args: "get --raw /openapi/v2", want: "com.example.v1.Site"},
		{name: "taken name", stdin: strings.NewReplacer("sites.example.com", "places.example.com", "plural: sites", "plural: places", "singular: site", "singular: place").Replace(sites), args: "apply -f -", want: "created"},
		{name: "conflict of names", args: "wait --for=condition=NamesAccepted=false crd/places.example.com --timeout=20s", want: "condition met"},
		{name: "finalizer", args: `patch site b --type=merge -p {"metadata":{"finalizers":["example.com/hold"]}}`, want: "patched"},
		{name: "delete the definition", args: "delete crd sites.example.com --wait=false", want: "deleted"},
		{name: "held", args: "get site b -o jsonpath={.metadata.finalizers}", want: "example.com/hold"},
		{name: "let go", args: `patch site b --type=json -p [{"op":"remove","path":"/metadata/finalizers"}]`, want: "patched"},
		{name: "gone", args: "wait --for=delete crd/sites.example.com --timeout=30s", want: ""},
	} {
		out, err := d.kubectl(t, step.stdin, strings.Fields(step.args)...)
		if (err != nil) != step.fails || !strings.Contains(out, step.want) {
			t.Errorf("%s: kubectl %s: %v\n%s", step.name, step.args, err, out[:min(len(out), 2000)])
		}
	}
}
