package pressure

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
)

func TestParse(t *testing.T) {
	good := Default()
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"default":             {func(*Config) {}, ""},
		"none":                {func(c *Config) { c.Hard = "" }, ""},
		"soft":                {func(c *Config) { c.Soft, c.SoftGrace = "memory.available<1Gi", "memory.available=1m30s" }, ""},
		"soft without grace":  {func(c *Config) { c.Soft = "memory.available<1Gi" }, "softGrace: grace period must be specified for the soft threshold memory.available: add memory.available=1m30s"},
		"no such signal":      {func(c *Config) { c.Hard = "swap.available<1" }, `hard: unsupported signal "swap.available"`},
		"no operator":         {func(c *Config) { c.Hard = "memory.available=1Gi" }, `hard: "memory.available=1Gi" is not SIGNAL<VALUE`},
		"twice":               {func(c *Config) { c.Hard = "pid.available<1,pid.available<2" }, "hard: the signal pid.available is there twice"},
		"no amount":           {func(c *Config) { c.Hard = "memory.available<much" }, `hard: memory.available: "much" is not an amount such as 100Mi or 10%`},
		"more than all":       {func(c *Config) { c.Hard = "memory.available<120%" }, "not a part between 0% and 100%"},
		"transition":          {func(c *Config) { c.Transition = "soon" }, `transition: "soon" is not a duration such as 5m`},
		"reclaim of nonsense": {func(c *Config) { c.MinimumReclaim = "memory.available=-1" }, "minimumReclaim: memory.available"},
		"a negative grace":    {func(c *Config) { c.MaxPodGraceSeconds = -1 }, "maxPodGraceSeconds: -1 is below zero"},
	} {
		c := good
		tt.change(&c)
		_, err := c.Parse()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestThresholds follows one node through time: available memory of 1000 bytes.
func TestThresholds(t *testing.T) {
	rules, err := Config{
		Hard: "memory.available<100", Soft: "memory.available<20%", SoftGrace: "memory.available=1m", MinimumReclaim: "memory.available=50", Transition: "5m",
	}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	s, began := newState(), time.Unix(0, 0)
	for i, tt := range []struct {
		at        time.Duration
		available int64
		due       string // which evict: h hard, s soft
		pressure  bool
	}{
		{0, 500, "", false},
		{time.Minute, 150, "", true},      // the soft one, within its grace
		{90 * time.Second, 220, "", true}, // not 50 more than the threshold yet
		{2 * time.Minute, 220, "s", true}, // and so its grace is over
		{3 * time.Minute, 90, "hs", true}, // both
		{4 * time.Minute, 120, "hs", true},
		{5 * time.Minute, 300, "", true}, // over, the condition stays
		{8 * time.Minute, 300, "", true},
		{10 * time.Minute, 300, "", false},
		{11 * time.Minute, 199, "", true}, // the grace begins anew
	} {
		now := began.Add(tt.at)
		due := ""
		for _, m := range s.step(rules, now, map[Signal]Amount{Memory: {tt.available, 1000}}) {
			due += map[bool]string{true: "h", false: "s"}[m.hard]
		}
		if got := s.conditions(rules, now)[corev1.NodeMemoryPressure]; due != tt.due || got != tt.pressure {
			t.Errorf("step %d: evicting %q, pressure %v; want %q, %v", i, due, got, tt.due, tt.pressure)
		}
	}
}

func TestRank(t *testing.T) {
	pod := func(name string, prio int32, request string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{}
		p.Name, p.Spec.Priority = name, &prio
		p.Spec.Containers = []corev1.Container{{Name: "c"}}
		if request != "" {
			q := resource.MustParse(request)
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: q, corev1.ResourceEphemeralStorage: q}
		}
		for _, f := range change {
			f(p)
		}
		return p
	}
	static := func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }
	failed := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	pods := []Usage{
		{Pod: pod("within", 0, "1000"), MemoryBytes: 900, DiskBytes: 900, Processes: 9, Inodes: 2},
		{Pod: pod("over", 0, "100"), MemoryBytes: 300, DiskBytes: 150, Processes: 2, Inodes: 3},
		{Pod: pod("further", 0, "100"), MemoryBytes: 800, DiskBytes: 120, Processes: 1, Inodes: 9},
		{Pod: pod("important", 10, ""), MemoryBytes: 5000, DiskBytes: 5000, Processes: 50, Inodes: 1},
		{Pod: pod("idle", 0, ""), Processes: 1},
		{Pod: pod("critical", object.CriticalPriority, ""), MemoryBytes: 9000},
		{Pod: pod("static", 0, "", static), MemoryBytes: 9000},
		{Pod: pod("failed", 0, "", failed), MemoryBytes: 9000},
	}
	for s, want := range map[Signal]string{
		Memory:    "further over important idle within",
		Disk:      "over further important idle within",
		Processes: "within over further idle important",
		Inodes:    "further over within important idle",
	} {
		var got []string
		for _, u := range Rank(s, pods) {
			got = append(got, u.Pod.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", s, got, want)
		}
	}
	if len(pods) != 8 || !slices.ContainsFunc(pods, func(u Usage) bool { return u.Pod.Name == "critical" }) {
		t.Error("Rank changed what it was given")
	}
}

func TestMessage(t *testing.T) {
	p := &corev1.Pod{}
	p.Spec.Containers = []corev1.Container{{Name: "a"}, {Name: "b", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}}}
	m := met{threshold{signal: Memory, amount: amount{bytes: 100 << 20}}, Amount{50 << 20, 1 << 30}}
	got := m.message(&Usage{Pod: p, Containers: map[string]ContainerUsage{"a": {MemoryBytes: 700 << 20}, "b": {MemoryBytes: 1 << 20}}})
	const want = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container a was using 700Mi, request is 0, has larger consumption of memory. "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOveruse(t *testing.T) {
	limit := resource.MustParse("10Mi")
	p := &corev1.Pod{}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
	lists := corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: limit}}
	p.Spec.Containers = []corev1.Container{{Name: "a", Resources: lists}, {Name: "b", Resources: lists}}
	for name, tt := range map[string]struct {
		use  Usage
		want string
	}{
		"all within":   {Usage{DiskBytes: 20 << 20, EmptyDirs: map[string]int64{"v": 10 << 20}}, ""},
		"the volume":   {Usage{EmptyDirs: map[string]int64{"v": 10<<20 + 1}}, `Usage of EmptyDir volume "v" exceeds the limit "10Mi". `},
		"a container":  {Usage{Containers: map[string]ContainerUsage{"b": {DiskBytes: 11 << 20}}}, `Container b exceeded its local ephemeral storage limit "10Mi". `},
		"all together": {Usage{DiskBytes: 21 << 20}, "Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. "},
	} {
		tt.use.Pod = p
		if got := Overuse(&tt.use); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if !Limited(p) || Limited(&corev1.Pod{}) {
		t.Error("which pods are limited")
	}
}

func TestRefuses(t *testing.T) {
	best, burst, tolerant := &corev1.Pod{}, &corev1.Pod{}, &corev1.Pod{}
	best.Spec.Containers = []corev1.Container{{Name: "c"}}
	burst.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}
	tolerant.Spec = best.Spec
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists}}
	memory, disk := corev1.NodeMemoryPressure, corev1.NodeDiskPressure
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		has  []corev1.NodeConditionType
		want string
	}{
		"nothing":                    {best, nil, ""},
		"best effort, memory":        {best, []corev1.NodeConditionType{memory}, "Pod was rejected: The node had condition: [MemoryPressure]. "},
		"burstable, memory":          {burst, []corev1.NodeConditionType{memory}, ""},
		"one that bears it, memory":  {tolerant, []corev1.NodeConditionType{memory}, ""},
		"burstable, disk":            {burst, []corev1.NodeConditionType{disk}, "Pod was rejected: The node had condition: [DiskPressure]. "},
		"burstable, disk and memory": {burst, []corev1.NodeConditionType{memory, disk}, "Pod was rejected: The node had condition: [MemoryPressure DiskPressure]. "},
	} {
		has := map[corev1.NodeConditionType]bool{corev1.NodePIDPressure: false}
		for _, c := range tt.has {
			has[c] = true
		}
		if got := Refuses(tt.pod, has); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
