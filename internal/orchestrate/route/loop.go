package route

import (
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop keeps the rows routes.
type Loop struct {
	dirty   map[object.Key]bool // ingresses
	classes map[string]*networkingv1.IngressClass
	fronts  []route.Front
	claims  claims
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/routes" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.Ingresses.ID(), tables.IngressClasses.ID(), tables.Nodes.ID(), tables.Routes.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.Routes.ID(), tables.Ingresses.ID(), tables.Events.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		*l = Loop{dirty: map[object.Key]bool{}, classes: map[string]*networkingv1.IngressClass{}, claims: newClaims()}
	}
	all := l.takeNodes(tx)
	for key := range tables.IngressClasses.Changed(tx) {
		c, ok := tables.IngressClasses.Get(tx, key)
		if l.classes[key.Name] = c; !ok {
			delete(l.classes, key.Name)
		}
		all = true
	}
	for key := range tables.Ingresses.Changed(tx) {
		l.dirty[key] = true
	}
	if all {
		for row := range tables.Ingresses.Rows(tx, "") {
			l.dirty[row.Key()] = true
		}
	}
	for key := range tables.Routes.Changed(tx) {
		if of, ok := route.IngressOf(key); ok {
			l.dirty[of] = true
		}
	}
	touched := map[object.Key]bool{}
	for i, key := range object.SortedKeys(l.dirty) {
		if i == loop.StepWritesMax/(2+toldMax) { // a row, a status and events each
			break
		}
		delete(l.dirty, key)
		l.ingress(tx, key, touched)
	}
	for _, key := range object.SortedKeys(touched) {
		l.tell(tx, key)
	}
	return time.Time{}, nil
}

// takeNodes reports whether other nodes than before answer.
func (l *Loop) takeNodes(tx *store.Tx) bool {
	for range tables.Nodes.Changed(tx) {
		was := l.fronts
		l.fronts = tables.Fronts(tx)
		return !slices.Equal(was, l.fronts)
	}
	return false
}

// ours reports whether we serve an Ingress.
func (l *Loop) ours(i *networkingv1.Ingress) bool {
	return i.DeletionTimestamp == nil && route.Serves(i, l.classes)
}

// ingress writes what an Ingress asks for, and who answers for it, and adds to touched
// those who are to be told of it. One that is not ours keeps the status that others gave it.
func (l *Loop) ingress(tx *store.Tx, key object.Key, touched map[object.Key]bool) {
	i, ok := tables.Ingresses.Get(tx, key)
	ours := ok && l.ours(i)
	var want *route.Part
	if ours {
		want = route.OfIngress(i)
	}
	tables.SetRoute(tx, route.IngressPart(key), want)
	l.claims.set(key, want, touched)
	if !ours {
		return
	}
	var answer []networkingv1.IngressLoadBalancerIngress
	for _, a := range route.Addresses(l.fronts, want.Ports) {
		answer = append(answer, networkingv1.IngressLoadBalancerIngress{IP: a})
	}
	if equality.Semantic.DeepEqual(i.Status.LoadBalancer.Ingress, answer) {
		return
	}
	next := *i
	next.Status.LoadBalancer.Ingress = answer
	tables.Ingresses.Put(tx, &next)
}
