package allocate

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/network"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// networks is the loop that gives tenants' networks their VNIs and the pods on them
// their addresses. What was given is in the rows of members; what is kept beside them
// is derived from them.
type networks struct {
	of       map[object.Key]*tenant
	pods     map[object.Key]onNetworks
	services map[object.Key][]object.Key // the networks that core Services want to be known on
	vnis     map[int32]object.Key
}

// tenant is a network: what it can give out, and to whom it did.
type tenant struct {
	object  *network.Network // nil: there is none, but pods name it
	pools   []network.Pool
	members map[object.Key]member
	used    map[netip.Addr]object.Key
	waiting map[object.Key]bool
	nodes   map[string]bool // whose rows are to be written
	wishes  map[object.Key]network.Wish
	fronts  map[object.Key]network.Front
}

// member is a pod on a network.
type member struct {
	uid   types.UID
	node  string
	ips   []netip.Addr
	names []string
}

// onNetworks is what a pod was last seen to be on.
type onNetworks struct {
	uid      types.UID
	networks []object.Key
}

func (l *networks) Name() string { return "allocate/networks" }

func (l *networks) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Pods.ID(), tables.Services.ID(), tables.NetworkMembers.ID(), tables.Events.ID()}
}

func (l *networks) Writes() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Pods.ID(), tables.NetworkMembers.ID(), tables.Events.ID()}
}

// Reconcile takes in the networks, services and pods that changed, and then serves who waits.
func (l *networks) Reconcile(tx *store.Tx) (time.Time, error) {
	look := map[object.Key]bool{} // networks where somebody may be served now
	if tx.FullPass() {
		l.recall(tx)
		for key, t := range l.of {
			look[key] = len(t.fronts) > 0
		}
	}
	for at := range tables.CustomObjects.Changed(tx) {
		if key, ok := tables.IsNetwork(at); ok {
			l.setNetwork(tx, key)
			look[key] = true
		}
	}
	for at := range tables.NetworkMembers.Changed(tx) {
		if t := l.of[network.OfID(at.Namespace)]; t != nil && (len(t.nodes) > 0 || len(t.fronts) < len(t.wishes)) {
			look[network.OfID(at.Namespace)] = true
		}
	}
	for key := range tables.Services.Changed(tx) {
		for _, n := range l.setService(tx, key) {
			look[n] = true
		}
	}
	for key := range tables.Pods.Changed(tx) {
		for _, n := range l.setPod(tx, key) {
			look[n] = true
		}
	}
	for _, key := range object.SortedKeys(look) {
		t := l.of[key]
		if t == nil || !look[key] {
			continue
		}
		l.serveFronts(tx, key)
		for _, pod := range object.SortedKeys(t.waiting) {
			l.serve(tx, key, pod)
		}
		l.write(tx, key)
		if err := l.judge(tx, key); err != nil {
			return time.Time{}, err
		}
		if t.object == nil && len(t.members)+len(t.waiting)+len(t.wishes) == 0 {
			delete(l.of, key)
		}
	}
	return time.Time{}, nil
}

// recall reads who has what from the rows.
func (l *networks) recall(tx *store.Tx) {
	l.of, l.pods, l.vnis = map[object.Key]*tenant{}, map[object.Key]onNetworks{}, map[int32]object.Key{}
	l.services = map[object.Key][]object.Key{}
	for row := range tables.NetworkMembers.Rows(tx, "") {
		key := network.OfID(row.Key().Namespace)
		t := l.tenant(key)
		if f, ok := network.FrontOf(row.Object()); ok {
			t.fronts[f.Service] = f
			for _, a := range f.Addresses {
				t.used[a] = frontOwner(f.Service)
			}
			continue
		}
		for _, e := range row.Object().Endpoints {
			pod := network.PodOf(key, e.TargetRef)
			m := member{uid: e.TargetRef.UID, node: row.Key().Name, names: network.NamesOf(&e)}
			for _, text := range e.Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					m.ips = append(m.ips, a)
					t.used[a] = pod
				}
			}
			t.members[pod] = m
			was := l.pods[pod]
			l.pods[pod] = onNetworks{m.uid, append(was.networks, key)}
		}
	}
	for key, was := range l.pods { // those that went while nobody looked
		if _, ok := tables.Pods.Row(tx, key); !ok {
			for _, n := range was.networks {
				l.leave(n, key)
				l.write(tx, n)
			}
			delete(l.pods, key)
		}
	}
}

func (l *networks) tenant(key object.Key) *tenant {
	t := l.of[key]
	if t == nil {
		t = &tenant{
			members: map[object.Key]member{}, used: map[netip.Addr]object.Key{}, waiting: map[object.Key]bool{}, nodes: map[string]bool{},
			wishes: map[object.Key]network.Wish{}, fronts: map[object.Key]network.Front{},
		}
		l.of[key] = t
	}
	return t
}

func (l *networks) setNetwork(tx *store.Tx, key object.Key) {
	t := l.tenant(key)
	if t.object != nil && l.vnis[t.object.Status.VNI] == key {
		delete(l.vnis, t.object.Status.VNI)
	}
	t.object, t.pools = nil, nil
	n, ok := tables.Network(tx, key)
	if !ok {
		return
	}
	t.object = n
	if _, taken := l.vnis[n.Status.VNI]; n.Status.VNI != 0 && !taken {
		l.vnis[n.Status.VNI] = key
	}
	if pools, err := n.Pools(); err == nil {
		t.pools = pools
	}
}

// setPod takes in a pod and returns the networks that it is on, wants to be on, or was
// on before.
func (l *networks) setPod(tx *store.Tx, key object.Key) []object.Key {
	row, ok := tables.Pods.Row(tx, key)
	here := ok && row.Head().Node != "" && !row.Head().Ended()
	was, had := l.pods[key]
	same := had && here && was.uid == row.Head().UID
	if same && !tx.FullPass() {
		return nil // what a pod asked for at first is what it has
	}
	if !same {
		for _, n := range was.networks {
			l.leave(n, key)
		}
	}
	delete(l.pods, key)
	if !here {
		return was.networks
	}
	pod := row.Object()
	asked, err := network.Selections(pod)
	if err != nil {
		tell.Once(tx, tables.Pods, pod, tell.Event{From: "allocate", Type: corev1.EventTypeWarning, Reason: "NetworkInvalid", Message: err.Error()})
	}
	if len(asked) == 0 {
		return was.networks
	}
	now := onNetworks{uid: pod.UID}
	for _, s := range asked {
		now.networks = append(now.networks, s.Key)
		if t := l.tenant(s.Key); t.members[key].uid != pod.UID {
			t.waiting[key] = true
		}
	}
	l.pods[key] = now
	return append(was.networks, now.networks...)
}

// leave frees a pod's addresses of a network.
func (l *networks) leave(key, pod object.Key) {
	t := l.tenant(key)
	delete(t.waiting, pod)
	m, ok := t.members[pod]
	if !ok {
		return
	}
	for _, a := range m.ips {
		if t.used[a] == pod {
			delete(t.used, a)
		}
	}
	delete(t.members, pod)
	t.nodes[m.node] = true
}

// serve gives a pod that waits its addresses, or tells why it has none.
func (l *networks) serve(tx *store.Tx, key, podKey object.Key) {
	t := l.of[key]
	pod, ok := tables.Pods.Get(tx, podKey)
	if !ok {
		return
	}
	asked, err := network.Selections(pod)
	i := slices.IndexFunc(asked, func(s network.Selection) bool { return s.Key == key })
	if err != nil || i < 0 {
		return
	}
	ips, why := t.choose(key, asked[i].IPs, podKey)
	if why == nil {
		why = l.hidden(key, asked[:i])
	}
	if why == nil {
		why = t.noWayOut(key, asked[i].Gateways)
	}
	if why != nil {
		tell.Once(tx, tables.Pods, pod, tell.Event{From: "allocate", Type: corev1.EventTypeWarning, Reason: why.reason, Message: why.message})
		return
	}
	for _, a := range ips {
		t.used[a] = podKey
	}
	t.members[podKey] = member{pod.UID, pod.Spec.NodeName, ips, network.Names(pod)}
	t.nodes[pod.Spec.NodeName] = true
	delete(t.waiting, podKey)
	l.show(tx, pod, asked)
}

type fault struct{ reason, message string }

// hidden says why a pod cannot be on a network beside those that it names before it:
// one of its addresses would be two hosts'.
func (l *networks) hidden(key object.Key, before []network.Selection) *fault {
	for _, other := range before {
		for _, p := range l.tenant(other.Key).pools {
			for _, q := range l.of[key].pools {
				if p.Prefix.Overlaps(q.Prefix) {
					return &fault{"SubnetsOverlap", fmt.Sprintf("%s of network %s and %s of network %s overlap: a pod can be on one of them only", p.Prefix, other.Key, q.Prefix, key)}
				}
			}
		}
	}
	return nil
}

// noWayOut says why what a pod wants as its way out is none.
func (t *tenant) noWayOut(key object.Key, gateways []netip.Addr) *fault {
	for _, g := range gateways {
		switch {
		case t.object.Spec.Internal:
			return &fault{"NetworkInternal", fmt.Sprintf("network %s is internal: it cannot be the pod's way out, remove default-route", key)}
		case !slices.ContainsFunc(t.pools, func(p network.Pool) bool { return p.Gateway == g }):
			return &fault{"GatewayNotFound", fmt.Sprintf("network %s has no gateway %s: default-route names the gateways of its subnets, as %s", key, g, t.pools[0].Gateway)}
		}
	}
	return nil
}

// refuses says why nobody of the namespace can be on the network. Of a network of others
// it says no more than that it is not open.
func (t *tenant) refuses(key object.Key, namespace string) *fault {
	switch {
	case key.Namespace != namespace && (t.object == nil || !t.object.Open(namespace)):
		return &fault{"NetworkNotOpen", fmt.Sprintf("network %s is not open to namespace %s: who may change it adds the namespace to its annotation %s", key, namespace, network.NamespacesAnnotation)}
	case t.object == nil:
		return &fault{"NetworkNotFound", fmt.Sprintf("there is no network %s: make it, or remove it from the annotation %s (`trireme kubectl get networks` lists them)", key, network.Annotation)}
	case t.object.DeletionTimestamp != nil:
		return &fault{"NetworkTerminating", fmt.Sprintf("network %s is being deleted", key)}
	case len(t.pools) == 0:
		return &fault{"NetworkNotReady", fmt.Sprintf("network %s cannot be used: see its condition Ready", key)}
	}
	return nil
}

// choose returns an address of each subnet: the wished one, or any that is free.
func (t *tenant) choose(key object.Key, wishes []netip.Addr, pod object.Key) ([]netip.Addr, *fault) {
	if why := t.refuses(key, pod.Namespace); why != nil {
		return nil, why
	}
	got := make([]netip.Addr, len(t.pools))
	for _, wish := range wishes {
		i := slices.IndexFunc(t.pools, func(p network.Pool) bool { return p.Usable(wish) })
		switch {
		case i < 0:
			return nil, &fault{"AddressOutsideNetwork", fmt.Sprintf("no pod of network %s can have the address %s", key, wish)}
		case t.used[wish] != object.Key{} && t.used[wish] != pod:
			return nil, &fault{"AddressTaken", fmt.Sprintf("the address %s of network %s belongs to pod %s", wish, key, t.used[wish])}
		}
		got[i] = wish
	}
	for i, p := range t.pools {
		if got[i].IsValid() {
			continue
		}
		a, ok := t.free(p)
		if !ok {
			return nil, exhausted(key, p)
		}
		got[i] = a
	}
	return got, nil
}

// free returns the lowest address of the pool that nobody has.
func (t *tenant) free(p network.Pool) (netip.Addr, bool) {
	for a := p.Range.Addr(); p.Range.Contains(a); a = a.Next() {
		if _, taken := t.used[a]; !taken && p.Usable(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// show writes into a pod what it has by now.
func (l *networks) show(tx *store.Tx, pod *corev1.Pod, asked []network.Selection) {
	all := []network.Attachment{{Name: "trireme", Interface: "eth0", Default: true}}
	for _, s := range asked {
		m, ok := l.of[s.Key].members[object.KeyOf(pod)]
		if !ok || m.uid != pod.UID {
			continue
		}
		a := network.Attachment{Name: s.Key.String(), Interface: s.Interface}
		for _, ip := range m.ips {
			a.IPs = append(a.IPs, ip.String())
		}
		all = append(all, a)
	}
	next := pod.DeepCopy()
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, network.StatusAnnotation, network.Attachments(all))
	tables.Pods.Put(tx, next)
}

// write brings the rows of members in line.
func (l *networks) write(tx *store.Tx, key object.Key) {
	t := l.of[key]
	rows := map[string]*discoveryv1.EndpointSlice{}
	for node := range t.nodes {
		rows[node] = &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: network.ID(key), Name: node}, AddressType: discoveryv1.AddressTypeIPv4,
		}
	}
	for _, pod := range object.SortedKeys(t.members) {
		m := t.members[pod]
		row := rows[m.node]
		if row == nil {
			continue
		}
		e := network.Endpoint(key, pod, m.uid, m.names)
		for _, a := range m.ips {
			e.Addresses = append(e.Addresses, a.String())
		}
		row.Endpoints = append(row.Endpoints, e)
	}
	for node, row := range rows {
		at := object.KeyOf(row)
		old, there := tables.NetworkMembers.Get(tx, at)
		switch {
		case len(row.Endpoints) > 0 && there:
			row.ObjectMeta = old.ObjectMeta
			tables.NetworkMembers.Put(tx, row)
		case len(row.Endpoints) > 0:
			if tables.NetworkMembers.Removed(tx, at) {
				continue // in the next transaction
			}
			tables.NetworkMembers.Put(tx, row)
		case there:
			tables.NetworkMembers.Delete(tx, at)
		}
		delete(t.nodes, node)
	}
}

// judge keeps a network's VNI, finalizer and condition. One that is to go stays while
// pods are on it.
func (l *networks) judge(tx *store.Tx, key object.Key) error {
	t := l.of[key]
	if t.object == nil {
		return nil
	}
	next := t.object.DeepCopy()
	ready := metav1.Condition{
		Type: network.Ready, Status: metav1.ConditionFalse, ObservedGeneration: next.Generation,
		LastTransitionTime: metav1.NewTime(tx.Now().Truncate(time.Second)),
	}
	next.Status.Pods = int32(len(t.members))
	held := slices.Contains(next.Finalizers, network.Finalizer)
	_, fault := next.Pools()
	switch {
	case next.DeletionTimestamp != nil:
		ready.Reason, ready.Message = "InUse", fmt.Sprintf("%d pods are on the network, %s among them: it goes when they have gone", len(t.members), t.someone())
		if len(t.members) == 0 && held {
			next.Finalizers = object.Without(next.Finalizers, network.Finalizer)
			ready.Reason, ready.Message = "Terminating", "the network is about to go"
		}
	case fault != nil:
		ready.Reason, ready.Message = "Invalid", fault.Error()
	case !l.number(key, next):
		ready.Reason, ready.Message = "VNIExhausted", fmt.Sprintf("there are %d networks, and no more VNIs: delete one", len(l.vnis))
	default:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, "Ready", "pods can be on the network"
	}
	if next.DeletionTimestamp == nil && !held {
		next.Finalizers = append(next.Finalizers, network.Finalizer)
	}
	meta.SetStatusCondition(&next.Status.Conditions, ready)
	if equality.Semantic.DeepEqual(next, t.object) {
		return nil
	}
	if next.DeletionTimestamp != nil && len(next.Finalizers) == 0 {
		tables.CustomObjects.Delete(tx, tables.NetworkKey(key))
		return nil
	}
	t.object = next
	return tables.PutNetwork(tx, next)
}

func (t *tenant) someone() string {
	for _, pod := range object.SortedKeys(t.members) {
		return pod.Name
	}
	return "none"
}

// number sees to it that the network has a VNI of its own.
func (l *networks) number(key object.Key, n *network.Network) bool {
	if by, ok := l.vnis[n.Status.VNI]; ok && by == key {
		return true
	}
	for v := int32(network.VNIMin); v <= network.VNIMax; v++ {
		if _, taken := l.vnis[v]; !taken {
			l.vnis[v], n.Status.VNI = key, v
			return true
		}
	}
	return false
}
