package swarm

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"trireme/internal/object"
)

// Services are served as this resource.
var (
	Group    = schema.GroupVersion{Group: "swarm.trireme.dev", Version: "v1"}
	Services = Group.WithResource("services")
	Kind     = Group.WithKind("Service")
)

// HistoryMax is how many tasks a slot keeps where no Cluster says how many, the one that
// runs included (docker swarm update, --task-history-limit).
const HistoryMax = 5

// Labels and annotations of a service's pods.
const (
	// ServiceLabel names the service's object, on tasks that it leads to: one that is to
	// end has it no more.
	ServiceLabel     = "swarm.trireme.dev/service"
	SlotLabel        = "swarm.trireme.dev/slot"       // 1…, of a job 0…, or the node of a global service
	GenerationLabel  = "swarm.trireme.dev/generation" // see Generation
	IterationLabel   = "swarm.trireme.dev/iteration"  // of a job, see Iteration
	DesiredLabel     = "swarm.trireme.dev/desired"    // Shutdown, Move; others are to run
	ReasonAnnotation = "swarm.trireme.dev/reason"     // why a task was rejected
)

// RegistryAuthAnnotation of a service names the Secret beside it with what its user showed
// to be passed on to registries (docker service create --with-registry-auth).
const RegistryAuthAnnotation = "swarm.trireme.dev/registry-auth"

// Shutdown is the DesiredLabel of a task that is to end and stays as history.
const Shutdown = string(swarm.TaskStateShutdown)

// Move is the DesiredLabel of a task that runs and is to be replaced by the rules of an update, so
// that another is on a better node.
const Move = "move"

// DrainTaint is on nodes whose availability is drain: what runs there ends. The loop
// ends tasks of services itself, which therefore tolerate it.
var DrainTaint = corev1.Taint{Key: "swarm.trireme.dev/availability", Value: string(swarm.NodeAvailabilityDrain), Effect: corev1.TaintEffectNoExecute}

// Drained reports whether what runs on the node is to end.
func Drained(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&DrainTaint) })
}

// Service is a swarm service.
type Service struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              swarm.ServiceSpec  `json:"spec"`
	PreviousSpec      *swarm.ServiceSpec `json:"previousSpec,omitempty"`
	// Rollback says that the spec was written to go back to what was before.
	Rollback bool `json:"rollback,omitempty"`
	// Runs moves with every update of a job, so that one that changes nothing else runs
	// it again too.
	Runs   int64  `json:"runs,omitempty"`
	Status Status `json:"status,omitzero"`
	// Contents is the Digest of its files, where it follows them.
	Contents string `json:"-"`
}

// Status says what is.
type Status struct {
	Update *Update    `json:"update,omitempty"`
	Job    *JobStatus `json:"job,omitempty"`
}

// JobStatus is how a job stands.
type JobStatus struct {
	Iteration     int64       `json:"iteration"`
	LastExecution metav1.Time `json:"lastExecution"` // when the iteration began, or was due
	// Reruns is how many iterations its schedule began.
	Reruns int64 `json:"reruns,omitempty"`
	// Waits says that this iteration was begun by an update of a job that its schedule
	// runs: it has no tasks.
	Waits bool `json:"waits,omitempty"`
}

// Update is how the last update of tasks stands.
type Update struct {
	State     swarm.UpdateState `json:"state"`
	Message   string            `json:"message,omitempty"`
	Started   metav1.Time       `json:"started"`
	Completed *metav1.Time      `json:"completed,omitempty"`
	Slots     int32             `json:"slots,omitempty"` // that it replaces
	// Generation is what it is an update to.
	Generation string `json:"generation,omitempty"`
	// Seen is the metadata.generation that it stands for: what a user wrote since has
	// another update, or none.
	Seen int64 `json:"seen,omitempty"`
}

// FromUnstructured reads a service out of tables.CustomObjects or a client's answer.
func FromUnstructured(u *unstructured.Unstructured) (*Service, error) {
	b, err := json.Marshal(u.Object)
	if err != nil {
		return nil, err
	}
	s := &Service{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("reading swarm service %s: %w", object.KeyOf(u), err)
	}
	return s, nil
}

// Back writes the former spec as the spec, word for word, and has no former one then.
func Back(u *unstructured.Unstructured) {
	u.Object["spec"], u.Object["rollback"] = u.Object["previousSpec"], true
	delete(u.Object, "previousSpec")
}

// Tree returns v as an object of a custom resource holds it.
func Tree(v any) (tree any, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return tree, utiljson.Unmarshal(b, &tree) // whole numbers as int64
}

// Generation returns what a task's pod is made from, as a label's value: two specs
// that have the same differ in nothing that wants new tasks (docs/docker.md).
func (s *Service) Generation() string {
	template := s.Spec.TaskTemplate
	template.RestartPolicy = nil // of the loop, not of the pod
	template.Placement = nil     // of where it is
	b, err := json.Marshal(struct {
		Task     swarm.TaskSpec
		Endpoint *swarm.EndpointSpec
		Extras   map[string]string `json:",omitempty"`
		Contents string            `json:",omitempty"`
	}{template, s.Spec.EndpointSpec, s.extras(), s.Contents})
	if err != nil {
		return "" // it came from JSON
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Alike reports whether tasks differ in nothing but their slots: none of their texts has a
// template, and they have no files.
func (s *Service) Alike() bool {
	if s.PerNode() || len(s.Refs()) > 0 {
		return false
	}
	b, err := json.Marshal([]any{s.Spec.TaskTemplate, s.Spec.Labels})
	return err == nil && !bytes.Contains(b, []byte("{{"))
}

// Rules returns how tasks are replaced: by the update's words, or the rollback's.
func (s *Service) Rules() swarm.UpdateConfig {
	c := s.Spec.UpdateConfig
	if s.Rollback {
		c = s.Spec.RollbackConfig
	}
	if c == nil {
		return swarm.UpdateConfig{Parallelism: 1, Monitor: defaultMonitor}
	}
	out := *c
	if out.Monitor == 0 {
		out.Monitor = defaultMonitor
	}
	return out
}

// defaultMonitor is how long a new task is watched (Docker Engine API, UpdateConfig).
const defaultMonitor = 5 * time.Second

//go:embed service.yaml cluster.yaml volume.yaml
var definitions embed.FS

// Definitions returns the definitions of the kinds.
func Definitions() (kinds []*apiextensionsv1.CustomResourceDefinition, err error) {
	for _, file := range []string{"service.yaml", "cluster.yaml", "volume.yaml"} {
		b, err := definitions.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(b, d); err != nil {
			return nil, fmt.Errorf("reading the definition of swarm's kinds, %s: %w", file, err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
		kinds = append(kinds, d)
	}
	return kinds, nil
}
