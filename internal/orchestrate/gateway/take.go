package gateway

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object"
	"trireme/internal/object/gateway"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// take takes in what changed.
func (l *Loop) take(tx *store.Tx) error {
	granted := map[string]bool{} // namespaces
	for at := range tables.CustomObjects.Changed(tx) {
		resource, key, ours := tables.IsGatewayAPI(at)
		switch {
		case !ours:
		case resource == tables.GatewayClasses:
			if err := l.takeClass(tx, key.Name); err != nil {
				return err
			}
		case resource == tables.Gateways:
			l.dirtyGateways[key] = true
		case resource == tables.ReferenceGrants:
			granted[key.Namespace] = true
		case gateway.RouteKinds[resource] != "":
			l.dirtyRoutes[routeKey{resource, key}] = true
		}
	}
	for key := range tables.Routes.Changed(tx) {
		if of, ok := gateway.PartOfGateway(key); ok {
			l.dirtyStatus[of] = true
		} else if resource, of, ok := gateway.RouteOf(key); ok {
			l.dirtyRoutes[routeKey{resource, of}] = true
		}
	}
	l.takeNodes(tx)
	if tx.FullPass() {
		return nil // everything is looked at
	}
	l.takeReferences(tx, granted)
	return nil
}

// takeReferences finds what depends on what changed.
func (l *Loop) takeReferences(tx *store.Tx, granted map[string]bool) {
	for range tables.Services.Changed(tx) {
		for key, g := range l.gateways { // a port of the mesh may be free now, or taken
			if g.Waits() || l.meshHas(tx, g) {
				l.dirtyGateways[key] = true
			}
		}
		break
	}
	for key := range tables.Services.Changed(tx) {
		for r := range l.byService[key] {
			l.dirtyRoutes[r] = true
		}
	}
	secrets := maps.Collect(pairs(tables.Secrets.Changed(tx)))
	if len(secrets) > 0 || len(granted) > 0 {
		for key, gw := range l.objects {
			for s := range gateway.Secrets(gw) {
				if secrets[s] || granted[s.Namespace] {
					l.dirtyGateways[key] = true
				}
			}
		}
	}
	namespaces := map[string]bool{}
	for key := range tables.Namespaces.Changed(tx) {
		namespaces[key.Name] = true
	}
	if len(granted) == 0 && len(namespaces) == 0 {
		return
	}
	for key, r := range l.routes {
		if namespaces[key.Namespace] || slices.ContainsFunc(r.services, func(s object.Key) bool { return s.Namespace != key.Namespace && granted[s.Namespace] }) {
			l.dirtyRoutes[key] = true
		}
	}
}

func pairs(keys iter.Seq[object.Key]) iter.Seq2[object.Key, bool] {
	return func(yield func(object.Key, bool) bool) {
		for k := range keys {
			if !yield(k, true) {
				return
			}
		}
	}
}

// takeClass takes in a GatewayClass, and says what became of it.
func (l *Loop) takeClass(tx *store.Tx, name string) error {
	at := tables.GatewayKey(tables.GatewayClasses, object.Key{Name: name})
	c, ok := tables.ReadCustom[gatewayv1.GatewayClass](tx, at)
	ours := ok && c.Spec.ControllerName == gateway.Controller
	if serves := ours && c.Spec.ParametersRef == nil; serves != l.classes[name] {
		if l.classes[name] = serves; !serves {
			delete(l.classes, name)
		}
		for row := range tables.CustomObjects.RowsFrom(tx, tables.GatewayKey(tables.Gateways, object.Key{}).String(), "") {
			_, key, _ := tables.IsGatewayAPI(row.Key())
			l.dirtyGateways[key] = true
		}
	}
	if !ours {
		return nil
	}
	if status := gateway.ClassStatus(c, tx.Now()); !equality.Semantic.DeepEqual(status, c.Status) {
		return tables.PutStatus(tx, at, &status)
	}
	return nil
}

// takeNodes takes in which nodes answer.
func (l *Loop) takeNodes(tx *store.Tx) {
	for range tables.Nodes.Changed(tx) {
		was := l.fronts
		l.fronts = tables.Fronts(tx)
		if !slices.Equal(was, l.fronts) {
			for key := range l.gateways {
				l.dirtyStatus[key] = true
			}
		}
		return
	}
}

// takePorts decides which Gateway says what a port speaks: the oldest that has it. Those
// whose ports changed hands are to be read again.
func (l *Loop) takePorts() {
	was := l.owners
	l.owners = map[int32]owner{}
	for key, gw := range l.objects {
		for i := range gw.Spec.Listeners {
			at := &gw.Spec.Listeners[i]
			o := owner{key, gw.CreationTimestamp.Time, gateway.Secure(at.Protocol)}
			if have, ok := l.owners[at.Port]; !ok || o.before(have) {
				l.owners[at.Port] = o
			}
		}
	}
	for key, gw := range l.objects {
		for i := range gw.Spec.Listeners {
			if port := gw.Spec.Listeners[i].Port; was[port] != l.owners[port] {
				l.dirtyGateways[key] = true
			}
		}
	}
}

func (o owner) before(p owner) bool {
	if !o.since.Equal(p.since) {
		return o.since.Before(p.since)
	}
	return o.key.String() < p.key.String()
}

// taken says why a Gateway cannot have a port; empty: it can.
func (l *Loop) taken(tx *store.Tx, key object.Key, port int32, secure bool) string {
	switch {
	case l.reserved(port):
		return "is the cluster's own on every node"
	case port == route.HTTPPort && secure, port == route.HTTPSPort && !secure:
		return "has no listeners of this protocol: 80 is for HTTP, 443 for HTTPS and TLS"
	}
	if by := meshService(tx, port); by != "" {
		return "of every node is taken by service " + by
	}
	if o := l.owners[port]; o.key != key && o.secure != secure {
		return fmt.Sprintf("is taken by Gateway %s, which is older, with another protocol", o.key)
	}
	return ""
}

// meshService returns the service that has a port of every node.
func meshService(tx *store.Tx, port int32) string {
	at := tables.PortKey(port, corev1.ProtocolTCP)
	for _, index := range []string{tables.ServicesByMesh, tables.ServicesByNodePort} {
		for row := range tables.Services.By(tx, index, at) {
			return row.Key().String()
		}
	}
	return ""
}

// meshHas reports whether a service has a port that a Gateway thinks is its own.
func (l *Loop) meshHas(tx *store.Tx, g *gateway.Gateway) bool {
	return slices.ContainsFunc(g.Spec.Listeners, func(at gatewayv1.Listener) bool { return meshService(tx, at.Port) != "" })
}

// remember keeps what a route names, and counts it where it is attached.
func (l *Loop) remember(key routeKey, k *known) {
	l.routes[key] = k
	for _, g := range k.gateways {
		link(l.byGateway, g, key)
	}
	for _, s := range k.services {
		link(l.byService, s, key)
	}
	l.count(k, 1)
}

// forget is the inverse of remember.
func (l *Loop) forget(key routeKey) {
	k := l.routes[key]
	if k == nil {
		return
	}
	delete(l.routes, key)
	for _, g := range k.gateways {
		unlink(l.byGateway, g, key)
	}
	for _, s := range k.services {
		unlink(l.byService, s, key)
	}
	l.count(k, -1)
}

// count adds n for each listener that has a route, once however many references lead there.
func (l *Loop) count(k *known, n int) {
	seen := map[object.Key]map[gatewayv1.SectionName]bool{}
	for _, a := range k.attached {
		if seen[a.Gateway] == nil {
			seen[a.Gateway] = map[gatewayv1.SectionName]bool{}
		}
		if l.attached[a.Gateway] == nil {
			l.attached[a.Gateway] = map[gatewayv1.SectionName]int{}
		}
		for _, name := range a.Listeners {
			if !seen[a.Gateway][name] {
				l.attached[a.Gateway][name] += n
			}
			seen[a.Gateway][name] = true
		}
		l.dirtyStatus[a.Gateway] = true
	}
}

func link(m map[object.Key]map[routeKey]bool, from object.Key, to routeKey) {
	if m[from] == nil {
		m[from] = map[routeKey]bool{}
	}
	m[from][to] = true
}

func unlink(m map[object.Key]map[routeKey]bool, from object.Key, to routeKey) {
	if delete(m[from], to); len(m[from]) == 0 {
		delete(m, from)
	}
}

// facts answers what references lead to.
type facts struct{ tx *store.Tx }

func (f facts) Service(key object.Key) *corev1.Service {
	s, _ := tables.Services.Get(f.tx, key)
	return s
}

func (f facts) Secret(key object.Key) *corev1.Secret {
	s, _ := tables.Secrets.Get(f.tx, key)
	return s
}

func (f facts) Labels(namespace string) labels.Set {
	ns, ok := tables.Namespaces.Get(f.tx, object.Key{Name: namespace})
	if !ok {
		return nil
	}
	return ns.Labels
}

func (f facts) Grants(namespace string) iter.Seq[*gatewayv1.ReferenceGrant] {
	return tables.Grants(f.tx, namespace)
}
