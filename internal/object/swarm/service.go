package swarm

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/swarm"
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

// HistoryMax is how many tasks a slot keeps, the one that runs included (docker swarm
// update, --task-history-limit).
const HistoryMax = 5

// Labels of a service's pods.
const (
	ServiceLabel    = "swarm.trireme.dev/service"    // the service's object
	SlotLabel       = "swarm.trireme.dev/slot"       // 1…, or the node of a global service
	GenerationLabel = "swarm.trireme.dev/generation" // see Generation
)

// Service is a swarm service.
type Service struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              swarm.ServiceSpec  `json:"spec"`
	PreviousSpec      *swarm.ServiceSpec `json:"previousSpec,omitempty"`
	// Rollback says that the spec was written to go back to what was before.
	Rollback bool   `json:"rollback,omitempty"`
	Status   Status `json:"status,omitzero"`
	// Contents is the Digest of its files, where it follows them.
	Contents string `json:"-"`
}

// Status says what is.
type Status struct {
	Update *Update `json:"update,omitempty"`
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

// Replicas returns how many tasks a replicated service wants; false: it is global.
func (s *Service) Replicas() (n int, replicated bool) {
	switch m := s.Spec.Mode; {
	case m.Global != nil:
		return 0, false
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		return int(*m.Replicated.Replicas), true
	}
	return 1, true
}

//go:embed service.yaml
var definition []byte

// Definition returns the kind's definition.
func Definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(definition, d); err != nil {
		return nil, fmt.Errorf("reading the definition of swarm's services: %w", err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
	return d, nil
}
