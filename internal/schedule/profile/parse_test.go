package profile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
)

const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

func TestParse(t *testing.T) {
	got, err := Parse([]byte(head + `
profiles:
- schedulerName: packs
  plugins: {score: {disabled: [{name: ImageLocality}, {name: TaintToleration}], enabled: [{name: NodeAffinity, weight: 5}]}}
  pluginConfig:
  - {name: NodeResourcesFit, args: {apiVersion: kubescheduler.config.k8s.io/v1, kind: NodeResourcesFitArgs, scoringStrategy: {type: MostAllocated}}}
- schedulerName: ratio
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: nvidia.com/gpu, weight: 3}, {name: cpu}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - {name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Profile{
		{Name: "packs", Strategy: Most, Weights: Weights{Room: 1, Nodes: 5, Spread: 2, Company: 2}},
		{
			Name: "ratio", Strategy: Ratio, Weights: defaultWeights, Resources: []Resource{{"cpu", 1}, {"nvidia.com/gpu", 3}}, Shape: []Point{{0, 0}, {1, 1}},
			Spreads: []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule}},
		},
		Default(),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	fit := func(s string) string {
		return "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: " + s + "}}]}]"
	}
	for text, field := range map[string]string{
		"leaderElection: {leaderElect: false}":                                                                                                                 "leaderElection",
		"extenders: [{urlPrefix: 'http://x', filterVerb: f}]":                                                                                                  "extenders",
		"profiles: [{}, {schedulerName: default-scheduler}]":                                                                                                   "profiles[1].schedulerName",
		"profiles: [{schedulerName: 'no good'}]":                                                                                                               "profiles[0].schedulerName",
		"profiles: [{percentageOfNodesToScore: 50}]":                                                                                                           "profiles[0].percentageOfNodesToScore",
		"profiles: [{plugins: {filter: {disabled: [{name: '*'}]}}}]":                                                                                           "profiles[0].plugins.filter",
		"profiles: [{plugins: {score: {enabled: [{name: Coscheduling}]}}}]":                                                                                    "profiles[0].plugins.score.enabled[0].name",
		"profiles: [{plugins: {score: {disabled: [{name: Coscheduling}]}}}]":                                                                                   "profiles[0].plugins.score.disabled[0].name",
		"profiles: [{plugins: {score: {enabled: [{name: NodeAffinity, weight: 1000}]}}}]":                                                                      "profiles[0].plugins.score.enabled[0].weight",
		"profiles: [{pluginConfig: [{name: DefaultPreemption}]}]":                                                                                              "profiles[0].pluginConfig[0].name",
		"profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {wrong: 1}}]}]":                                                                             "profiles[0].pluginConfig[0].args",
		"profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {kind: NodeAffinityArgs}}]}]":                                                               "profiles[0].pluginConfig[0].args.kind",
		"profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {ignoredResources: [a.b/c]}}]}]":                                                            "profiles[0].pluginConfig[0].args.ignoredResources",
		"profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 5}}]}]":                                                             "profiles[0].pluginConfig[0].args.hardPodAffinityWeight",
		"profiles: [{pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}}]}]": "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
		"profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultConstraints: [{maxSkew: 1}]}}]}]":                                                  "profiles[0].pluginConfig[0].args.defaultingType",
		"profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: zone}]}}]}]":         "profiles[0].pluginConfig[0].args.defaultConstraints[0].maxSkew",
		fit("{type: Best}"):                                                "profiles[0].pluginConfig[0].args.scoringStrategy.type",
		fit("{type: RequestedToCapacityRatio}"):                            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape",
		fit("{type: MostAllocated, resources: [{name: cpu, weight: -1}]}"): "profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight",
		fit("{type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 50, score: 1}, {utilization: 50, score: 2}]}}"): "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[1].utilization",
		fit("{type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 50, score: 11}]}}"):                             "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].score",
	} {
		_, err := Parse([]byte(head + text))
		if err == nil || !kind.Is(err, kind.Invalid) || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s\nis refused for %s: %v", text, field, err)
		}
	}
	for text, want := range map[string]string{"profiles: [{scheduler: x}]": `unknown field "scheduler"`, "": ""} {
		if _, err := Parse([]byte(head + text)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Parse([]byte("apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration")); err == nil {
		t.Error("another version is taken")
	}
}

func TestWorth(t *testing.T) {
	p := Profile{Strategy: Ratio, Shape: []Point{{0.2, 0.5}, {0.6, 1}, {1, 0}}}
	for used, want := range map[float64]float64{0: 0.5, 0.2: 0.5, 0.4: 0.75, 0.6: 1, 0.8: 0.5, 1: 0} {
		if got := p.Worth(used); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%v in use is worth %v, want %v", used, got, want)
		}
	}
}
