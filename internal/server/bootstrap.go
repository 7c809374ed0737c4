package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	restclient "k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/access"
	"trireme/internal/admit"
	"trireme/internal/api/kube/fairness"
	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/definition"
	"trireme/internal/object/family"
	"trireme/internal/object/floating"
	"trireme/internal/object/gateway"
	objectmanager "trireme/internal/object/manager"
	"trireme/internal/object/marathon"
	"trireme/internal/object/mesos"
	"trireme/internal/object/network"
	"trireme/internal/object/plan"
	"trireme/internal/object/route"
	"trireme/internal/object/snapshot"
	"trireme/internal/object/swarm"
	"trireme/internal/object/tenant"
	"trireme/internal/policy"
	"trireme/internal/registry"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// bootstrap writes what every cluster has from its first moment: the namespaces,
// the API's own service, and the administrator's kubeconfig.
func (m *manager) bootstrap(ctx context.Context, s *store.Store) error {
	_, port, err := net.SplitHostPort(m.api.Addr().String())
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	kinds, err := ownKinds()
	if err != nil {
		return err
	}
	if _, err := s.Update(ctx, func(tx *store.Tx) error {
		for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
			ensureNamespace(tx, name)
		}
		m.ensureTokens(tx)
		access.Bootstrap(tx)
		fairness.Bootstrap(tx)
		ensureExtensionAuth(tx, m.pki.CAPEM(), m.identity.Front.Published())
		for _, c := range policy.SystemClasses() {
			if _, ok := tables.PriorityClasses.Row(tx, object.Key{Name: c.Name}); !ok {
				tables.PriorityClasses.Put(tx, c)
			}
		}
		for _, d := range kinds {
			ensureDefinition(tx, d)
		}
		ensureLocalClass(tx)
		ensureIngressClass(tx)
		ensureServiceCIDR(tx, strings.Split(m.cfg.ServiceCIDR, ","))
		ensureAPIService(tx, m.cfg.serviceAddress(1).String(), int32(number))
		ensureAPIEndpoints(tx, m.cfg.address(), int32(number))
		return nil
	}); err != nil {
		return fmt.Errorf("writing the first objects: %w", err)
	}
	for _, kinds := range sharedKinds() {
		if err := bootstrapShared(ctx, s, kinds); err != nil {
			return err
		}
	}
	return nil
}

// writeKubeconfig writes the administrator's kubeconfig: it asks this manager, whoever leads.
func (m *manager) writeKubeconfig() error {
	_, port, err := net.SplitHostPort(m.api.Addr().String())
	if err != nil {
		return err
	}
	admin, err := m.pki.Issue(wire.Leaf{Name: wire.AdminName, Group: wire.MastersGroup})
	if err != nil {
		return err
	}
	config, err := m.pki.Kubeconfig("https://"+net.JoinHostPort(m.cfg.address(), port), admin)
	if err != nil {
		return err
	}
	tmp := m.cfg.KubeconfigPath() + ".new"
	if err := os.WriteFile(tmp, config, 0o600); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return os.Rename(tmp, m.cfg.KubeconfigPath())
}

// ownKinds returns the definitions of our own kinds.
func ownKinds() (kinds []*apiextensionsv1.CustomResourceDefinition, err error) {
	for _, one := range []func() (*apiextensionsv1.CustomResourceDefinition, error){registry.Definition, network.Definition, plan.Definition, tenant.Definition, objectmanager.Definition} {
		d, err := one()
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, d)
	}
	for _, many := range []func() ([]*apiextensionsv1.CustomResourceDefinition, error){floating.Definitions, swarm.Definitions, mesos.Definitions, marathon.Kinds} {
		some, err := many()
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, some...)
	}
	return kinds, nil
}

// servedEvery is between looks at a kind that is not served yet.
const servedEvery = 20 * time.Millisecond

// served waits until the API at config serves all of our own kinds: a definition that was written is
// served a moment later.
func served(ctx context.Context, config *restclient.Config) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	kinds, err := ownKinds()
	if err != nil {
		return err
	}
	tick := time.NewTicker(servedEvery)
	defer tick.Stop()
	for _, d := range kinds {
		at := schema.GroupVersionResource{Group: d.Spec.Group, Version: d.Spec.Versions[0].Name, Resource: d.Spec.Names.Plural}
		for {
			if _, err := client.Resource(at).List(ctx, metav1.ListOptions{Limit: 1}); err == nil {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// shared are kinds that others define and install too, and the class of them that nodes
// serve.
type shared struct {
	definition.Pack
	at    object.Key // of the class
	kind  schema.GroupVersionKind
	class any
}

func sharedKinds() []shared {
	return []shared{
		{gateway.Definitions, tables.GatewayKey(tables.GatewayClasses, object.Key{Name: gateway.Class}), gatewayv1.SchemeGroupVersion.WithKind("GatewayClass"), gateway.DefaultClass()},
		{snapshot.Definitions, tables.SnapshotKey(tables.VolumeSnapshotClasses, object.Key{Name: snapshot.Class}), snapshotv1.SchemeGroupVersion.WithKind("VolumeSnapshotClass"), snapshot.DefaultClass()},
	}
}

// bootstrapShared makes kinds and their class. Definitions that somebody else installed stay
// as they are. Each is a transaction of its own: one alone may be a quarter of a megabyte.
func bootstrapShared(ctx context.Context, s *store.Store, of shared) error {
	kinds, err := of.Definitions()
	if err != nil {
		return err
	}
	class, err := tables.Unstructured(of.kind, of.class)
	if err != nil {
		return err
	}
	for _, d := range kinds {
		if _, err := s.Update(ctx, func(tx *store.Tx) error {
			if old, ok := tables.CustomResourceDefinitions.Get(tx, object.KeyOf(d)); !ok || !of.Keeps(old) {
				ensureDefinition(tx, d)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("writing the definition %s: %w", d.Name, err)
		}
	}
	_, err = s.Update(ctx, func(tx *store.Tx) error {
		if _, ok := tables.CustomObjects.Row(tx, of.at); !ok {
			tables.CustomObjects.PutAt(tx, of.at, class)
		}
		return nil
	})
	return err
}

func ensureNamespace(tx *store.Tx, name string) {
	if _, ok := tables.Namespaces.Row(tx, object.Key{Name: name}); ok {
		return
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	admit.Default(ns)
	admit.PrepareCreate(ns)
	tables.Namespaces.Put(tx, ns)
}

// ensureDefinition makes one of our own kinds. One that is there gets what this
// version says of it.
func ensureDefinition(tx *store.Tx, d *apiextensionsv1.CustomResourceDefinition) {
	old, ok := tables.CustomResourceDefinitions.Get(tx, object.KeyOf(d))
	if !ok {
		d.Generation = 1
		tables.CustomResourceDefinitions.Put(tx, d)
		return
	}
	if equality.Semantic.DeepEqual(old.Spec, d.Spec) {
		return
	}
	next := old.DeepCopy()
	next.Spec = d.Spec
	for name, value := range d.Annotations {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, name, value)
	}
	next.Generation++
	tables.CustomResourceDefinitions.Put(tx, next)
}

// localClass is the name of the class whose volumes are directories on nodes.
const localClass = "local"

// ensureLocalClass makes the default storage class, so that claims are served
// from the first start on. One that is there is left as its owner made it.
func ensureLocalClass(tx *store.Tx) {
	if _, ok := tables.StorageClasses.Row(tx, object.Key{Name: localClass}); ok {
		return
	}
	yes, waits := true, storagev1.VolumeBindingWaitForFirstConsumer
	class := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: localClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: claim.LocalProvisioner, VolumeBindingMode: &waits, AllowVolumeExpansion: &yes,
	}
	admit.Default(class)
	tables.StorageClasses.Put(tx, class)
}

// ensureIngressClass makes the default class of ingresses, so that they are served from
// the first start on. One that is there is left as its owner made it.
func ensureIngressClass(tx *store.Tx) {
	if _, ok := tables.IngressClasses.Row(tx, object.Key{Name: route.Class}); ok {
		return
	}
	tables.IngressClasses.Put(tx, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: route.Class, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}, Generation: 1},
		Spec:       networkingv1.IngressClassSpec{Controller: route.Controller},
	})
}

// ensureServiceCIDR tells in which network services have their addresses
// (Kubernetes, "Virtual IPs and Service Proxies", ServiceCIDR).
func ensureServiceCIDR(tx *store.Tx, networks []string) {
	if old, ok := tables.ServiceCIDRs.Get(tx, object.Key{Name: apiName}); ok {
		if len(old.Spec.CIDRs) == 1 && len(networks) == 2 && old.Spec.CIDRs[0] == networks[0] { // one family becomes two
			next := old.DeepCopy()
			next.Spec.CIDRs = networks
			next.Generation++
			tables.ServiceCIDRs.Put(tx, next)
		}
		return
	}
	c := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: apiName}}
	c.Spec.CIDRs = networks
	c.Status.Conditions = []metav1.Condition{{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
		LastTransitionTime: metav1.NewTime(tx.Now()),
	}}
	tables.ServiceCIDRs.Put(tx, c)
}

// apiName is the service, in namespace default, under which pods find the API.
const apiName = "kubernetes"

func ensureAPIService(tx *store.Tx, address string, port int32) {
	key := object.Key{Namespace: metav1.NamespaceDefault, Name: apiName}
	single := corev1.IPFamilyPolicySingleStack
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{"component": "apiserver", "provider": apiName},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: address, ClusterIPs: []string{address}, IPFamilies: []corev1.IPFamily{family.Text(address)}, IPFamilyPolicy: &single,
			Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(port)}},
		},
	}
	if old, ok := tables.Services.Get(tx, key); ok {
		if len(old.Spec.Ports) == 1 && old.Spec.Ports[0].TargetPort == svc.Spec.Ports[0].TargetPort {
			return
		}
		svc.UID, svc.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	admit.Default(svc)
	tables.Services.Put(tx, svc)
}

func ensureAPIEndpoints(tx *store.Tx, address string, port int32) {
	key := object.Key{Namespace: metav1.NamespaceDefault, Name: apiName}
	yes, name, tcp := true, "https", corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{discoveryv1.LabelServiceName: apiName},
		},
		AddressType: discoveryv1.AddressType(family.Text(address)),
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
	if old, ok := tables.EndpointSlices.Get(tx, key); ok {
		if len(old.Endpoints) == 1 && old.Endpoints[0].Addresses[0] == address && *old.Ports[0].Port == port {
			return
		}
		slice.UID, slice.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	tables.EndpointSlices.Put(tx, slice)
	e := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
		},
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: address}},
			Ports:     []corev1.EndpointPort{{Name: name, Port: port, Protocol: tcp}},
		}},
	}
	if old, ok := tables.Endpoints.Get(tx, key); ok {
		e.UID, e.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	tables.Endpoints.Put(tx, e)
}
