package runtime

import (
	"context"
	"io"
	"iter"
	"net/netip"
	"net/url"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Runtime is everything an agent asks of containers.
type Runtime interface {
	Sandboxes
	Containers
	Observer
	Images
	Streams
}

// Sandboxes are what the containers of one pod share.
type Sandboxes interface {
	// RunSandbox makes and starts a pod's sandbox, network included.
	RunSandbox(ctx context.Context, cfg *SandboxConfig) (id string, err error)
	// StopSandbox ends what runs in it and takes down its network.
	StopSandbox(ctx context.Context, id string) error
	// RemoveSandbox removes it with its containers.
	RemoveSandbox(ctx context.Context, id string) error
	// Addresses returns those that its network gave it, the primary one first; none: it
	// is on the node's network. kind.NotFound: there is no such sandbox.
	Addresses(ctx context.Context, id string) ([]netip.Addr, error)
}

// Containers run in a sandbox.
type Containers interface {
	// CreateContainer makes a container; its image must be there.
	CreateContainer(ctx context.Context, sandboxID string, sandbox *SandboxConfig, cfg *ContainerConfig) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	// UpdateContainer changes the limits of a container that runs; kind.NotFound if
	// it does not. Its OOM score stays.
	UpdateContainer(ctx context.Context, id string, r Resources) error
	// StopContainer sends the stop signal, and kills after grace.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	RemoveContainer(ctx context.Context, id string) error
}

// Observer tells what there is.
type Observer interface {
	// List returns every sandbox this agent made, with its containers, oldest
	// first; a sandbox of a pod that is no longer assigned as well.
	List(ctx context.Context) ([]Sandbox, error)
	// Container returns the full state of one container.
	Container(ctx context.Context, id string) (*Container, error)
	// Events yields the UID of a pod whose containers or sandbox changed, until
	// ctx ends or the runtime goes away (the last pair carries why). An empty UID
	// says that events may have been lost: List again.
	Events(ctx context.Context) iter.Seq2[types.UID, error]
	// Stats returns what the running containers use now.
	Stats(ctx context.Context) ([]Usage, error)
	// Check says whether the runtime answers and is ready, network included.
	Check(ctx context.Context) error
}

// Images are what containers are made from.
type Images interface {
	// Pull brings an image and returns its ID. progress may be nil.
	Pull(ctx context.Context, ref string, creds []Credentials, sandbox *SandboxConfig) (id string, err error)
	// Image returns the image a reference names, kind.NotFound if it is not here.
	Image(ctx context.Context, ref string) (*Image, error)
	ListImages(ctx context.Context) ([]Image, error)
	RemoveImage(ctx context.Context, id string) error
	// Tag gives the image that ref names another name, which no other image has then;
	// Untag takes a name away, and with the last one the image.
	Tag(ctx context.Context, ref, as string) error
	Untag(ctx context.Context, ref string) error
	// Import reads a docker or OCI archive and returns the names it brought.
	Import(ctx context.Context, archive io.Reader) (names []string, err error)
	// Descriptor returns the manifest or index that a reference names, kind.NotFound
	// if it is not here.
	Descriptor(ctx context.Context, ref string) (ocispec.Descriptor, error)
	// Content opens what the image store holds under a digest, from an offset in
	// bytes, and returns the size of the whole.
	Content(ctx context.Context, digest string, offset int64) (body io.ReadCloser, size int64, err error)
	// HoldLayers returns the folders of the unpacked layers of the image that ref names,
	// the top one first, kind.NotFound if it is not here. They stay until
	// ReleaseLayers of that holder, whatever becomes of the image.
	HoldLayers(ctx context.Context, ref, holder string) ([]string, error)
	// ReleaseLayers lets go of them; it is no error if the holder has none.
	ReleaseLayers(ctx context.Context, holder string) error
	// ImageFS returns the size in bytes of the images' file system and what is used of it.
	ImageFS(ctx context.Context) (capacity, used int64, err error)
}

// Streams reach into running containers.
type Streams interface {
	// ExecSync runs a command to its end. code is the command's exit status.
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int, err error)
	// Exec, Attach and PortForward return where a SPDY or WebSocket client
	// streams; the address is reachable from this node only.
	Exec(ctx context.Context, id string, opts StreamOptions) (*url.URL, error)
	Attach(ctx context.Context, id string, opts StreamOptions) (*url.URL, error)
	PortForward(ctx context.Context, sandboxID string, ports []int32) (*url.URL, error)
	// ReopenLog makes the runtime write to the log path anew after a rotation.
	ReopenLog(ctx context.Context, id string) error
}

// StreamOptions says what is streamed.
type StreamOptions struct {
	Cmd                        []string // exec only
	Stdin, Stdout, Stderr, TTY bool
}

// SandboxConfig is a pod as a runtime sees it. What is equal here runs in an
// equal sandbox.
type SandboxConfig struct {
	Name, Namespace string
	UID             types.UID
	Attempt         uint32 // counts sandboxes of the same pod
	Hostname        string
	LogDir          string
	DNS             *DNSConfig // nil: the node's resolv.conf
	Labels          map[string]string
	Annotations     map[string]string
	CgroupParent    string
	Sysctls         map[string]string
	HostPorts       []HostPort // for CNI plugins that serve them

	HostNetwork, HostPID, HostIPC bool
	ShareProcesses                bool // one PID namespace for the pod
	Privileged                    bool // a container of the pod is privileged
	RuntimeHandler                string
	Security                      *corev1.PodSecurityContext
	// Resources of the whole pod, for the sandbox's cgroup; zero: none.
	Resources Resources
}

// HostPort is a port of the node that leads to one of the pod.
type HostPort struct {
	HostIP    string // empty: every address of the node
	Port, Pod int32
	Protocol  corev1.Protocol
}

// DNSConfig is a pod's resolv.conf.
type DNSConfig struct {
	Servers, Searches, Options []string
}

// ContainerConfig is one container with every choice made: values filled in,
// volumes prepared on the node, the image named by ID or reference.
type ContainerConfig struct {
	Name        string
	Attempt     uint32 // the restart count
	Image       string // what the runtime runs: an image ID
	ImageRef    string // what the user asked for
	Command     []string
	Args        []string
	WorkingDir  string
	Env         []KeyValue
	Mounts      []Mount
	Devices     []Device
	LogPath     string // relative to the sandbox's LogDir
	Labels      map[string]string
	Annotations map[string]string

	Stdin, StdinOnce, TTY bool
	Resources             Resources
	Security              *corev1.SecurityContext // merged with the pod's
	RunAsUser             *int64                  // resolved; nil: the image's
	RunAsUserName         string
	RunAsGroup            *int64
	SupplementalGroups    []int64
	MaskedPaths           bool   // the default masks apply (not procMount Unmasked)
	StopSignal            string // as "SIGINT"; empty: the image's
	Init                  bool   // a process of ours starts the container's, and reaps
	Ulimits               []Ulimit
	Groups                []string // more of them, as the image names them
	Unset                 []string // variables that it does not have, though its image says so
	Seccomp               []byte   // a profile in docker's form, which wins over Security's; nil: none
	TargetID              string   // a container whose PID namespace this one joins; empty: as the sandbox says
}

// Ulimit is a resource limit of processes (setrlimit(2)), called as "nofile". -1: none.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// KeyValue is one environment variable.
type KeyValue struct{ Key, Value string }

// Mount is one bind mount.
type Mount struct {
	HostPath, Path string
	ReadOnly       bool
	Propagation    corev1.MountPropagationMode // empty: none
}

// Device is one device node.
type Device struct{ HostPath, Path, Permissions string }

// Resources are cgroup limits; zero values mean no limit or the default.
type Resources struct {
	CPUShares   int64 // relative weight, 2…262144
	CPUQuota    int64 // microseconds a period
	CPUPeriod   int64 // microseconds
	MemoryBytes int64
	SwapBytes   int64  // beside MemoryBytes; without a limit of that it says nothing
	CPUs        string // that it runs on, as the kernel lists them; empty: its group's
	// HugePages is bytes by page size, as the kernel writes it ("2MB"). Where the
	// kernel does not count huge pages they are left out.
	HugePages   map[string]int64
	OOMScoreAdj int64
	PIDsMax     int64             // processes and threads; 0: no limit, or the one it has
	Unified     map[string]string // cgroup v2 only
}

// Credentials are for one registry pull; tried in order.
type Credentials struct {
	Username, Password, IdentityToken, RegistryToken string
}

// Sandbox is a sandbox that exists.
type Sandbox struct {
	ID              string
	Name, Namespace string
	UID             types.UID
	Attempt         uint32
	Ready           bool
	Created         time.Time
	Labels          map[string]string
	Annotations     map[string]string
	Containers      []Container // oldest first
}

// State is where a container is in its life.
//
//	Created → Running → Exited
//	   └──────────────────┘
type State uint8

// The states. Unknown: the runtime does not say.
const (
	Unknown State = iota
	Created
	Running
	Exited
)

// Container is a container that exists. List may leave Started, Finished,
// ExitCode, Reason and Message empty; Container fills them in.
type Container struct {
	ID          string
	Name        string
	Attempt     uint32
	State       State
	ImageID     string // "sha256:…" or a digest reference
	ImageRef    string
	Created     time.Time
	Started     time.Time
	Finished    time.Time
	ExitCode    int32
	Reason      string // "OOMKilled", "Completed", "Error"
	Message     string
	LogPath     string
	Labels      map[string]string
	Annotations map[string]string
}

// Image is an image that is here.
type Image struct {
	ID        string // "sha256:…"
	Names     []string
	Digests   []string // "name@sha256:…", as a registry gave them; none: from an archive
	SizeBytes int64
	User      string // as the image says: a number or a name, empty: root
	Pinned    bool   // never collected
}

// Usage is what one running container uses.
type Usage struct {
	ContainerID   string
	PodUID        types.UID
	Pod           types.NamespacedName
	Container     string
	CPUNanoTotal  uint64 // CPU time since its start
	CPUNano       uint64 // nanocores now; 0 where the runtime does not say
	MemoryBytes   uint64 // working set
	DiskUsedBytes uint64 // writable layer
	Time          time.Time
}
