package swarm

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"trireme/internal/object"
)

// beyond asks for what Kubernetes has no field for, or one of another form
// (object.ContainerOptions).
func (b *builder) beyond() error {
	c, r := b.spec, ptr.Deref(b.service.Spec.TaskTemplate.Resources, swarm.ResourceRequirements{})
	o := &b.options
	for i, u := range c.Ulimits {
		if u == nil {
			return fmt.Errorf("ContainerSpec.Ulimits[%d]: it is empty", i)
		}
		o.Ulimits = append(o.Ulimits, object.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	o.Init = c.Init != nil && *c.Init
	o.PIDsMax = max(ptr.Deref(r.Limits, swarm.Limit{}).Pids, 0) // 0 and -1: none
	if err := b.oomScore(c.OomScoreAdj); err != nil {
		return err
	}
	if p := c.Privileges; p != nil && p.Seccomp != nil && p.Seccomp.Mode == swarm.SeccompModeCustom {
		o.Seccomp = p.Seccomp.Profile
		b.container.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		if !json.Valid(o.Seccomp) {
			return fmt.Errorf("ContainerSpec.Privileges.Seccomp.Profile: it is not JSON")
		}
	}
	if c.StopSignal != "" {
		signal, ok := signalName(c.StopSignal)
		if !ok {
			return fmt.Errorf("ContainerSpec.StopSignal: %q is no signal: write SIGINT, INT or 2", c.StopSignal)
		}
		b.container.Lifecycle = &corev1.Lifecycle{StopSignal: &signal}
		b.pod.Spec.OS = &corev1.PodOS{Name: corev1.Linux} // signals are the system's own
	}
	if o.Empty() {
		return nil
	}
	if err := o.Check(); err != nil {
		return fmt.Errorf("ContainerSpec: %w", err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	b.note(object.ContainerAnnotation(ContainerName), string(text))
	return nil
}

// oomScore asks for a score. It may not be better than what follows from what the task
// reserves; what that is its node knows, but for tasks that reserve nothing.
func (b *builder) oomScore(score int64) error {
	if score == 0 {
		return nil
	}
	if list := b.container.Resources; score < 1000 && zero(list.Limits) && zero(list.Requests) {
		return fmt.Errorf("ContainerSpec.OomScoreAdj: %d: a task that reserves nothing has 1000, and none may have less than its part: reserve memory (Resources.Reservations.MemoryBytes)", score)
	}
	b.options.OOMScoreAdj = &score
	return nil
}

func zero(list corev1.ResourceList) bool {
	for _, q := range list {
		if !q.IsZero() {
			return false
		}
	}
	return true
}

// GenericPrefix is before the kind of a generic resource in the name of the extended
// resource that nodes are to have it as; kinds with a "/" are such names already.
const GenericPrefix = "generic.swarm.trireme.dev/"

// generic adds what is asked for of nodes' extended resources.
func generic(list *corev1.ResourceRequirements, asked []swarm.GenericResource) error {
	for i, g := range asked {
		field := fmt.Sprintf("Resources.Reservations.GenericResources[%d]", i)
		d := g.DiscreteResourceSpec
		if d == nil || d.Value < 1 || d.Kind == "" {
			return fmt.Errorf("%s: it is KIND=NUMBER; which of several one gets is its node's affair (NamedResourceSpec)", field)
		}
		name := corev1.ResourceName(d.Kind)
		if !strings.Contains(d.Kind, "/") {
			name = corev1.ResourceName(GenericPrefix + d.Kind)
		}
		if !object.Extended(name) {
			return fmt.Errorf("%s: %q cannot be the name of a resource of nodes", field, name)
		}
		q := *resource.NewQuantity(d.Value, resource.DecimalSI)
		list.Requests[name], list.Limits[name] = q, q
	}
	return nil
}

// signals are Linux' by number (signal(7)).
var signals = strings.Fields("HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS")

// realTime are those that have numbers only.
var realTime = regexp.MustCompile(`^RT(MIN(\+([1-9]|1[0-5]))?|MAX(-([1-9]|1[0-4]))?)$`)

// signalName returns a signal as Kubernetes writes it: docker takes names with and
// without SIG, and numbers.
func signalName(text string) (corev1.Signal, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > len(signals) {
			return "", false
		}
		return corev1.Signal("SIG" + signals[n-1]), true
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	for _, known := range signals {
		if name == known {
			return corev1.Signal("SIG" + name), true
		}
	}
	return corev1.Signal("SIG" + name), realTime.MatchString(name)
}
