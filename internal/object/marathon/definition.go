package marathon

// Definition is Marathon's App (RAML App), complete: of what may be left out all that has
// a default is there (Complete).
type Definition struct {
	ID                    string              `json:"id"`
	Cmd                   *string             `json:"cmd,omitempty"`
	Args                  []string            `json:"args,omitempty"`
	User                  *string             `json:"user,omitempty"`
	Env                   map[string]EnvValue `json:"env"`
	Secrets               map[string]Secret   `json:"secrets,omitempty"`
	Labels                map[string]string   `json:"labels"`
	Instances             *int32              `json:"instances"`
	CPUs                  *float64            `json:"cpus"`
	Mem                   *float64            `json:"mem"`
	Disk                  *float64            `json:"disk"`
	GPUs                  *int32              `json:"gpus"`
	ResourceLimits        *ResourceLimits     `json:"resourceLimits,omitempty"`
	Executor              *string             `json:"executor"`
	ExecutorResources     *Resources          `json:"executorResources,omitempty"`
	Constraints           [][]string          `json:"constraints"`
	AcceptedResourceRoles []string            `json:"acceptedResourceRoles,omitempty"`
	Role                  string              `json:"role,omitempty"`
	Container             *Container          `json:"container,omitempty"`
	Networks              []Network           `json:"networks,omitempty"`
	PortDefinitions       []PortDefinition    `json:"portDefinitions,omitzero"`
	RequirePorts          *bool               `json:"requirePorts,omitempty"`
	Fetch                 []Fetch             `json:"fetch,omitempty"`
	Dependencies          []string            `json:"dependencies,omitempty"`
	HealthChecks          []HealthCheck       `json:"healthChecks,omitempty"`
	Check                 *HealthCheck        `json:"check,omitempty"`
	ReadinessChecks       []ReadinessCheck    `json:"readinessChecks,omitempty"`
	BackoffSeconds        *float64            `json:"backoffSeconds"`
	BackoffFactor         *float64            `json:"backoffFactor"`
	MaxLaunchDelaySeconds *float64            `json:"maxLaunchDelaySeconds"`
	KillGraceSeconds      *float64            `json:"taskKillGracePeriodSeconds,omitempty"`
	UpgradeStrategy       *UpgradeStrategy    `json:"upgradeStrategy,omitempty"`
	Unreachable           *Unreachable        `json:"unreachableStrategy,omitempty"`
	KillSelection         string              `json:"killSelection,omitempty"`
	TTY                   *bool               `json:"tty,omitempty"`
	Version               string              `json:"version,omitempty"`
	VersionInfo           *VersionInfo        `json:"versionInfo,omitempty"`
	// Pod is there where it is a pod of Marathon's rather than an app.
	Pod *PodSpec `json:"pod,omitempty"`
}

// Secret says where a secret's value is: NAME or NAME/KEY of a Secret of the app's
// namespace.
type Secret struct {
	Source string `json:"source"`
}

// Resources are what an executor has.
type Resources struct {
	CPUs *float64 `json:"cpus,omitempty"`
	Mem  *float64 `json:"mem,omitempty"`
	Disk *float64 `json:"disk,omitempty"`
}

// ResourceLimits are what an instance may have beyond what it asks for.
type ResourceLimits struct {
	CPUs *Limit `json:"cpus,omitempty"`
	Mem  *Limit `json:"mem,omitempty"`
}

// Container is what an instance runs in.
type Container struct {
	Type         string        `json:"type,omitempty"`
	Docker       *Docker       `json:"docker,omitempty"`
	Volumes      []Volume      `json:"volumes"`
	PortMappings []PortMapping `json:"portMappings,omitempty"`
	LinuxInfo    *LinuxInfo    `json:"linuxInfo,omitempty"`
}

// Docker is an image, and how it is run.
type Docker struct {
	Image          string      `json:"image"`
	Privileged     bool        `json:"privileged"`
	ForcePullImage bool        `json:"forcePullImage"`
	Parameters     []Parameter `json:"parameters"`
	PullConfig     *PullConfig `json:"pullConfig,omitempty"`
}

// Parameter is an option of docker run.
type Parameter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// PullConfig names a secret of the app with a docker configuration.
type PullConfig struct {
	Secret string `json:"secret"`
}

// LinuxInfo is what a container shares.
type LinuxInfo struct {
	Seccomp *Seccomp `json:"seccomp,omitempty"`
	IPCInfo *IPCInfo `json:"ipcInfo,omitempty"`
}

// Seccomp is the profile of system calls.
type Seccomp struct {
	ProfileName *string `json:"profileName,omitempty"`
	Unconfined  bool    `json:"unconfined"`
}

// IPCInfo is whose IPC namespace is used.
type IPCInfo struct {
	Mode    string `json:"mode"`
	ShmSize *int64 `json:"shmSize,omitempty"`
}

// Volume is one of: a path of the host, persistent, external, a secret.
type Volume struct {
	ContainerPath string            `json:"containerPath"`
	Mode          string            `json:"mode,omitempty"`
	HostPath      *string           `json:"hostPath,omitempty"`
	Persistent    *PersistentVolume `json:"persistent,omitempty"`
	External      *ExternalVolume   `json:"external,omitempty"`
	Secret        *string           `json:"secret,omitempty"`
}

// PersistentVolume outlives its instance; size in MiB.
type PersistentVolume struct {
	Size        int64      `json:"size"`
	Type        string     `json:"type,omitempty"`
	MaxSize     *int64     `json:"maxSize,omitempty"`
	ProfileName *string    `json:"profileName,omitempty"`
	Constraints [][]string `json:"constraints"`
}

// ExternalVolume is one that others provide; size in GiB.
type ExternalVolume struct {
	Name     *string        `json:"name,omitempty"`
	Provider *string        `json:"provider,omitempty"`
	Size     *int64         `json:"size,omitempty"`
	Options  map[string]any `json:"options,omitempty"`
	Shared   *bool          `json:"shared,omitempty"`
}

// PortMapping is a port of a container with a network of its own.
type PortMapping struct {
	ContainerPort int32             `json:"containerPort"`
	HostPort      *int32            `json:"hostPort,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Name          *string           `json:"name,omitempty"`
	Protocol      string            `json:"protocol,omitempty"`
	ServicePort   int32             `json:"servicePort"`
	NetworkNames  []string          `json:"networkNames,omitempty"`
}

// PortDefinition is a port of an instance in its node's network.
type PortDefinition struct {
	Port     int32             `json:"port"`
	Labels   map[string]string `json:"labels,omitempty"`
	Name     *string           `json:"name,omitempty"`
	Protocol string            `json:"protocol,omitempty"`
}

// Network is one that an instance is on.
type Network struct {
	Mode   string            `json:"mode,omitempty"`
	Name   *string           `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// The modes of networks.
const (
	HostNetwork   = "host"
	NamedNetwork  = "container"
	BridgeNetwork = "container/bridge"
)

// Fetch is a file that an instance has in its sandbox.
type Fetch struct {
	URI        string  `json:"uri"`
	Extract    *bool   `json:"extract,omitempty"`
	Executable *bool   `json:"executable,omitempty"`
	Cache      *bool   `json:"cache,omitempty"`
	DestPath   *string `json:"destPath,omitempty"`
}

// HealthCheck says when an instance is healthy. As a check (Mesos' own) it has fewer words.
type HealthCheck struct {
	Command                *Command     `json:"command,omitempty"`
	Exec                   *CheckExec   `json:"exec,omitempty"`
	HTTP                   *CheckTarget `json:"http,omitempty"`
	TCP                    *CheckTarget `json:"tcp,omitempty"`
	GracePeriodSeconds     *int32       `json:"gracePeriodSeconds,omitempty"`
	IgnoreHTTP1xx          *bool        `json:"ignoreHttp1xx,omitempty"`
	IntervalSeconds        *int32       `json:"intervalSeconds,omitempty"`
	MaxConsecutiveFailures *int32       `json:"maxConsecutiveFailures,omitempty"`
	Path                   *string      `json:"path,omitempty"`
	Port                   *int32       `json:"port,omitempty"`
	PortIndex              *int32       `json:"portIndex,omitempty"`
	Protocol               string       `json:"protocol,omitempty"`
	TimeoutSeconds         *int32       `json:"timeoutSeconds,omitempty"`
	DelaySeconds           *int32       `json:"delaySeconds,omitempty"`
	IPProtocol             *string      `json:"ipProtocol,omitempty"`
}

// CheckExec is the command of a check.
type CheckExec struct {
	Command ShellCommand `json:"command"`
}

// ShellCommand is a line of the shell, or the words of a command.
type ShellCommand struct {
	Shell *string  `json:"shell,omitempty"`
	Argv  []string `json:"argv,omitempty"`
}

// CheckTarget is where a check asks.
type CheckTarget struct {
	PortIndex *int32  `json:"portIndex,omitempty"`
	Port      *int32  `json:"port,omitempty"`
	Endpoint  *string `json:"endpoint,omitempty"`
	Path      *string `json:"path,omitempty"`
	Scheme    *string `json:"scheme,omitempty"`
}

// Command is the command of a COMMAND health check.
type Command struct {
	Value string `json:"value"`
}

// ReadinessCheck says when a deployment may go on.
type ReadinessCheck struct {
	Name                    string  `json:"name,omitempty"`
	Protocol                string  `json:"protocol,omitempty"`
	Path                    string  `json:"path,omitempty"`
	PortName                string  `json:"portName,omitempty"`
	IntervalSeconds         *int32  `json:"intervalSeconds,omitempty"`
	TimeoutSeconds          *int32  `json:"timeoutSeconds,omitempty"`
	HTTPStatusCodesForReady []int32 `json:"httpStatusCodesForReady,omitempty"`
	PreserveLastResponse    *bool   `json:"preserveLastResponse,omitempty"`
}

// UpgradeStrategy says how instances are replaced.
type UpgradeStrategy struct {
	MinimumHealthCapacity *float64 `json:"minimumHealthCapacity,omitempty"`
	MaximumOverCapacity   *float64 `json:"maximumOverCapacity,omitempty"`
}

// VersionInfo says when what changed.
type VersionInfo struct {
	LastScalingAt      string `json:"lastScalingAt,omitempty"`
	LastConfigChangeAt string `json:"lastConfigChangeAt,omitempty"`
}
