package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	apartManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: apart}
spec:
  replicas: 3
  selector: {matchLabels: {app: apart}}
  template:
    metadata: {labels: {app: apart}}
    spec:
      terminationGracePeriodSeconds: 0
      affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: apart}}}]}}
      containers: [` + webContainer + `]
`
	evenManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: even}
spec:
  replicas: 4
  selector: {matchLabels: {app: even}}
  template:
    metadata: {labels: {app: even}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: even}}}]
      containers: [` + webContainer + `]
`
)

// TestCompany: replicas that keep away from each other have a node each, one more waits and says why until there is a node
// for it; others are spread over zones, and run beside what they ask for.
func TestCompany(t *testing.T) {
	hosts := ownMachines(t, 3)
	first := hosts[0]
	if err := bringUp(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	join(t, first, hosts[1])
	k := newClient(t, first)
	k.must("label", "node", first.Name, "zone=one")
	k.must("label", "node", hosts[1].Name, "zone=two")

	k.apply(apartManifest)
	pods := func(app string) (placed []string, pending int) {
		out := k.must("get", "pods", "-l", "app="+app, "-o", `jsonpath={range .items[*]}{.spec.nodeName}/{.status.phase}{"\n"}{end}`)
		for line := range strings.Lines(out) {
			node, phase, _ := strings.Cut(strings.TrimSpace(line), "/")
			if node == "" {
				pending++
			} else if phase == "Running" {
				placed = append(placed, node)
			}
		}
		slices.Sort(placed)
		return placed, pending
	}
	are := func(app string, waiting int, nodes ...string) {
		t.Helper()
		slices.Sort(nodes)
		await(t, first, 60*time.Second, app+" runs where it should", func() error {
			if placed, pending := pods(app); !slices.Equal(placed, nodes) || pending != waiting {
				return fmt.Errorf("pods run on %v and %d wait, want %v and %d", placed, pending, nodes, waiting)
			}
			return nil
		})
	}
	are("apart", 1, first.Name, hosts[1].Name)
	says := k.must("get", "pods", "-l", "app=apart", "--field-selector", "spec.nodeName=", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="PodScheduled")].message}`)
	if want := "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."; says != want {
		t.Errorf("the third says %q, want %q", says, want)
	}

	k.apply(evenManifest)
	are("even", 0, first.Name, first.Name, hosts[1].Name, hosts[1].Name)

	join(t, first, hosts[2])
	are("apart", 0, first.Name, hosts[1].Name, hosts[2].Name)

	k.must("scale", "deployment", "even", "--replicas=0")
	k.apply(`
apiVersion: v1
kind: Pod
metadata: {name: beside, labels: {app: beside}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: ` + hosts[2].Name + `}
  affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: apart}}}]}}
  containers: [` + webContainer + `]
`)
	are("beside", 0, hosts[2].Name)

	for field, spec := range map[string]string{
		"spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey":          "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}",
		"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys":           "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, matchLabelKeys: [x]}]}}",
		"spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight":                  "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: a}}]}}",
		"spec.topologySpreadConstraints[0].minDomains":                                                         "topologySpreadConstraints: [{maxSkew: 1, minDomains: 2, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]",
		"spec.topologySpreadConstraints[0].nodeTaintsPolicy":                                                   "topologySpreadConstraints: [{maxSkew: 1, nodeTaintsPolicy: Never, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]",
		"spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}":                                   "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}, {maxSkew: 2, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]",
		"spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].mismatchLabelKeys[0]": "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, labelSelector: {matchLabels: {x: a}}, mismatchLabelKeys: [x]}]}}",
	} {
		yaml := "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {" + spec + ", containers: [" + webContainer + "]}\n"
		if out, err := k.run(t.Context(), yaml, "apply", "-f", "-"); err == nil || !strings.Contains(out+err.Error(), field) {
			t.Errorf("%s: %s, %v; want an error that names %s", spec, out, err, field)
		}
	}
}
