package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

const component = "ingress-controller"

// claim is a host and path that ingresses ask for. Who asks first has it (package
// object/route).
type claim struct {
	port int32
	host string
	path route.Path
}

func (c claim) compare(o claim) int {
	return cmp.Or(strings.Compare(c.host, o.host), strings.Compare(c.path.Value, o.path.Value), strings.Compare(c.path.Type, o.path.Type), cmp.Compare(c.port, o.port))
}

func (c claim) String() string {
	return fmt.Sprintf("%s%s on port %d", cmp.Or(c.host, "*"), c.path.Value, c.port)
}

// claims are who asks for what.
type claims struct {
	by map[claim]map[object.Key]bool
	of map[object.Key][]claim
}

func newClaims() claims {
	return claims{by: map[claim]map[object.Key]bool{}, of: map[object.Key][]claim{}}
}

// set takes in what an Ingress asks for, nil: nothing, and adds to touched those for whom
// that may have changed what they have.
func (c *claims) set(key object.Key, p *route.Part, touched map[object.Key]bool) {
	touched[key] = true
	for _, was := range c.of[key] {
		if delete(c.by[was], key); len(c.by[was]) == 0 {
			delete(c.by, was)
		}
		for other := range c.by[was] {
			touched[other] = true
		}
	}
	delete(c.of, key)
	if p == nil {
		return
	}
	for i := range p.Rules {
		is := claim{p.Rules[i].Port, p.Rules[i].Host, p.Rules[i].Path}
		if c.by[is] == nil {
			c.by[is] = map[object.Key]bool{}
		}
		if !c.by[is][key] {
			c.by[is][key] = true
			c.of[key] = append(c.of[key], is)
		}
		for other := range c.by[is] {
			touched[other] = true
		}
	}
}

// toldMax is how many lost claims of an Ingress are told of.
const toldMax = 8

// tell says of the Ingress what of it has no effect, in events.
func (l *Loop) tell(tx *store.Tx, key object.Key) {
	i, ok := tables.Ingresses.Get(tx, key)
	if !ok || !l.ours(i) {
		return
	}
	warn := func(reason, message string) {
		tell.Once(tx, tables.Ingresses, i, tell.Event{From: component, Type: corev1.EventTypeWarning, Reason: reason, Message: message})
	}
	if said := i.Annotations[route.CertificateAnnotation]; said != "" && !slices.Contains(route.Issuers, said) {
		warn("UnknownCertificateIssuer", fmt.Sprintf("annotation %s: nobody makes certificates for %q: say %s, or leave it out",
			route.CertificateAnnotation, said, strings.Join(route.Issuers, " or ")))
	}
	told := 0
	for _, c := range slices.SortedFunc(slices.Values(l.claims.of[key]), claim.compare) {
		if first := l.first(tx, i, c); first != key && told < toldMax {
			told++
			warn("HostTaken", fmt.Sprintf("%s: ingress %s came first and has the requests: choose another host or path, or delete that one", c, first))
		}
	}
}

// first returns which of the ingresses that ask for the same as i has it.
func (l *Loop) first(tx *store.Tx, i *networkingv1.Ingress, c claim) object.Key {
	for other := range l.claims.by[c] {
		if o, ok := tables.Ingresses.Get(tx, other); ok && route.Older(o, i) {
			i = o
		}
	}
	return object.KeyOf(i)
}
