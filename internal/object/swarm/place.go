package swarm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
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
	// GroupMax is how many pods of the pod's owner a group of the spread takes; 0: any
	// number. GroupOne has all of them in one group.
	GroupMax int64 `json:"groupMax,omitempty"`
	GroupOne bool  `json:"groupOne,omitempty"`
	// Match are all to be met by the node's labels.
	Match []Match `json:"match,omitempty"`

	parsed []constraint
}

// Match is what a label of a node is to be: there, where nothing else is said.
type Match struct {
	Label string `json:"label,omitempty"` // empty: the node's name
	// Equals is its value; numbers are compared to three decimals.
	Equals *string `json:"equals,omitempty"`
	// Like is a regular expression that the whole value meets; Unlike one that it does
	// not, which a label that is not there does not either.
	Like   *string `json:"like,omitempty"`
	Unlike *string `json:"unlike,omitempty"`

	like, unlike *regexp.Regexp
}

// parse compiles the expressions.
func (m *Match) parse() (err error) {
	for _, e := range []struct {
		text *string
		into **regexp.Regexp
	}{{m.Like, &m.like}, {m.Unlike, &m.unlike}} {
		if e.text == nil {
			continue
		}
		if *e.into, err = regexp.Compile("^(?:" + *e.text + ")$"); err != nil {
			return fmt.Errorf("%q is no regular expression: %w", *e.text, err)
		}
	}
	return nil
}

func (m *Match) met(n *corev1.Node) bool {
	have, there := n.Name, true
	if m.Label != "" {
		have, there = n.Labels[m.Label]
	}
	if m.unlike != nil {
		return !there || !m.unlike.MatchString(have)
	}
	return there && (m.like == nil || m.like.MatchString(have)) && (m.Equals == nil || sameValue(have, *m.Equals))
}

// sameValue compares texts, or numbers to three decimals.
func sameValue(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return math.RoundToEven(x*1000) == math.RoundToEven(y*1000)
	}
	return a == b
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
	for i := range p.Match {
		if err := p.Match[i].parse(); err != nil {
			return fmt.Errorf("Match[%d]: %w", i, err)
		}
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
		p.MaxPerNode = int64(min(asked.MaxReplicas, math.MaxInt64))
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
	for i := range p.Match {
		if !p.Match[i].met(n) {
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

// Open returns those of the groups that may take a pod more: counts are how many of the
// owner each has.
func (p *Placement) Open(groups []string, counts map[string]int64) []string {
	if p.GroupMax == 0 && !p.GroupOne {
		return groups
	}
	begun := p.GroupOne && slices.ContainsFunc(groups, func(g string) bool { return counts[g] > 0 })
	return slices.DeleteFunc(slices.Clone(groups), func(g string) bool {
		return p.GroupMax > 0 && counts[g] >= p.GroupMax || begun && counts[g] == 0
	})
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
