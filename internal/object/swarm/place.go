package swarm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
)

// ManagerLabel is on nodes that are managers too, as Kubernetes' own tools set it.
const ManagerLabel = "node-role.kubernetes.io/control-plane"

// EnginePrefix is before the labels of nodes that docker's clients know as their
// engine's.
const EnginePrefix = "engine.trireme.dev/"

// PlacementAnnotation is on pods that ask for more of their node than Kubernetes has
// words for: a Placement in JSON. The scheduler keeps it, whoever made the pod.
const PlacementAnnotation = "swarm.trireme.dev/placement"

// Placement is what a task asks of its node (Docker Engine API, Placement).
type Placement struct {
	Constraints []string `json:"constraints,omitempty"` // all are to be met
	Platforms   []string `json:"platforms,omitempty"`   // one is to be the node's, as linux/amd64; a part may be empty
	// MaxPerNode is how many pods of the pod's owner a node takes; 0: any number.
	MaxPerNode int64 `json:"maxPerNode,omitempty"`
	// Spread names the labels of nodes over whose values pods are spread evenly, the
	// first before all others; nodes without one are a group of their own.
	Spread []string `json:"spread,omitempty"`

	parsed []constraint
}

// constraint is KEY==VALUE or KEY!=VALUE.
type constraint struct {
	key, value string
	equal      bool
}

var (
	constraintForm = regexp.MustCompile(`^\s*([a-zA-Z0-9][a-zA-Z0-9._/-]*)\s*(==|!=)\s*(.*?)\s*$`)
	// constraintValue is what swarmkit takes for one.
	constraintValue = regexp.MustCompile(`^[a-zA-Z0-9:_\s.*()?+\[\]\\^$|/-]+$`)
)

// ReadPlacement reads what an annotation says; nil where it says nothing.
func ReadPlacement(text string) (*Placement, error) {
	if text == "" {
		return nil, nil
	}
	p := &Placement{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("%s: %w", PlacementAnnotation, err)
	}
	return p, p.parse()
}

func (p *Placement) parse() error {
	for i, text := range p.Constraints {
		m := constraintForm.FindStringSubmatch(text)
		if m == nil {
			return fmt.Errorf("Constraints[%d]: %q is not of the form KEY==VALUE or KEY!=VALUE", i, text)
		}
		if !constraintValue.MatchString(m[3]) {
			return fmt.Errorf("Constraints[%d]: value '%s' is invalid", i, m[3])
		}
		p.parsed = append(p.parsed, constraint{key: m[1], value: m[3], equal: m[2] == "=="})
	}
	return nil
}

// Placement returns what the service's tasks ask of their nodes; nil: nothing.
func (s *Service) Placement() (*Placement, error) {
	asked := s.Spec.TaskTemplate.Placement
	if asked == nil {
		return nil, nil
	}
	p := &Placement{Constraints: asked.Constraints}
	for _, f := range asked.Platforms {
		p.Platforms = append(p.Platforms, f.OS+"/"+f.Architecture)
	}
	if !s.PerNode() {
		p.MaxPerNode = int64(asked.MaxReplicas)
		p.Spread = spreads(asked.Preferences)
	}
	if len(p.Constraints)+len(p.Platforms)+len(p.Spread) == 0 && p.MaxPerNode == 0 {
		return nil, nil
	}
	return p, p.parse()
}

// spreads returns the labels of nodes that preferences name. Others are preferences for
// nothing, as in swarm.
func spreads(prefs []swarm.PlacementPreference) (keys []string) {
	for _, pref := range prefs {
		if pref.Spread == nil {
			continue
		}
		if key, ok := strings.CutPrefix(pref.Spread.SpreadDescriptor, "node.labels."); ok {
			keys = append(keys, key)
		} else if key, ok := strings.CutPrefix(pref.Spread.SpreadDescriptor, "engine.labels."); ok {
			keys = append(keys, EnginePrefix+key)
		}
	}
	return keys
}

// place writes what is asked of the node where the scheduler finds it.
func (b *builder) place() error {
	p, err := b.service.Placement()
	if err != nil || p == nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if b.pod.Annotations == nil {
		b.pod.Annotations = map[string]string{}
	}
	b.pod.Annotations[PlacementAnnotation] = string(text)
	return nil
}

// Fits reports whether the node meets all constraints. Nil asks for nothing.
func (p *Placement) Fits(n *corev1.Node) bool {
	if p == nil {
		return true
	}
	for _, c := range p.parsed {
		if !c.met(n) {
			return false
		}
	}
	return true
}

// Runs reports whether the node is of a platform that is asked for.
func (p *Placement) Runs(n *corev1.Node) bool {
	if p == nil || len(p.Platforms) == 0 {
		return true
	}
	return slices.ContainsFunc(p.Platforms, func(platform string) bool {
		os, arch, _ := strings.Cut(platform, "/")
		info := &n.Status.NodeInfo
		return (os == "" || os == info.OperatingSystem) && (arch == "" || architecture(arch) == architecture(info.Architecture))
	})
}

// Group returns where the node stands in the first so many levels of the spread.
func (p *Placement) Group(n *corev1.Node, levels int) string {
	var path strings.Builder
	for _, key := range p.Spread[:levels] {
		path.WriteString(n.Labels[key])
		path.WriteByte('\n')
	}
	return path.String()
}

// met compares regardless of case (swarmkit, constraint). What is not there equals "".
func (c constraint) met(n *corev1.Node) bool {
	same := func(have string) bool { return strings.EqualFold(have, c.value) == c.equal }
	switch c.key {
	case "node.id":
		return same(ID(n.UID))
	case "node.hostname":
		return same(n.Name)
	case "node.ip":
		return c.address(n)
	case "node.role":
		role := swarm.NodeRoleWorker
		if _, manages := n.Labels[ManagerLabel]; manages {
			role = swarm.NodeRoleManager
		}
		return same(string(role))
	case "node.platform.os":
		return same(n.Status.NodeInfo.OperatingSystem)
	case "node.platform.arch":
		return (architecture(c.value) == architecture(n.Status.NodeInfo.Architecture)) == c.equal
	}
	if key, ok := strings.CutPrefix(c.key, "node.labels."); ok {
		return same(n.Labels[key])
	}
	if key, ok := strings.CutPrefix(c.key, "engine.labels."); ok {
		return same(n.Labels[EnginePrefix+key])
	}
	return false // nothing is known of any node by this word
}

// address compares the node's addresses with an address or a network; with neither
// nothing is met.
func (c constraint) address(n *corev1.Node) bool {
	within := func(netip.Addr) bool { return false }
	if one, err := netip.ParseAddr(c.value); err == nil {
		within = func(a netip.Addr) bool { return a == one }
	} else if network, err := netip.ParsePrefix(c.value); err == nil {
		within = network.Contains
	} else {
		return false
	}
	found := slices.ContainsFunc(n.Status.Addresses, func(have corev1.NodeAddress) bool {
		a, err := netip.ParseAddr(have.Address)
		return err == nil && have.Type == corev1.NodeInternalIP && within(a)
	})
	return found == c.equal
}

// architectures are Kubernetes' words for the kernel's, which docker shows.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

func architecture(word string) string {
	word = strings.ToLower(word)
	return cmp.Or(architectures[word], word)
}
