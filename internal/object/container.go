package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ContainerAnnotation returns the annotation of a pod that holds the ContainerOptions
// of one of its containers, as JSON.
func ContainerAnnotation(container string) string { return "container.trireme.dev/" + container }

// ContainerOptions are what a container may be that Kubernetes has no field for. None of
// it lets a container do what its pod's fields forbid: limits narrow, a user is held to
// runAsNonRoot, a profile is for a container that asks for none (seccompProfile
// Unconfined), and the OOM score may only be worse than what the pod would have.
type ContainerOptions struct {
	Ulimits []Ulimit `json:"ulimits,omitempty"`
	// Init has a process of ours start the container's and reap what it leaves behind.
	Init        bool   `json:"init,omitempty"`
	PIDsMax     int64  `json:"pidsMax,omitempty"`
	OOMScoreAdj *int64 `json:"oomScoreAdj,omitempty"`
	// User is USER or USER:GROUP, Groups are more groups: names of the image, or numbers.
	User   string   `json:"user,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Unset are variables that it does not have, though its image says so.
	Unset []string `json:"unset,omitempty"`
	// Seccomp is a profile in docker's form.
	Seccomp json.RawMessage `json:"seccomp,omitempty"`
	// Health has the image's own health check count as one of the container's.
	Health *ImageHealth `json:"imageHealth,omitempty"`
}

// ImageHealth says what is made of the image's health check. Times and Retries are instead
// of the image's, where they are not 0.
type ImageHealth struct {
	// End ends a container that is not healthy any more, as a liveness probe does; else it
	// is only not ready.
	End           bool          `json:"end,omitempty"`
	Interval      time.Duration `json:"interval,omitempty"`
	Timeout       time.Duration `json:"timeout,omitempty"`
	StartPeriod   time.Duration `json:"startPeriod,omitempty"`
	StartInterval time.Duration `json:"startInterval,omitempty"`
	Retries       int           `json:"retries,omitempty"`
}

// ImageHealthCondition is true in the status of a pod of which a container has a health
// check by its image; the message is the container's name.
const ImageHealthCondition corev1.PodConditionType = "trireme.dev/ImageHealth"

// HealthChecked reports whether the readiness of a container of the pod is what a check
// says: one of its spec, or its image's.
func HealthChecked(p *corev1.Pod, c *corev1.Container) bool {
	if c.ReadinessProbe != nil {
		return true
	}
	cond := PodCondition(p, ImageHealthCondition)
	return cond != nil && cond.Status == corev1.ConditionTrue && slices.Contains(strings.Split(cond.Message, " "), c.Name)
}

// Ulimit is a resource limit of processes (setrlimit(2)). -1: none.
type Ulimit struct {
	Name string `json:"name"` // nofile, nproc…
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}

// ulimits are those that may be set. Not nice, rtprio and rttime: with them a container
// takes the node's CPUs from others.
var ulimits = []string{"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nofile", "nproc", "rss", "sigpending", "stack"}

var variableForm = regexp.MustCompile(`^[^=\x00]+$`)

// Empty reports whether nothing is asked for.
func (o *ContainerOptions) Empty() bool {
	return len(o.Ulimits)+len(o.Groups)+len(o.Unset)+len(o.Seccomp) == 0 && !o.Init && o.PIDsMax == 0 && o.OOMScoreAdj == nil && o.User == "" && o.Health == nil
}

// Check returns what is wrong, by the field.
func (o *ContainerOptions) Check() error {
	for i, u := range o.Ulimits {
		switch {
		case !slices.Contains(ulimits, u.Name):
			return fmt.Errorf("ulimits[%d].name: %q cannot be set: these can be: %s", i, u.Name, strings.Join(ulimits, ", "))
		case u.Soft < -1 || u.Hard < -1:
			return fmt.Errorf("ulimits[%d]: %d:%d is negative: -1 is no limit", i, u.Soft, u.Hard)
		case u.Hard >= 0 && (u.Soft < 0 || u.Soft > u.Hard):
			return fmt.Errorf("ulimits[%d]: the soft limit of %s must not be above the hard one", i, u.Name)
		}
	}
	if o.PIDsMax < 0 {
		return fmt.Errorf("pidsMax: %d is negative", o.PIDsMax)
	}
	if a := o.OOMScoreAdj; a != nil && (*a < -1000 || *a > 1000) {
		return fmt.Errorf("oomScoreAdj: %d: it is -1000 to 1000", *a)
	}
	if h := o.Health; h != nil && (min(h.Interval, h.Timeout, h.StartPeriod, h.StartInterval) < 0 || h.Retries < 0) {
		return fmt.Errorf("imageHealth: %+v: none of it can be negative", *h)
	}
	for i, name := range o.Unset {
		if !variableForm.MatchString(name) {
			return fmt.Errorf("unset[%d]: %q is no name of a variable", i, name)
		}
	}
	if len(o.Seccomp) > 0 && !json.Valid(o.Seccomp) {
		return fmt.Errorf("seccomp: it is not JSON")
	}
	return nil
}

// OptionsOf returns the options of a container of the pod.
func OptionsOf(p *corev1.Pod, container string) (o ContainerOptions, err error) {
	key := ContainerAnnotation(container)
	text := p.Annotations[key]
	if text == "" {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err = d.Decode(&o); err == nil {
		err = o.Check()
	}
	if err != nil {
		return ContainerOptions{}, fmt.Errorf("annotation %s: %w", key, err)
	}
	return o, nil
}

var literally = strings.NewReplacer("$$", "$$$$", "$(", "$$(")

// Literal returns what Kubernetes makes text of where it expands $(NAME) and $$ in commands,
// arguments and variables, for doors whose users mean what they write.
func Literal(text string) string { return literally.Replace(text) }
