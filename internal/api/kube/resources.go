package kube

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/api/kube/view"
	"trireme/internal/tables"
)

// resource is one served kind.
type resource struct {
	gv       schema.GroupVersion
	plural   string
	singular string
	short    []string
	all      bool // listed by `kubectl get all`
	status   bool // has a status subresource
	table    view.Table
	list     func() runtime.Object
}

// resources is every kind the door serves from a table.
func resources() []resource {
	core, apps := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion
	return []resource{
		{core, "namespaces", "namespace", []string{"ns"}, false, true, tables.Namespaces.Any(), list[corev1.NamespaceList]},
		{core, "nodes", "node", []string{"no"}, false, true, tables.Nodes.Any(), list[corev1.NodeList]},
		{core, "pods", "pod", []string{"po"}, true, true, tables.Pods.Any(), list[corev1.PodList]},
		{core, "services", "service", []string{"svc"}, true, true, tables.Services.Any(), list[corev1.ServiceList]},
		{core, "endpoints", "endpoints", []string{"ep"}, false, false, tables.Endpoints.Any(), list[corev1.EndpointsList]},
		{core, "configmaps", "configmap", []string{"cm"}, false, false, tables.ConfigMaps.Any(), list[corev1.ConfigMapList]},
		{core, "secrets", "secret", nil, false, false, tables.Secrets.Any(), list[corev1.SecretList]},
		{core, "serviceaccounts", "serviceaccount", []string{"sa"}, false, false, tables.ServiceAccounts.Any(), list[corev1.ServiceAccountList]},
		{core, "events", "event", []string{"ev"}, false, false, tables.Events.Any(), list[corev1.EventList]},
		{eventsv1.SchemeGroupVersion, "events", "event", []string{"ev"}, false, false, tables.Events.Any(), list[corev1.EventList]},
		{apps, "deployments", "deployment", []string{"deploy"}, true, true, tables.Deployments.Any(), list[appsv1.DeploymentList]},
		{apps, "replicasets", "replicaset", []string{"rs"}, true, true, tables.ReplicaSets.Any(), list[appsv1.ReplicaSetList]},
		{discoveryv1.SchemeGroupVersion, "endpointslices", "endpointslice", nil, false, false, tables.EndpointSlices.Any(), list[discoveryv1.EndpointSliceList]},
	}
}

func list[T any, P interface {
	*T
	runtime.Object
}]() runtime.Object {
	return P(new(T))
}
