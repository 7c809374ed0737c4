package tables

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"trireme/internal/store"
)

// The nouns that need no head and no index of their own. The last argument is
// where Kubernetes keeps them below /registry/.
var (
	Namespaces             = global[corev1.Namespace]("namespaces", core("Namespace"), "namespaces")
	Nodes                  = global[corev1.Node]("nodes", core("Node"), "minions")
	Endpoints              = plain[corev1.Endpoints]("endpoints", core("Endpoints"), "services/endpoints")
	ConfigMaps             = plain[corev1.ConfigMap]("configmaps", core("ConfigMap"), "configmaps")
	Secrets                = plain[corev1.Secret]("secrets", core("Secret"), "secrets")
	ServiceAccounts        = plain[corev1.ServiceAccount]("serviceaccounts", core("ServiceAccount"), "serviceaccounts")
	ReplicationControllers = plain[corev1.ReplicationController]("replicationcontrollers", core("ReplicationController"), "controllers")
	PodTemplates           = plain[corev1.PodTemplate]("podtemplates", core("PodTemplate"), "podtemplates")
	LimitRanges            = plain[corev1.LimitRange]("limitranges", core("LimitRange"), "limitranges")
	ResourceQuotas         = plain[corev1.ResourceQuota]("resourcequotas", core("ResourceQuota"), "resourcequotas")

	Deployments         = plain[appsv1.Deployment]("deployments", apps("Deployment"), "deployments")
	ReplicaSets         = plain[appsv1.ReplicaSet]("replicasets", apps("ReplicaSet"), "replicasets")
	StatefulSets        = plain[appsv1.StatefulSet]("statefulsets", apps("StatefulSet"), "statefulsets")
	DaemonSets          = plain[appsv1.DaemonSet]("daemonsets", apps("DaemonSet"), "daemonsets")
	ControllerRevisions = plain[appsv1.ControllerRevision]("controllerrevisions", apps("ControllerRevision"), "controllerrevisions")

	Jobs     = plain[batchv1.Job]("jobs", batchv1.SchemeGroupVersion.WithKind("Job"), "jobs")
	CronJobs = plain[batchv1.CronJob]("cronjobs", batchv1.SchemeGroupVersion.WithKind("CronJob"), "cronjobs")

	HorizontalPodAutoscalers = plain[autoscalingv2.HorizontalPodAutoscaler]("horizontalpodautoscalers",
		autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), "horizontalpodautoscalers")
	PodDisruptionBudgets = plain[policyv1.PodDisruptionBudget]("poddisruptionbudgets",
		policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), "poddisruptionbudgets")
	PriorityClasses = global[schedulingv1.PriorityClass]("priorityclasses", schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"), "priorityclasses")
	PodGroups       = plain[schedulingv1alpha3.PodGroup]("podgroups", schedulingv1alpha3.SchemeGroupVersion.WithKind("PodGroup"), "podgroups")
	RuntimeClasses  = global[nodev1.RuntimeClass]("runtimeclasses", nodev1.SchemeGroupVersion.WithKind("RuntimeClass"), "runtimeclasses")
	Leases          = plain[coordinationv1.Lease]("leases", coordinationv1.SchemeGroupVersion.WithKind("Lease"), "leases")

	EndpointSlices  = plain[discoveryv1.EndpointSlice]("endpointslices", discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), "endpointslices")
	IngressClasses  = global[networkingv1.IngressClass]("ingressclasses", networking("IngressClass"), "ingressclasses")
	NetworkPolicies = plain[networkingv1.NetworkPolicy]("networkpolicies", networking("NetworkPolicy"), "networkpolicies")
	ServiceCIDRs    = global[networkingv1.ServiceCIDR]("servicecidrs", networking("ServiceCIDR"), "servicecidrs")
	IPAddresses     = global[networkingv1.IPAddress]("ipaddresses", networking("IPAddress"), "ipaddresses")

	StorageClasses          = global[storagev1.StorageClass]("storageclasses", storage("StorageClass"), "storageclasses")
	CSIDrivers              = global[storagev1.CSIDriver]("csidrivers", storage("CSIDriver"), "csidrivers")
	CSINodes                = global[storagev1.CSINode]("csinodes", storage("CSINode"), "csinodes")
	VolumeAttributesClasses = global[storagev1.VolumeAttributesClass]("volumeattributesclasses", storage("VolumeAttributesClass"), "volumeattributesclasses")

	Roles               = plain[rbacv1.Role]("roles", rbac("Role"), "roles")
	RoleBindings        = plain[rbacv1.RoleBinding]("rolebindings", rbac("RoleBinding"), "rolebindings")
	ClusterRoles        = global[rbacv1.ClusterRole]("clusterroles", rbac("ClusterRole"), "clusterroles")
	ClusterRoleBindings = global[rbacv1.ClusterRoleBinding]("clusterrolebindings", rbac("ClusterRoleBinding"), "clusterrolebindings")

	CertificateSigningRequests = global[certificatesv1.CertificateSigningRequest]("certificatesigningrequests",
		certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"), "certificatesigningrequests")

	ClusterTrustBundles = global[certificatesv1.ClusterTrustBundle]("clustertrustbundles",
		certificatesv1.SchemeGroupVersion.WithKind("ClusterTrustBundle"), "clustertrustbundles")
	PodCertificateRequests = plain[certificatesv1.PodCertificateRequest]("podcertificaterequests",
		certificatesv1.SchemeGroupVersion.WithKind("PodCertificateRequest"), "podcertificaterequests")
	StorageVersionMigrations = global[storagemigrationv1.StorageVersionMigration]("storageversionmigrations",
		storagemigrationv1.SchemeGroupVersion.WithKind("StorageVersionMigration"), "storageversionmigrations")

	FlowSchemas                 = global[flowcontrolv1.FlowSchema]("flowschemas", flowcontrol("FlowSchema"), "flowschemas")
	PriorityLevelConfigurations = global[flowcontrolv1.PriorityLevelConfiguration]("prioritylevelconfigurations",
		flowcontrol("PriorityLevelConfiguration"), "prioritylevelconfigurations")

	MutatingWebhookConfigurations = global[admissionv1.MutatingWebhookConfiguration]("mutatingwebhookconfigurations",
		admission("MutatingWebhookConfiguration"), "mutatingwebhookconfigurations")
	ValidatingWebhookConfigurations = global[admissionv1.ValidatingWebhookConfiguration]("validatingwebhookconfigurations",
		admission("ValidatingWebhookConfiguration"), "validatingwebhookconfigurations")
	ValidatingAdmissionPolicies = global[admissionv1.ValidatingAdmissionPolicy]("validatingadmissionpolicies",
		admission("ValidatingAdmissionPolicy"), "validatingadmissionpolicies")
	ValidatingAdmissionPolicyBindings = global[admissionv1.ValidatingAdmissionPolicyBinding]("validatingadmissionpolicybindings",
		admission("ValidatingAdmissionPolicyBinding"), "validatingadmissionpolicybindings")
	MutatingAdmissionPolicies = global[admissionv1.MutatingAdmissionPolicy]("mutatingadmissionpolicies",
		admission("MutatingAdmissionPolicy"), "mutatingadmissionpolicies")
	MutatingAdmissionPolicyBindings = global[admissionv1.MutatingAdmissionPolicyBinding]("mutatingadmissionpolicybindings",
		admission("MutatingAdmissionPolicyBinding"), "mutatingadmissionpolicybindings")

	APIServices = global[apiregistrationv1.APIService]("apiservices", apiregistrationv1.SchemeGroupVersion.WithKind("APIService"), "apiregistration.k8s.io/apiservices")

	DeviceClasses          = global[resourcev1.DeviceClass]("deviceclasses", resource("DeviceClass"), "deviceclasses")
	ResourceClaims         = plain[resourcev1.ResourceClaim]("resourceclaims", resource("ResourceClaim"), "resourceclaims")
	ResourceClaimTemplates = plain[resourcev1.ResourceClaimTemplate]("resourceclaimtemplates", resource("ResourceClaimTemplate"), "resourceclaimtemplates")
	DeviceTaintRules       = global[resourcev1.DeviceTaintRule]("devicetaintrules", resource("DeviceTaintRule"), "devicetaintrules")
	ResourceSlices         = global[resourcev1.ResourceSlice]("resourceslices", resource("ResourceSlice"), "resourceslices")
)

func core(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }
func apps(kind string) schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind(kind) }
func rbac(kind string) schema.GroupVersionKind { return rbacv1.SchemeGroupVersion.WithKind(kind) }
func storage(kind string) schema.GroupVersionKind {
	return storagev1.SchemeGroupVersion.WithKind(kind)
}
func networking(kind string) schema.GroupVersionKind {
	return networkingv1.SchemeGroupVersion.WithKind(kind)
}
func flowcontrol(kind string) schema.GroupVersionKind {
	return flowcontrolv1.SchemeGroupVersion.WithKind(kind)
}
func admission(kind string) schema.GroupVersionKind {
	return admissionv1.SchemeGroupVersion.WithKind(kind)
}
func resource(kind string) schema.GroupVersionKind {
	return resourcev1.SchemeGroupVersion.WithKind(kind)
}

// plain declares a table of namespaced objects with no head and no index but
// the owners'.
func plain[T any, P pointer[T]](id store.TableID, gvk schema.GroupVersionKind, dir string) *store.Table[P, none] {
	spec := declare[T, P](id, gvk, dir)
	spec.Namespaced = true
	return store.NewTable(spec)
}

// global is plain for objects that live in no namespace.
func global[T any, P pointer[T]](id store.TableID, gvk schema.GroupVersionKind, dir string) *store.Table[P, none] {
	return store.NewTable(declare[T, P](id, gvk, dir))
}

type pointer[T any] interface {
	*T
	store.Object
}

func declare[T any, P pointer[T]](id store.TableID, gvk schema.GroupVersionKind, dir string) store.Spec[P, none] {
	return store.Spec[P, none]{
		ID: id, GVK: gvk, Prefix: "/registry/" + dir + "/", New: func() P { return P(new(T)) },
		Indexes: map[string]func(P) []string{OwnerIndex: owners[P]},
	}
}
