package marathon

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// The kinds are served as these resources.
var (
	GroupVersion   = schema.GroupVersion{Group: "marathon.trireme.dev", Version: "v1"}
	Apps           = GroupVersion.WithResource("apps")
	Groups         = GroupVersion.WithResource("groups")
	Deployments    = GroupVersion.WithResource("deployments")
	AppKind        = GroupVersion.WithKind("App")
	GroupKind      = GroupVersion.WithKind("Group")
	DeploymentKind = GroupVersion.WithKind("Deployment")
)

// Labels and annotations of an app's pods.
const (
	AppLabel          = "marathon.trireme.dev/app"        // the name of the app's object
	GenerationLabel   = "marathon.trireme.dev/generation" // see Definition.Generation
	VersionAnnotation = "marathon.trireme.dev/version"    // of the app when the pod was made
)

// VersionsMax is how many former versions an app keeps.
const VersionsMax = 25

// App is a Marathon app.
type App struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Definition `json:"spec"`
	// Versions are what the spec was before, the newest first.
	Versions []Definition `json:"versions,omitempty"`
	// Deployment names the Deployment by which the spec was written; it says when the app
	// may follow.
	Deployment string `json:"deployment,omitempty"`
	Status     Status `json:"status,omitzero"`
}

// Status says how an app stands.
type Status struct {
	// Applied is the definition that its instances follow; nil: none yet.
	Applied *Definition `json:"applied,omitempty"`
	// Settled is the version of the spec of which all instances run, are ready and healthy;
	// empty: it is on its way.
	Settled string `json:"settled,omitempty"`
	// Replicas and Selector are for who scales it.
	Replicas int32    `json:"replicas"`
	Selector string   `json:"selector,omitempty"`
	Backoff  *Backoff `json:"backoff,omitempty"`
	// LastFailure is the last instance that ended by itself or was lost.
	LastFailure *Failure `json:"lastTaskFailure,omitempty"`
}

// Backoff is how long new instances wait.
type Backoff struct {
	Generation string      `json:"generation"` // of what was started
	Failures   int32       `json:"failures"`
	Until      metav1.Time `json:"until"`
}

// Failure is Marathon's TaskFailure.
type Failure struct {
	AppID     string `json:"appId"`
	Host      string `json:"host"`
	Message   string `json:"message"`
	SlaveID   string `json:"slaveId"`
	State     string `json:"state"`
	TaskID    string `json:"taskId"`
	Timestamp string `json:"timestamp"`
	Version   string `json:"version"`
}

// TimeLayout is how Marathon writes moments and versions.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// Stamp writes a moment as Marathon does.
func Stamp(t time.Time) string { return t.UTC().Format(TimeLayout) }

// ParseStamp reads a moment that Marathon, or a user, wrote.
func ParseStamp(text string) (time.Time, error) { return time.Parse(time.RFC3339, text) }

// Generation returns what an instance's pod is made from, as a label's value: two
// definitions that have the same differ in nothing that wants new instances (§12: all but
// the number of instances and the versions).
func (d *Definition) Generation() string {
	c := *d
	c.Instances, c.Version = nil, ""
	if d.VersionInfo != nil {
		c.VersionInfo = &VersionInfo{LastConfigChangeAt: d.VersionInfo.LastConfigChangeAt}
	}
	b, err := json.Marshal(&c)
	if err != nil {
		return "" // it came from JSON
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Same reports whether an update from d to next wants no new instances: what is only said
// by versions does not count.
func (d *Definition) Same(next *Definition) bool {
	a, b := *d, *next
	a.VersionInfo, b.VersionInfo = nil, nil
	return a.Generation() == b.Generation()
}

// Count returns how many instances are wanted.
func (d *Definition) Count() int {
	if d.Instances == nil {
		return 1
	}
	return max(int(*d.Instances), 0)
}

// Delay returns how long new instances wait after so many have ended.
func (d *Definition) Delay(failures int32) time.Duration {
	if failures <= 0 {
		return 0
	}
	seconds := or(d.BackoffSeconds, 1) * math.Pow(or(d.BackoffFactor, 1.15), float64(failures-1))
	return time.Duration(math.Min(seconds, or(d.MaxLaunchDelaySeconds, 300)) * float64(time.Second))
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// Tree returns v as an object of a custom resource holds it.
func Tree(v any) (tree any, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return tree, utiljson.Unmarshal(b, &tree) // whole numbers as int64
}

// complete fills in defaults: not every door writes them.
func (a *App) complete() {
	a.Spec.complete()
	for i := range a.Versions {
		a.Versions[i].complete()
	}
	if a.Status.Applied != nil {
		a.Status.Applied.complete()
	}
}

// Read reads an object of the group out of tables.CustomObjects or a client's answer.
func Read[T any](u *unstructured.Unstructured) (*T, error) {
	b, err := json.Marshal(u.Object)
	if err != nil {
		return nil, err
	}
	o := new(T)
	if err := json.Unmarshal(b, o); err != nil {
		return nil, fmt.Errorf("reading %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	if a, ok := any(o).(*App); ok {
		a.complete()
	}
	return o, nil
}

//go:embed app.yaml group.yaml deployment.yaml
var definitions embed.FS

// Kinds returns the definitions of the kinds.
func Kinds() (kinds []*apiextensionsv1.CustomResourceDefinition, err error) {
	for _, file := range []string{"app.yaml", "group.yaml", "deployment.yaml"} {
		b, err := definitions.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(b, d); err != nil {
			return nil, fmt.Errorf("reading the definition of Marathon's kinds, %s: %w", file, err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
		kinds = append(kinds, d)
	}
	return kinds, nil
}

// TaskState returns an instance's state in Mesos' words; away says that its node is.
func TaskState(p *corev1.Pod, away bool) string {
	switch {
	case p.Status.Phase == corev1.PodSucceeded:
		return "TASK_FINISHED"
	case p.Status.Phase == corev1.PodFailed:
		return "TASK_FAILED"
	case away:
		return "TASK_UNREACHABLE"
	case p.DeletionTimestamp != nil:
		return "TASK_KILLING"
	case p.Status.Phase == corev1.PodRunning:
		return "TASK_RUNNING"
	}
	return "TASK_STAGING"
}

// EndMessage says why an instance ended.
func EndMessage(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		t := c.State.Terminated
		switch {
		case t == nil:
		case t.Message != "":
			return t.Message
		case t.Reason == "OOMKilled":
			return "Memory limit exceeded"
		case t.Signal != 0:
			return fmt.Sprintf("Command terminated with signal %d", t.Signal)
		default:
			return fmt.Sprintf("Command exited with status %d", t.ExitCode)
		}
	}
	if p.Status.Message != "" {
		return p.Status.Message
	}
	return p.Status.Reason
}
