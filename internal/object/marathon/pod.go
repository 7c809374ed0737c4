package marathon

import "strings"

// PodSpec is Marathon's Pod (RAML Pod): containers that run together. As an App its numbers
// are in the Definition, and the PodSpec is what that has no words for.
type PodSpec struct {
	ID                string              `json:"id"`
	Labels            map[string]string   `json:"labels,omitempty"`
	User              *string             `json:"user,omitempty"`
	Environment       map[string]EnvValue `json:"environment,omitempty"`
	Containers        []PodContainer      `json:"containers"`
	Volumes           []PodVolume         `json:"volumes,omitempty"`
	Networks          []Network           `json:"networks,omitempty"`
	Secrets           map[string]Secret   `json:"secrets,omitempty"`
	Scaling           *PodScaling         `json:"scaling,omitempty"`
	Scheduling        *PodScheduling      `json:"scheduling,omitempty"`
	ExecutorResources *Resources          `json:"executorResources,omitempty"`
	Role              string              `json:"role,omitempty"`
	Version           string              `json:"version,omitempty"`
}

// PodContainer is one of a pod's containers.
type PodContainer struct {
	Name           string              `json:"name"`
	Exec           *CheckExec          `json:"exec,omitempty"`
	Resources      PodResources        `json:"resources"`
	ResourceLimits *ResourceLimits     `json:"resourceLimits,omitempty"`
	Endpoints      []PodEndpoint       `json:"endpoints,omitempty"`
	Image          *PodImage           `json:"image,omitempty"`
	Environment    map[string]EnvValue `json:"environment,omitempty"`
	User           *string             `json:"user,omitempty"`
	HealthCheck    *HealthCheck        `json:"healthCheck,omitempty"`
	VolumeMounts   []PodVolumeMount    `json:"volumeMounts,omitempty"`
	Artifacts      []Fetch             `json:"artifacts,omitempty"`
	Labels         map[string]string   `json:"labels,omitempty"`
	Lifecycle      *PodLifecycle       `json:"lifecycle,omitempty"`
	TTY            *bool               `json:"tty,omitempty"`
}

// PodResources are what a container has.
type PodResources struct {
	CPUs *float64 `json:"cpus,omitempty"`
	Mem  *float64 `json:"mem,omitempty"`
	Disk *float64 `json:"disk,omitempty"`
	GPUs *int32   `json:"gpus,omitempty"`
}

// PodEndpoint is a port of a container.
type PodEndpoint struct {
	Name          string            `json:"name"`
	ContainerPort *int32            `json:"containerPort,omitempty"`
	HostPort      *int32            `json:"hostPort,omitempty"`
	Protocol      []string          `json:"protocol,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	NetworkNames  []string          `json:"networkNames,omitempty"`
}

// PodImage is an image.
type PodImage struct {
	Kind       string      `json:"kind"`
	ID         string      `json:"id"`
	ForcePull  *bool       `json:"forcePull,omitempty"`
	PullConfig *PullConfig `json:"pullConfig,omitempty"`
}

// PodVolume is what containers may mount.
type PodVolume struct {
	Name       string            `json:"name"`
	Host       *string           `json:"host,omitempty"`
	Persistent *PersistentVolume `json:"persistent,omitempty"`
	Secret     *string           `json:"secret,omitempty"`
}

// PodVolumeMount is where a container has a volume.
type PodVolumeMount struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
	ReadOnly  *bool  `json:"readOnly,omitempty"`
}

// PodLifecycle says how long a container has to end.
type PodLifecycle struct {
	KillGracePeriodSeconds *float64 `json:"killGracePeriodSeconds,omitempty"`
}

// PodScaling says how many instances there are.
type PodScaling struct {
	Kind      string `json:"kind"`
	Instances int32  `json:"instances"`
}

// PodScheduling says how instances are started and replaced, and where.
type PodScheduling struct {
	Backoff       *PodBackoff      `json:"backoff,omitempty"`
	Upgrade       *UpgradeStrategy `json:"upgrade,omitempty"`
	Placement     *PodPlacement    `json:"placement,omitempty"`
	KillSelection string           `json:"killSelection,omitempty"`
	Unreachable   *Unreachable     `json:"unreachableStrategy,omitempty"`
}

// PodBackoff is how long new instances wait after others have ended.
type PodBackoff struct {
	Backoff        *float64 `json:"backoff,omitempty"`
	BackoffFactor  *float64 `json:"backoffFactor,omitempty"`
	MaxLaunchDelay *float64 `json:"maxLaunchDelay,omitempty"`
}

// PodPlacement says where instances run.
type PodPlacement struct {
	Constraints           []PodConstraint `json:"constraints,omitempty"`
	AcceptedResourceRoles []string        `json:"acceptedResourceRoles,omitempty"`
}

// PodConstraint is a constraint in words.
type PodConstraint struct {
	FieldName string  `json:"fieldName"`
	Operator  string  `json:"operator"`
	Value     *string `json:"value,omitempty"`
}

// ParsePod reads a pod as its user wrote it; the group is what a relative id is below. An
// error is a Problems.
func ParsePod(tree map[string]any, group string) (*Definition, error) {
	tree, _ = prune(tree).(map[string]any)
	p := &PodSpec{}
	if err := strict(tree, p); err != nil {
		return nil, err
	}
	if p.ID == "" {
		return nil, Problems{{"/id", []string{"is missing: give the pod an id"}}}
	}
	p.ID = Resolve(p.ID, group)
	var bad Problems
	p.complete(&bad)
	if len(bad) > 0 {
		return nil, bad
	}
	s := p.Scheduling
	d := &Definition{
		ID: p.ID, Pod: p, Instances: &p.Scaling.Instances, Role: p.Role, Labels: p.Labels, Secrets: p.Secrets, Networks: p.Networks, User: p.User,
		BackoffSeconds: s.Backoff.Backoff, BackoffFactor: s.Backoff.BackoffFactor, MaxLaunchDelaySeconds: s.Backoff.MaxLaunchDelay,
		UpgradeStrategy: s.Upgrade, Unreachable: s.Unreachable, KillSelection: s.KillSelection, ExecutorResources: p.ExecutorResources,
		CPUs: new(float64), Mem: new(float64), PortDefinitions: []PortDefinition{}, AcceptedResourceRoles: s.Placement.AcceptedResourceRoles,
	}
	for _, c := range s.Placement.Constraints {
		line := []string{c.FieldName, c.Operator}
		if c.Value != nil {
			line = append(line, *c.Value)
		}
		d.Constraints = append(d.Constraints, line)
	}
	for _, c := range p.Containers {
		*d.CPUs += *c.Resources.CPUs
		*d.Mem += *c.Resources.Mem
	}
	p.ID, p.Role, p.Scaling, p.Version = "", "", nil, ""
	d.complete()
	return d, nil
}

// complete fills in defaults (Marathon, RAML Pod).
func (p *PodSpec) complete(bad *Problems) {
	if p.Scaling == nil {
		p.Scaling = &PodScaling{Kind: "fixed", Instances: 1}
	}
	if p.Scaling.Kind == "" {
		p.Scaling.Kind = "fixed"
	}
	if p.Scaling.Kind != "fixed" {
		bad.add("/scaling/kind", "%q: it is fixed", p.Scaling.Kind)
	}
	if p.Scheduling == nil {
		p.Scheduling = &PodScheduling{}
	}
	s := p.Scheduling
	fill(&s.Backoff, PodBackoff{})
	fill(&s.Backoff.Backoff, 1)
	fill(&s.Backoff.BackoffFactor, 1.15)
	fill(&s.Backoff.MaxLaunchDelay, 300)
	fill(&s.Placement, PodPlacement{})
	fill(&s.Upgrade, UpgradeStrategy{})
	fill(&s.Upgrade.MinimumHealthCapacity, 1)
	fill(&s.Upgrade.MaximumOverCapacity, 1)
	fill(&s.Unreachable, Unreachable{})
	if s.KillSelection == "" {
		s.KillSelection = "YOUNGEST_FIRST"
	}
	if len(p.Containers) == 0 {
		bad.add("/containers", "must not be empty: a pod has a container")
	}
	p.completeContainers()
}

// completeContainers fills in what containers, and the executor beside them, have.
func (p *PodSpec) completeContainers() {
	fill(&p.ExecutorResources, Resources{})
	fill(&p.ExecutorResources.CPUs, 0.1)
	fill(&p.ExecutorResources.Mem, 32)
	fill(&p.ExecutorResources.Disk, 10)
	for i := range p.Containers {
		c := &p.Containers[i]
		fill(&c.Resources.CPUs, 0.1)
		fill(&c.Resources.Mem, 32)
		fill(&c.Resources.Disk, 0)
		fill(&c.Resources.GPUs, 0)
		for n := range c.Endpoints {
			if len(c.Endpoints[n].Protocol) == 0 {
				c.Endpoints[n].Protocol = []string{"tcp"}
			}
		}
		for n := range c.Artifacts {
			f := &c.Artifacts[n]
			fill(&f.Extract, true)
			fill(&f.Executable, false)
			fill(&f.Cache, false)
		}
		if h := c.HealthCheck; h != nil {
			h.podDefaults()
		}
	}
}

// podDefaults fills in what a check of a pod does not say, in an app's words.
func (h *HealthCheck) podDefaults() {
	fill(&h.GracePeriodSeconds, 300)
	fill(&h.IntervalSeconds, 60)
	fill(&h.MaxConsecutiveFailures, 3)
	fill(&h.TimeoutSeconds, 20)
	fill(&h.DelaySeconds, 15)
}

// ShowPod returns a definition as the pod that its user wrote.
func (d *Definition) ShowPod() *PodSpec {
	if d.Pod == nil {
		return nil
	}
	p := *d.Pod
	p.ID, p.Role, p.Version = d.ID, d.Role, d.Version
	p.Scaling = &PodScaling{Kind: "fixed", Instances: int32(d.Count())}
	return &p
}

// Endpoint is a port of a pod's container.
type Endpoint struct {
	PodEndpoint
	Container string
	Port      Port
}

// Endpoints returns the ports of a pod in the order of its containers.
func (d *Definition) Endpoints() (out []Endpoint) {
	if d.Pod == nil {
		return nil
	}
	for _, c := range d.Pod.Containers {
		for _, e := range c.Endpoints {
			port := Port{
				Name: e.Name, Protocols: protocols(strings.Join(e.Protocol, ",")), Labels: e.Labels, Container: or(e.ContainerPort, 0),
				Host: or(e.HostPort, 0), OnHost: e.HostPort != nil,
			}
			if !d.Bridged() {
				port.Container, port.OnHost = 0, true
			}
			out = append(out, Endpoint{e, c.Name, port})
		}
	}
	return out
}
