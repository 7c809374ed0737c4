package filter

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/network"
	"trireme/internal/object/peers"
)

// compiled is what one way of an isolated pod needs.
type compiled struct {
	chain Chain
	v6    bool
	ports []Chain // that it jumps to
	sets  []Set   // that it asks; those of groups without elements
}

// compile returns what the policies that select a pod make of one way; nil: it is
// not isolated that way. A pod that is not on the cluster's network is, whatever they say,
// but for the ports that it says are open.
func (t *Table) compile(p *pod, way Way) *compiled {
	if p.only {
		closed := &compiled{v6: t.v6}
		if way == In {
			open, _ := network.OpenPorts(p.Pod) // its user was told by allocate
			for _, port := range open {
				closed.chain.Rules = append(closed.chain.Rules, Rule{Proto: proto(port.Protocol), First: port.Number, Last: port.Number})
			}
		}
		closed.finish(way)
		return closed
	}
	var out *compiled
	for _, policy := range t.policies {
		d := policy.In
		if way == Out {
			d = policy.Out
		}
		if d == nil || !policy.Selects(p.Namespace, p.Labels) {
			continue
		}
		if out == nil {
			out = &compiled{v6: t.v6}
		}
		for i := range d.Rules {
			out.add(&d.Rules[i], p.Pod, way)
		}
	}
	if out != nil {
		out.finish(way)
	}
	return out
}

// add adds what a rule allows.
func (c *compiled) add(r *peers.Rule, p *corev1.Pod, way Way) {
	base, ok := c.toPorts(r.Ports, p, way)
	if !ok {
		return
	}
	if r.Anyone {
		c.chain.Rules = append(c.chain.Rules, base)
	}
	for _, g := range r.Groups {
		kind := Addresses
		if g.Port != "" {
			kind = Ports
		}
		c.ask(base, Set{Name: setName(g.ID(), kind), Kind: kind})
	}
	if all := Spans(r.Blocks, c.v6); len(all) > 0 {
		c.ask(base, Set{Name: "b-" + hash(fmt.Sprint(all)), Kind: Ranges, Elements: all})
	}
}

func (c *compiled) ask(r Rule, s Set) {
	r.Set, r.Kind = s.Name, s.Kind
	c.chain.Rules = append(c.chain.Rules, r)
	c.sets = append(c.sets, s)
}

// toPorts returns what is common to the rules for all peers: no port, one, or a jump
// to a chain with several. False: the pod has none of the ports.
func (c *compiled) toPorts(ports []peers.Port, p *corev1.Pod, way Way) (Rule, bool) {
	if len(ports) == 0 {
		return Rule{}, true
	}
	var rules []Rule
	for _, port := range ports {
		number := proto(port.Protocol)
		if port.Name == "" {
			rules = append(rules, Rule{Proto: number, First: port.First, Last: port.Last})
			continue
		}
		for _, n := range peers.Named(p, port.Name, port.Protocol) {
			rules = append(rules, Rule{Proto: number, First: n, Last: n})
		}
	}
	switch rules = sorted(rules); len(rules) {
	case 0:
		return Rule{}, false
	case 1:
		return rules[0], true
	}
	to := Chain{Way: way, Rules: rules}
	to.Name = "ports-" + hash(fmt.Sprint(rules))
	c.ports = append(c.ports, to)
	return Rule{Then: to.Name}, true
}

// finish names the chain by what it says.
func (c *compiled) finish(way Way) {
	rules := sorted(c.chain.Rules)
	if slices.Contains(rules, Rule{}) {
		rules, c.ports, c.sets = []Rule{{}}, nil, nil // all is accepted
	}
	prefix := [2]string{"in-", "out-"}[way]
	c.chain = Chain{Name: prefix + hash(fmt.Sprint(rules)), Way: way, Rules: rules, Drop: true}
}

func sorted(rules []Rule) []Rule {
	slices.SortFunc(rules, func(a, b Rule) int {
		return cmp.Or(strings.Compare(a.Set, b.Set), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First),
			cmp.Compare(a.Last, b.Last), strings.Compare(a.Then, b.Then))
	})
	return slices.Compact(rules)
}

// hash is long enough that nobody finds two policies of one name.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}

func setName(group string, k SetKind) string {
	if k == Ports {
		return "p-" + group
	}
	return "g-" + group
}

// groupOf returns the ID of the group that a set is of.
func groupOf(set string) string { return set[len("g-"):] }

func proto(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return 17
	case corev1.ProtocolSCTP:
		return 132
	}
	return 6
}

func compareElements(a, b Element) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
}

// Spans returns the addresses of blocks as ranges that neither meet nor touch, in
// order. Blocks of the other family have none.
func Spans(blocks []peers.Block, v6 bool) []Element {
	var all []Element
	for _, b := range blocks {
		if b.CIDR.Addr().Is6() != v6 {
			continue
		}
		rest := []Element{span(b.CIDR)}
		for _, e := range b.Except {
			if e.Addr().Is6() == v6 {
				rest = without(rest, span(e))
			}
		}
		all = append(all, rest...)
	}
	slices.SortFunc(all, compareElements)
	var out []Element
	for _, e := range all {
		last := len(out) - 1
		if last < 0 || out[last].Last.Next().IsValid() && out[last].Last.Next().Less(e.Addr) {
			out = append(out, e)
		} else if out[last].Last.Less(e.Last) {
			out[last].Last = e.Last
		}
	}
	return out
}

func span(p netip.Prefix) Element {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return Element{Addr: p.Masked().Addr(), Last: last}
}

// without takes a range out of ranges.
func without(all []Element, cut Element) (out []Element) {
	for _, e := range all {
		if cut.Last.Less(e.Addr) || e.Last.Less(cut.Addr) {
			out = append(out, e)
			continue
		}
		if e.Addr.Less(cut.Addr) {
			out = append(out, Element{Addr: e.Addr, Last: cut.Addr.Prev()})
		}
		if cut.Last.Less(e.Last) {
			out = append(out, Element{Addr: cut.Last.Next(), Last: e.Last})
		}
	}
	return out
}
