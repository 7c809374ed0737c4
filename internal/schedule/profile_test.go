package schedule

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/schedule/profile"
	"trireme/internal/tables"
)

// newProfiled is a world of six nodes in two zones, two of them in the second.
func newProfiled(t *testing.T, text string) *house {
	profiles, err := profile.Parse([]byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	w := looptest.New(t, append(tables.All(), tables.Samples()...))
	h := &house{w, t, w.Runner(New(Config{Profiles: profiles}))}
	for i := range 6 {
		h.Put(fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: n%d, labels: {kubernetes.io/hostname: n%d, topology.kubernetes.io/zone: z%d}}, status: {allocatable: {cpu: "4", memory: 64Gi, pods: "110"}, conditions: [{type: Ready, status: "True"}]}}`, i, i, i/4))
	}
	return h
}

// put makes so many pods of a scheduler and an app, and returns how many each node has then of all.
func (h *house) put(scheduler, app string, n int) map[string]int {
	for i := range n {
		h.Put(fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {namespace: default, name: %s-%03d, labels: {app: %s}}, spec: {schedulerName: %s, containers: [{name: c, resources: {requests: {cpu: "1"}}}]}}`, app, i, app, scheduler))
	}
	h.Settle(h.r)
	on := map[string]int{}
	for row := range tables.Pods.Rows(h.Store.Head(), "") {
		if row.Head().Labels["app"] == app {
			on[row.Head().Node]++
		}
	}
	return on
}

func (h *house) service(app string) {
	h.Put(fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {namespace: default, name: %s}, spec: {selector: {app: %s}, ports: [{port: 80}]}}`, app, app))
}

// TestProfiles: a pod is placed by the profile that it names, and left alone if there is none.
func TestProfiles(t *testing.T) {
	h := newProfiled(t, `
profiles:
- {}
- {schedulerName: packs, pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}]}
- schedulerName: second
  pluginConfig:
  - {name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [z1]}]}]}}}}
`)
	if on := h.put("packs", "packed", 8); on["n0"] != 4 || on["n1"] != 4 {
		t.Errorf("eight pods that are packed onto nodes for four each are on %v", on)
	}
	if on := h.put("default-scheduler", "spread", 4); len(on) != 4 || on["n0"]+on["n1"] > 0 {
		t.Errorf("four pods that are spread are on %v", on)
	}
	if on := h.put("second", "zoned", 9); on[""] != 3 || on["n4"]+on["n5"] != 6 {
		t.Errorf("nine pods that may use one zone with room for six are on %v", on)
	}
	if why, want := h.why("default"), "0/6 nodes are available: 2 Insufficient cpu, 4 node(s) didn't match scheduler-enforced node affinity."; why != want {
		t.Errorf("why: %s\nwant %s", why, want)
	}
	if on := h.put("somebody-else", "theirs", 1); on[""] != 1 {
		t.Errorf("a pod of another scheduler is on %v", on)
	}
}

// TestServicesAreSpread: pods of a service that nobody owns are spread over nodes and zones, also those that wait when the service comes.
func TestServicesAreSpread(t *testing.T) {
	h := newProfiled(t, "")
	h.service("web")
	on := h.put("default-scheduler", "web", 12)
	if first := on["n0"] + on["n1"] + on["n2"] + on["n3"]; len(on) != 6 || first < 5 || first > 8 {
		t.Errorf("twelve pods of a service on four nodes of one zone and two of another: %v", on)
	}
	hard := newProfiled(t, `profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]}}]}]`)
	hard.service("api")
	if on := hard.put("default-scheduler", "api", 20); on["n4"]+on["n5"] != 8 || on[""] != 3 {
		t.Errorf("of twenty pods kept even over a zone for sixteen and one for eight, so many have a node: %v", on)
	}
	hard.Put(`{apiVersion: v1, kind: Service, metadata: {namespace: default, name: api}, spec: {selector: {app: other}, ports: [{port: 80}]}}`)
	if on := hard.put("default-scheduler", "api", 0); on[""] != 0 {
		t.Errorf("pods that no service selects any more still wait: %v", on)
	}
	if p, _ := tables.Pods.Get(hard.Store.Head(), object.Key{Namespace: "default", Name: "api-000"}); len(p.Spec.TopologySpreadConstraints) > 0 || p.Spec.SchedulerName != corev1.DefaultSchedulerName {
		t.Error("the constraints of a profile were written into the pod")
	}
}
