package kube

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
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
	core, apps, networking, storage := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, networkingv1.SchemeGroupVersion, storagev1.SchemeGroupVersion
	rbac, admission, dra := rbacv1.SchemeGroupVersion, admissionv1.SchemeGroupVersion, resourcev1.SchemeGroupVersion
	return []resource{
		{core, "namespaces", "namespace", []string{"ns"}, false, true, tables.Namespaces.Any(), list[corev1.NamespaceList]},
		{core, "nodes", "node", []string{"no"}, false, true, tables.Nodes.Any(), list[corev1.NodeList]},
		{core, "pods", "pod", []string{"po"}, true, true, tables.Pods.Any(), list[corev1.PodList]},
		{core, "services", "service", []string{"svc"}, true, true, tables.Services.Any(), list[corev1.ServiceList]},
		{core, "endpoints", "endpoints", []string{"ep"}, false, false, tables.Endpoints.Any(), list[corev1.EndpointsList]},
		{core, "configmaps", "configmap", []string{"cm"}, false, false, tables.ConfigMaps.Any(), list[corev1.ConfigMapList]},
		{core, "secrets", "secret", nil, false, false, tables.Secrets.Any(), list[corev1.SecretList]},
		{core, "serviceaccounts", "serviceaccount", []string{"sa"}, false, false, tables.ServiceAccounts.Any(), list[corev1.ServiceAccountList]},
		{core, "replicationcontrollers", "replicationcontroller", []string{"rc"}, true, true, tables.ReplicationControllers.Any(), list[corev1.ReplicationControllerList]},
		{core, "podtemplates", "podtemplate", nil, false, false, tables.PodTemplates.Any(), list[corev1.PodTemplateList]},
		{core, "limitranges", "limitrange", []string{"limits"}, false, false, tables.LimitRanges.Any(), list[corev1.LimitRangeList]},
		{core, "resourcequotas", "resourcequota", []string{"quota"}, false, true, tables.ResourceQuotas.Any(), list[corev1.ResourceQuotaList]},
		{core, "persistentvolumes", "persistentvolume", []string{"pv"}, false, true, tables.PersistentVolumes.Any(), list[corev1.PersistentVolumeList]},
		{core, "persistentvolumeclaims", "persistentvolumeclaim", []string{"pvc"}, false, true, tables.PersistentVolumeClaims.Any(), list[corev1.PersistentVolumeClaimList]},
		{core, "events", "event", []string{"ev"}, false, false, tables.Events.Any(), list[corev1.EventList]},
		{eventsv1.SchemeGroupVersion, "events", "event", []string{"ev"}, false, false, tables.Events.Any(), list[corev1.EventList]},
		{apps, "deployments", "deployment", []string{"deploy"}, true, true, tables.Deployments.Any(), list[appsv1.DeploymentList]},
		{apps, "replicasets", "replicaset", []string{"rs"}, true, true, tables.ReplicaSets.Any(), list[appsv1.ReplicaSetList]},
		{apps, "statefulsets", "statefulset", []string{"sts"}, true, true, tables.StatefulSets.Any(), list[appsv1.StatefulSetList]},
		{apps, "daemonsets", "daemonset", []string{"ds"}, true, true, tables.DaemonSets.Any(), list[appsv1.DaemonSetList]},
		{apps, "controllerrevisions", "controllerrevision", nil, false, false, tables.ControllerRevisions.Any(), list[appsv1.ControllerRevisionList]},
		{batchv1.SchemeGroupVersion, "jobs", "job", nil, true, true, tables.Jobs.Any(), list[batchv1.JobList]},
		{batchv1.SchemeGroupVersion, "cronjobs", "cronjob", []string{"cj"}, true, true, tables.CronJobs.Any(), list[batchv1.CronJobList]},
		{autoscalingv2.SchemeGroupVersion, "horizontalpodautoscalers", "horizontalpodautoscaler", []string{"hpa"}, true, true, tables.HorizontalPodAutoscalers.Any(), list[autoscalingv2.HorizontalPodAutoscalerList]},
		{autoscalingv1.SchemeGroupVersion, "horizontalpodautoscalers", "horizontalpodautoscaler", []string{"hpa"}, true, true, tables.HorizontalPodAutoscalers.Any(), list[autoscalingv2.HorizontalPodAutoscalerList]},
		{policyv1.SchemeGroupVersion, "poddisruptionbudgets", "poddisruptionbudget", []string{"pdb"}, false, true, tables.PodDisruptionBudgets.Any(), list[policyv1.PodDisruptionBudgetList]},
		{discoveryv1.SchemeGroupVersion, "endpointslices", "endpointslice", nil, false, false, tables.EndpointSlices.Any(), list[discoveryv1.EndpointSliceList]},
		{schedulingv1.SchemeGroupVersion, "priorityclasses", "priorityclass", []string{"pc"}, false, false, tables.PriorityClasses.Any(), list[schedulingv1.PriorityClassList]},
		{schedulingv1alpha3.SchemeGroupVersion, "podgroups", "podgroup", nil, false, true, tables.PodGroups.Any(), list[schedulingv1alpha3.PodGroupList]},
		{nodev1.SchemeGroupVersion, "runtimeclasses", "runtimeclass", nil, false, false, tables.RuntimeClasses.Any(), list[nodev1.RuntimeClassList]},
		{coordinationv1.SchemeGroupVersion, "leases", "lease", nil, false, false, tables.Leases.Any(), list[coordinationv1.LeaseList]},
		{networking, "ingresses", "ingress", []string{"ing"}, false, true, tables.Ingresses.Any(), list[networkingv1.IngressList]},
		{networking, "ingressclasses", "ingressclass", nil, false, false, tables.IngressClasses.Any(), list[networkingv1.IngressClassList]},
		{networking, "networkpolicies", "networkpolicy", []string{"netpol"}, false, false, tables.NetworkPolicies.Any(), list[networkingv1.NetworkPolicyList]},
		{networking, "servicecidrs", "servicecidr", nil, false, true, tables.ServiceCIDRs.Any(), list[networkingv1.ServiceCIDRList]},
		{networking, "ipaddresses", "ipaddress", []string{"ip"}, false, false, tables.IPAddresses.Any(), list[networkingv1.IPAddressList]},
		{storage, "storageclasses", "storageclass", []string{"sc"}, false, false, tables.StorageClasses.Any(), list[storagev1.StorageClassList]},
		{storage, "volumeattachments", "volumeattachment", nil, false, true, tables.VolumeAttachments.Any(), list[storagev1.VolumeAttachmentList]},
		{storage, "csidrivers", "csidriver", nil, false, false, tables.CSIDrivers.Any(), list[storagev1.CSIDriverList]},
		{storage, "csinodes", "csinode", nil, false, false, tables.CSINodes.Any(), list[storagev1.CSINodeList]},
		{storage, "csistoragecapacities", "csistoragecapacity", nil, false, false, tables.CSIStorageCapacities.Any(), list[storagev1.CSIStorageCapacityList]},
		{storage, "volumeattributesclasses", "volumeattributesclass", []string{"vac"}, false, false, tables.VolumeAttributesClasses.Any(), list[storagev1.VolumeAttributesClassList]},
		{rbac, "roles", "role", nil, false, false, tables.Roles.Any(), list[rbacv1.RoleList]},
		{rbac, "rolebindings", "rolebinding", nil, false, false, tables.RoleBindings.Any(), list[rbacv1.RoleBindingList]},
		{rbac, "clusterroles", "clusterrole", nil, false, false, tables.ClusterRoles.Any(), list[rbacv1.ClusterRoleList]},
		{rbac, "clusterrolebindings", "clusterrolebinding", nil, false, false, tables.ClusterRoleBindings.Any(), list[rbacv1.ClusterRoleBindingList]},
		{certificatesv1.SchemeGroupVersion, "certificatesigningrequests", "certificatesigningrequest", []string{"csr"}, false, true, tables.CertificateSigningRequests.Any(), list[certificatesv1.CertificateSigningRequestList]},
		{certificatesv1.SchemeGroupVersion, "clustertrustbundles", "clustertrustbundle", nil, false, false, tables.ClusterTrustBundles.Any(), list[certificatesv1.ClusterTrustBundleList]},
		{certificatesv1.SchemeGroupVersion, "podcertificaterequests", "podcertificaterequest", nil, false, true, tables.PodCertificateRequests.Any(), list[certificatesv1.PodCertificateRequestList]},
		{storagemigrationv1.SchemeGroupVersion, "storageversionmigrations", "storageversionmigration", nil, false, true, tables.StorageVersionMigrations.Any(), list[storagemigrationv1.StorageVersionMigrationList]},
		{flowcontrolv1.SchemeGroupVersion, "flowschemas", "flowschema", nil, false, true, tables.FlowSchemas.Any(), list[flowcontrolv1.FlowSchemaList]},
		{flowcontrolv1.SchemeGroupVersion, "prioritylevelconfigurations", "prioritylevelconfiguration", nil, false, true, tables.PriorityLevelConfigurations.Any(), list[flowcontrolv1.PriorityLevelConfigurationList]},
		{admission, "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", nil, false, false, tables.MutatingWebhookConfigurations.Any(), list[admissionv1.MutatingWebhookConfigurationList]},
		{admission, "validatingwebhookconfigurations", "validatingwebhookconfiguration", nil, false, false, tables.ValidatingWebhookConfigurations.Any(), list[admissionv1.ValidatingWebhookConfigurationList]},
		{admission, "validatingadmissionpolicies", "validatingadmissionpolicy", nil, false, true, tables.ValidatingAdmissionPolicies.Any(), list[admissionv1.ValidatingAdmissionPolicyList]},
		{admission, "validatingadmissionpolicybindings", "validatingadmissionpolicybinding", nil, false, false, tables.ValidatingAdmissionPolicyBindings.Any(), list[admissionv1.ValidatingAdmissionPolicyBindingList]},
		{admission, "mutatingadmissionpolicies", "mutatingadmissionpolicy", nil, false, false, tables.MutatingAdmissionPolicies.Any(), list[admissionv1.MutatingAdmissionPolicyList]},
		{admission, "mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding", nil, false, false, tables.MutatingAdmissionPolicyBindings.Any(), list[admissionv1.MutatingAdmissionPolicyBindingList]},
		{dra, "deviceclasses", "deviceclass", nil, false, false, tables.DeviceClasses.Any(), list[resourcev1.DeviceClassList]},
		{dra, "resourceclaims", "resourceclaim", nil, false, true, tables.ResourceClaims.Any(), list[resourcev1.ResourceClaimList]},
		{dra, "resourceclaimtemplates", "resourceclaimtemplate", nil, false, false, tables.ResourceClaimTemplates.Any(), list[resourcev1.ResourceClaimTemplateList]},
		{dra, "devicetaintrules", "devicetaintrule", nil, false, true, tables.DeviceTaintRules.Any(), list[resourcev1.DeviceTaintRuleList]},
		{dra, "resourceslices", "resourceslice", nil, false, false, tables.ResourceSlices.Any(), list[resourcev1.ResourceSliceList]},
	}
}

func list[T any, P interface {
	*T
	runtime.Object
}]() runtime.Object {
	return P(new(T))
}
