package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"trireme/internal/kind"
)

// weightMax bounds a plug-in's weight, so that points stay whole numbers that can be added.
const weightMax = 100

// Parse reads the profiles of a KubeSchedulerConfiguration, in YAML or JSON. What is not said is as it is by default. Errors are kind.Invalid and name
// the field: one that cannot be honoured is refused, not dropped.
func Parse(text []byte) ([]Profile, error) {
	var c configv1.KubeSchedulerConfiguration
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return nil, &kind.Error{Kind: kind.Invalid, Err: fmt.Errorf("reading a KubeSchedulerConfiguration: %w", err)}
	}
	if want := configv1.SchemeGroupVersion.WithKind("KubeSchedulerConfiguration"); c.GroupVersionKind() != want {
		return nil, invalid("kind", "apiVersion %q, kind %q: want %s, %s", c.APIVersion, c.Kind, want.GroupVersion(), want.Kind)
	}
	if err := honoured(text); err != nil {
		return nil, err
	}
	var out []Profile
	for i := range c.Profiles {
		at := fmt.Sprintf("profiles[%d]", i)
		p, err := read(at, &c.Profiles[i])
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o Profile) bool { return o.Name == p.Name }) {
			return nil, invalid(at+".schedulerName", "%q has a profile already: give each another name", p.Name)
		}
		out = append(out, p)
	}
	if !slices.ContainsFunc(out, func(p Profile) bool { return p.Name == corev1.DefaultSchedulerName }) {
		out = append(out, Default()) // pods of all doors name it
	}
	return out, nil
}

// beside says of fields outside profiles what to do instead.
var beside = map[string]string{
	"parallelism": "one loop places all pods", "leaderElection": "managers elect their leader themselves", "clientConnection": "the scheduler is part of the manager",
	"percentageOfNodesToScore": "every node is looked at", "podInitialBackoffSeconds": "pods wait for what would let them in, not for a time", "podMaxBackoffSeconds": "pods wait for what would let them in, not for a time",
	"extenders": "no other process is asked about nodes; a scheduler of your own may place the pods that name it", "delayCacheUntilActive": "the scheduler is part of the manager",
	"enableProfiling": "see --debug-listen", "enableContentionProfiling": "see --debug-listen",
}

// honoured refuses what is said outside profiles.
func honoured(text []byte) error {
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		return invalid("", "%w", err)
	}
	for _, field := range slices.Sorted(maps.Keys(all)) {
		switch field {
		case "apiVersion", "kind", "profiles":
		default:
			return invalid(field, "%s: leave it out", beside[field])
		}
	}
	return nil
}

func read(at string, c *configv1.KubeSchedulerProfile) (Profile, error) {
	p := Default()
	if c.SchedulerName != nil {
		p.Name = *c.SchedulerName
	}
	if why := validation.IsDNS1123Subdomain(p.Name); len(why) > 0 {
		return p, invalid(at+".schedulerName", "%q: %s", p.Name, strings.Join(why, ", "))
	}
	if c.PercentageOfNodesToScore != nil {
		return p, invalid(at+".percentageOfNodesToScore", "%s: leave it out", beside["percentageOfNodesToScore"])
	}
	asked, err := p.plugins(at+".plugins", c.Plugins)
	if err != nil {
		return p, err
	}
	for i := range c.PluginConfig {
		path := fmt.Sprintf("%s.pluginConfig[%d]", at, i)
		if slices.ContainsFunc(c.PluginConfig[:i], func(o configv1.PluginConfig) bool { return o.Name == c.PluginConfig[i].Name }) {
			return p, invalid(path+".name", "%s is configured twice", c.PluginConfig[i].Name)
		}
		more, err := p.configure(path, &c.PluginConfig[i])
		if err != nil {
			return p, err
		}
		asked = asked || more
	}
	if p.Strategy != Least && !asked {
		p.Owners = false // what packs does not spread, unless it is told to
	}
	if p.Weights.Spread == 0 {
		p.Owners, p.Spreads = false, nil
	}
	return p, nil
}

// plugins reads the weights of what scores. It reports whether spreading was asked for.
func (p *Profile) plugins(at string, c *configv1.Plugins) (spread bool, err error) {
	if c == nil {
		return false, nil
	}
	sets := []struct {
		name string
		set  configv1.PluginSet
	}{
		{"preEnqueue", c.PreEnqueue}, {"queueSort", c.QueueSort}, {"preFilter", c.PreFilter}, {"filter", c.Filter}, {"postFilter", c.PostFilter}, {"preScore", c.PreScore},
		{"reserve", c.Reserve}, {"permit", c.Permit}, {"preBind", c.PreBind}, {"bind", c.Bind}, {"postBind", c.PostBind}, {"multiPoint", c.MultiPoint},
		{"placementGenerate", c.PlacementGenerate}, {"placementScore", c.PlacementScore}, {"podGroupPostFilter", c.PodGroupPostFilter},
	}
	for _, s := range sets {
		if len(s.set.Enabled)+len(s.set.Disabled) > 0 {
			return false, invalid(at+"."+s.name, "only score can be configured; what pods demand always holds: leave it out")
		}
	}
	for i, d := range c.Score.Disabled {
		path := fmt.Sprintf("%s.score.disabled[%d].name", at, i)
		switch w, known := p.weight(d.Name); {
		case d.Name == "*":
			p.Weights = Weights{}
		case w != nil:
			*w = 0
		case !known:
			return false, notOurs(path, d.Name)
		}
	}
	for i, e := range c.Score.Enabled {
		path := fmt.Sprintf("%s.score.enabled[%d]", at, i)
		w, _ := p.weight(e.Name)
		if w == nil {
			return false, notOurs(path+".name", e.Name)
		}
		*w = 1
		if e.Weight != nil && *e.Weight != 0 {
			*w = int64(*e.Weight)
		}
		if *w < 1 || *w > weightMax {
			return false, invalid(path+".weight", "%d: want 1 to %d", *w, weightMax)
		}
		spread = spread || e.Name == spreading
	}
	return spread, nil
}

const spreading = "PodTopologySpread"

// weight returns where the plug-in's weight is; nil: it scores nothing here. known: to disable it changes nothing.
func (p *Profile) weight(plugin string) (w *int64, known bool) {
	switch plugin {
	case "NodeResourcesFit":
		return &p.Weights.Room, true
	case "NodeAffinity":
		return &p.Weights.Nodes, true
	case "TaintToleration":
		return &p.Weights.Taints, true
	case spreading:
		return &p.Weights.Spread, true
	case "InterPodAffinity":
		return &p.Weights.Company, true
	}
	return nil, slices.Contains([]string{"NodeResourcesBalancedAllocation", "ImageLocality", "VolumeBinding", "DynamicResources"}, plugin)
}

func notOurs(path, plugin string) error {
	return invalid(path, "%q is not a plug-in that scores here: NodeResourcesFit, NodeAffinity, TaintToleration, %s and InterPodAffinity do", plugin, spreading)
}

// configure reads a plug-in's arguments. It reports whether they ask for spreading.
func (p *Profile) configure(at string, c *configv1.PluginConfig) (spread bool, err error) {
	switch c.Name {
	case "NodeResourcesFit":
		return false, p.room(at+".args", c)
	case "NodeAffinity":
		return false, p.affinity(at+".args", c)
	case spreading:
		return true, p.spreads(at+".args", c)
	case "InterPodAffinity":
		return false, p.company(at+".args", c)
	}
	return false, invalid(at+".name", "%q has no arguments here: NodeResourcesFit, NodeAffinity, %s and InterPodAffinity have", c.Name, spreading)
}

// args reads arguments strictly.
func args(at string, c *configv1.PluginConfig, into any) error {
	if err := yaml.UnmarshalStrict(c.Args.Raw, into); err != nil {
		return invalid(at, "%w", err)
	}
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(c.Args.Raw, &head); err != nil {
		return invalid(at, "%w", err)
	}
	if want := c.Name + "Args"; head.Kind != "" && head.Kind != want {
		return invalid(at+".kind", "%q: want %s", head.Kind, want)
	}
	if want := configv1.SchemeGroupVersion.String(); head.APIVersion != "" && head.APIVersion != want {
		return invalid(at+".apiVersion", "%q: want %s", head.APIVersion, want)
	}
	return nil
}

func (p *Profile) room(at string, c *configv1.PluginConfig) error {
	var a configv1.NodeResourcesFitArgs
	if err := args(at, c, &a); err != nil {
		return err
	}
	switch {
	case len(a.IgnoredResources) > 0:
		return invalid(at+".ignoredResources", "what pods ask for is always counted: leave it out")
	case len(a.IgnoredResourceGroups) > 0:
		return invalid(at+".ignoredResourceGroups", "what pods ask for is always counted: leave it out")
	case a.ScoringStrategy == nil:
		return nil
	}
	s := a.ScoringStrategy
	at += ".scoringStrategy"
	switch s.Type {
	case configv1.LeastAllocated:
	case configv1.MostAllocated:
		p.Strategy = Most
	case configv1.RequestedToCapacityRatio:
		p.Strategy = Ratio
		p.Resources = []Resource{{corev1.ResourceCPU, 1}, {corev1.ResourceMemory, 1}}
	default:
		return invalid(at+".type", "%q: want %s, %s or %s", s.Type, configv1.LeastAllocated, configv1.MostAllocated, configv1.RequestedToCapacityRatio)
	}
	if len(s.Resources) > 0 {
		if err := p.resources(at+".resources", s.Resources); err != nil {
			return err
		}
	}
	if p.Strategy != Ratio {
		if s.RequestedToCapacityRatio != nil {
			return invalid(at+".requestedToCapacityRatio", "it is of type %s: leave it out", configv1.RequestedToCapacityRatio)
		}
		return nil
	}
	if s.RequestedToCapacityRatio == nil {
		return invalid(at+".requestedToCapacityRatio.shape", "%s needs a shape: points of utilization (0 to 100) and score (0 to 10)", configv1.RequestedToCapacityRatio)
	}
	return p.shape(at+".requestedToCapacityRatio.shape", s.RequestedToCapacityRatio.Shape)
}

func (p *Profile) resources(at string, list []configv1.ResourceSpec) error {
	p.Resources = nil
	for i, r := range list {
		path := fmt.Sprintf("%s[%d]", at, i)
		if r.Weight == 0 {
			r.Weight = 1
		}
		name := corev1.ResourceName(r.Name)
		switch {
		case len(validation.IsQualifiedName(r.Name)) > 0:
			return invalid(path+".name", "%q: %s", r.Name, strings.Join(validation.IsQualifiedName(r.Name), ", "))
		case r.Weight < 1 || r.Weight > weightMax:
			return invalid(path+".weight", "%d: want 1 to %d", r.Weight, weightMax)
		case slices.ContainsFunc(p.Resources, func(o Resource) bool { return o.Name == name }):
			return invalid(path+".name", "%q is there already", r.Name)
		}
		p.Resources = append(p.Resources, Resource{name, float64(r.Weight)})
	}
	slices.SortFunc(p.Resources, func(a, b Resource) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return nil
}

func (p *Profile) shape(at string, list []configv1.UtilizationShapePoint) error {
	if len(list) == 0 {
		return invalid(at, "at least one point is needed")
	}
	for i, pt := range list {
		path := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case pt.Utilization < 0 || pt.Utilization > 100:
			return invalid(path+".utilization", "%d: want 0 to 100", pt.Utilization)
		case pt.Score < 0 || pt.Score > 10:
			return invalid(path+".score", "%d: want 0 to 10", pt.Score)
		case i > 0 && pt.Utilization <= list[i-1].Utilization:
			return invalid(path+".utilization", "%d does not come after %d: order the points", pt.Utilization, list[i-1].Utilization)
		}
		p.Shape = append(p.Shape, Point{float64(pt.Utilization) / 100, float64(pt.Score) / 10})
	}
	return nil
}

func (p *Profile) affinity(at string, c *configv1.PluginConfig) error {
	var a configv1.NodeAffinityArgs
	if err := args(at, c, &a); err != nil {
		return err
	}
	if p.Added = a.AddedAffinity; p.Added == nil {
		return nil
	}
	at += ".addedAffinity"
	if r := p.Added.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
		if len(r.NodeSelectorTerms) == 0 {
			return invalid(at+".requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms", "at least one term is needed")
		}
		if _, err := nodeaffinity.NewNodeSelector(r); err != nil {
			return invalid(at+".requiredDuringSchedulingIgnoredDuringExecution", "%w", err)
		}
	}
	if _, err := nodeaffinity.NewPreferredSchedulingTerms(p.Added.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
		return invalid(at+".preferredDuringSchedulingIgnoredDuringExecution", "%w", err)
	}
	for i, t := range p.Added.PreferredDuringSchedulingIgnoredDuringExecution {
		if t.Weight < 1 || t.Weight > 100 {
			return invalid(fmt.Sprintf("%s.preferredDuringSchedulingIgnoredDuringExecution[%d].weight", at, i), "%d: want 1 to 100", t.Weight)
		}
	}
	return nil
}

func (p *Profile) spreads(at string, c *configv1.PluginConfig) error {
	var a configv1.PodTopologySpreadArgs
	if err := args(at, c, &a); err != nil {
		return err
	}
	switch a.DefaultingType {
	case "", configv1.SystemDefaulting:
		if len(a.DefaultConstraints) > 0 {
			return invalid(at+".defaultingType", "want %s where there are defaultConstraints", configv1.ListDefaulting)
		}
		return nil
	case configv1.ListDefaulting:
	default:
		return invalid(at+".defaultingType", "%q: want %s or %s", a.DefaultingType, configv1.SystemDefaulting, configv1.ListDefaulting)
	}
	p.Owners, p.Spreads = false, a.DefaultConstraints
	for i := range p.Spreads {
		t, path := &p.Spreads[i], fmt.Sprintf("%s.defaultConstraints[%d]", at, i)
		switch {
		case t.LabelSelector != nil:
			return invalid(path+".labelSelector", "it is that of the pod's services and owner: leave it out")
		case len(t.MatchLabelKeys) > 0:
			return invalid(path+".matchLabelKeys", "the selector is that of the pod's services and owner: leave it out")
		case t.MaxSkew < 1:
			return invalid(path+".maxSkew", "%d: want 1 or more", t.MaxSkew)
		case len(validation.IsQualifiedName(t.TopologyKey)) > 0:
			return invalid(path+".topologyKey", "%q: %s", t.TopologyKey, strings.Join(validation.IsQualifiedName(t.TopologyKey), ", "))
		case t.WhenUnsatisfiable != corev1.DoNotSchedule && t.WhenUnsatisfiable != corev1.ScheduleAnyway:
			return invalid(path+".whenUnsatisfiable", "%q: want %s or %s", t.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		case t.MinDomains != nil && (*t.MinDomains < 1 || t.WhenUnsatisfiable != corev1.DoNotSchedule):
			return invalid(path+".minDomains", "%d: want 1 or more, with %s", *t.MinDomains, corev1.DoNotSchedule)
		case policy(t.NodeAffinityPolicy):
			return invalid(path+".nodeAffinityPolicy", "%q: want Honor or Ignore", *t.NodeAffinityPolicy)
		case policy(t.NodeTaintsPolicy):
			return invalid(path+".nodeTaintsPolicy", "%q: want Honor or Ignore", *t.NodeTaintsPolicy)
		}
	}
	return nil
}

// policy reports whether it is none.
func policy(p *corev1.NodeInclusionPolicy) bool {
	return p != nil && *p != corev1.NodeInclusionPolicyHonor && *p != corev1.NodeInclusionPolicyIgnore
}

func (p *Profile) company(at string, c *configv1.PluginConfig) error {
	var a configv1.InterPodAffinityArgs
	if err := args(at, c, &a); err != nil {
		return err
	}
	if w := a.HardPodAffinityWeight; w != nil && *w != 1 {
		return invalid(at+".hardPodAffinityWeight", "%d: it is 1 here: leave it out", *w)
	}
	if a.IgnorePreferredTermsOfExistingPods {
		return invalid(at+".ignorePreferredTermsOfExistingPods", "they always count: leave it out")
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Field: field, Err: fmt.Errorf(format, args...)}
}
