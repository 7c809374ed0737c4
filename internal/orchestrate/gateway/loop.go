package gateway

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/gateway"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop keeps the rows of Gateways and their routes.
type Loop struct {
	reserved  func(port int32) bool
	classes   map[string]bool                   // that are ours and accepted
	objects   map[object.Key]*gatewayv1.Gateway // that are ours
	gateways  map[object.Key]*gateway.Gateway   // as they were read
	owners    map[int32]owner
	routes    map[routeKey]*known
	byGateway map[object.Key]map[routeKey]bool // what routes name
	byService map[object.Key]map[routeKey]bool
	attached  map[object.Key]map[gatewayv1.SectionName]int
	fronts    []route.Front

	dirtyGateways map[object.Key]bool // to be read
	dirtyRoutes   map[routeKey]bool
	dirtyStatus   map[object.Key]bool // of gateways
}

type routeKey struct {
	resource string
	object.Key
}

func compareRoutes(a, b routeKey) int {
	return cmp.Or(strings.Compare(a.resource, b.resource), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// known is what is kept of a route.
type known struct {
	gateways, services []object.Key
	attached           []gateway.Attached
}

// owner is the Gateway that says what a port speaks.
type owner struct {
	key    object.Key
	since  time.Time
	secure bool
}

// New returns the loop. reserved says which ports of the nodes no Gateway may open;
// nil: it may all.
func New(reserved func(port int32) bool) *Loop {
	if reserved == nil {
		reserved = func(int32) bool { return false }
	}
	return &Loop{reserved: reserved}
}

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/gateways" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{
		tables.CustomObjects.ID(), tables.Namespaces.ID(), tables.Nodes.ID(), tables.Routes.ID(), tables.Secrets.ID(), tables.Services.ID(),
	}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.Routes.ID(), tables.CustomObjects.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		*l = Loop{
			reserved: l.reserved, classes: map[string]bool{}, objects: map[object.Key]*gatewayv1.Gateway{}, gateways: map[object.Key]*gateway.Gateway{}, owners: map[int32]owner{},
			routes: map[routeKey]*known{}, byGateway: map[object.Key]map[routeKey]bool{}, byService: map[object.Key]map[routeKey]bool{},
			attached:      map[object.Key]map[gatewayv1.SectionName]int{},
			dirtyGateways: map[object.Key]bool{}, dirtyRoutes: map[routeKey]bool{}, dirtyStatus: map[object.Key]bool{},
		}
	}
	if err := l.take(tx); err != nil {
		return time.Time{}, err
	}
	l.readGateways(tx)
	for _, key := range slices.SortedFunc(maps.Keys(l.dirtyRoutes), compareRoutes) {
		if tx.Writes() >= loop.StepWritesMax {
			return time.Time{}, nil
		}
		delete(l.dirtyRoutes, key)
		if err := l.route(tx, key); err != nil {
			return time.Time{}, err
		}
	}
	for _, key := range object.SortedKeys(l.dirtyStatus) {
		if tx.Writes() >= loop.StepWritesMax {
			break
		}
		delete(l.dirtyStatus, key)
		if err := l.gateway(tx, key); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, nil
}

// readGateways reads those that changed, and those whose ports changed hands. Routes are
// looked at again where what was read is other than before.
func (l *Loop) readGateways(tx *store.Tx) {
	if len(l.dirtyGateways) == 0 {
		return
	}
	for key := range l.dirtyGateways {
		gw, ok := tables.ReadCustom[gatewayv1.Gateway](tx, tables.GatewayKey(tables.Gateways, key))
		if l.objects[key] = gw; !ok || gw.DeletionTimestamp != nil || !l.classes[string(gw.Spec.GatewayClassName)] {
			delete(l.objects, key)
		}
	}
	l.takePorts()
	for _, key := range object.SortedKeys(l.dirtyGateways) {
		was := l.gateways[key]
		if gw := l.objects[key]; gw == nil {
			delete(l.gateways, key)
		} else {
			l.gateways[key] = gateway.Read(gw, facts{tx}, func(port int32, secure bool) string { return l.taken(tx, key, port, secure) })
		}
		if !was.Same(l.gateways[key]) {
			for r := range l.byGateway[key] {
				l.dirtyRoutes[r] = true
			}
		}
		l.dirtyStatus[key] = true
	}
	clear(l.dirtyGateways)
}

// route writes what a route says, and what became of it at each of its Gateways.
func (l *Loop) route(tx *store.Tx, key routeKey) error {
	kind, at := gateway.RouteKinds[key.resource], tables.GatewayKey(key.resource, key.Key)
	l.forget(key)
	row, ok := tables.CustomObjects.Row(tx, at)
	if !ok || row.Head().Deleting {
		tables.SetRoute(tx, gateway.RoutePart(kind, key.Key), nil)
		return nil
	}
	r, err := gateway.ParseRoute(kind, row.Object())
	if err != nil { // its definition is another than ours
		tables.SetRoute(tx, gateway.RoutePart(kind, key.Key), nil)
		return nil
	}
	k := &known{}
	for _, p := range r.Parents {
		of, ok := r.GatewayOf(p)
		if !ok {
			continue
		}
		k.gateways = append(k.gateways, of)
		if g := l.gateways[of]; g != nil {
			k.attached = append(k.attached, r.Attach(p, g, facts{tx}))
		}
	}
	says := r.Read(facts{tx})
	k.services = says.Services
	part, status := says.Part(k.attached, tx.Now())
	l.remember(key, k)
	tables.SetRoute(tx, gateway.RoutePart(kind, key.Key), part)
	if equality.Semantic.DeepEqual(status, r.Status) || len(status.Parents) == 0 && len(r.Status.Parents) == 0 {
		return nil
	}
	return tables.PutStatus(tx, at, &status)
}

// gateway writes what a Gateway says, and who answers for it.
func (l *Loop) gateway(tx *store.Tx, key object.Key) error {
	g := l.gateways[key]
	if g == nil {
		tables.SetRoute(tx, gateway.GatewayPart(key), nil)
		return nil
	}
	part := g.Part()
	tables.SetRoute(tx, gateway.GatewayPart(key), part)
	status := g.Status(route.Addresses(l.fronts, part.Ports), l.attached[key], tx.Now())
	if equality.Semantic.DeepEqual(status, g.Gateway.Status) {
		return nil
	}
	return tables.PutStatus(tx, tables.GatewayKey(tables.Gateways, key), &status)
}
