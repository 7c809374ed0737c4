// Package tables declares the typed table of every noun: one line in plain.go,
// or one file where it has a head or indexes of its own, and nothing else.
//
// All lists them, for opening a Store and for code that treats every noun
// alike. Keys follow Kubernetes' own etcd layout, so that a snapshot of an
// existing cluster can be read.
//
// To add a noun: one line here (declare, add to All), its defaults and
// validation in object, and a line in the door that serves it
// (docs/adding-a-noun.md).
package tables

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/store"
)

// OwnerIndex is the index that every table has: the UIDs of the row's owner
// references, for garbage collection and for controllers to find their own.
const OwnerIndex = "owner"

// All returns every table in a fixed order.
func All() []*store.Table[store.Object, any] {
	return []*store.Table[store.Object, any]{
		Pods.Any(), Services.Any(), Events.Any(), Namespaces.Any(), Nodes.Any(), Endpoints.Any(), ConfigMaps.Any(), Secrets.Any(),
		ServiceAccounts.Any(), ReplicationControllers.Any(), PodTemplates.Any(), LimitRanges.Any(), ResourceQuotas.Any(),
		PersistentVolumes.Any(), PersistentVolumeClaims.Any(), Deployments.Any(), ReplicaSets.Any(), StatefulSets.Any(),
		DaemonSets.Any(), ControllerRevisions.Any(), Jobs.Any(), CronJobs.Any(), HorizontalPodAutoscalers.Any(),
		PodDisruptionBudgets.Any(), PriorityClasses.Any(), PodGroups.Any(), RuntimeClasses.Any(), Leases.Any(), EndpointSlices.Any(), Ingresses.Any(),
		IngressClasses.Any(), NetworkPolicies.Any(), ServiceCIDRs.Any(), IPAddresses.Any(), StorageClasses.Any(),
		VolumeAttachments.Any(), CSIDrivers.Any(), CSINodes.Any(), CSIStorageCapacities.Any(), VolumeAttributesClasses.Any(),
		Roles.Any(), RoleBindings.Any(), ClusterRoles.Any(), ClusterRoleBindings.Any(), CertificateSigningRequests.Any(),
		ClusterTrustBundles.Any(), PodCertificateRequests.Any(), StorageVersionMigrations.Any(),
		FlowSchemas.Any(), PriorityLevelConfigurations.Any(), MutatingWebhookConfigurations.Any(),
		ValidatingWebhookConfigurations.Any(), ValidatingAdmissionPolicies.Any(), ValidatingAdmissionPolicyBindings.Any(),
		MutatingAdmissionPolicies.Any(), MutatingAdmissionPolicyBindings.Any(), DeviceClasses.Any(), ResourceClaims.Any(),
		ResourceClaimTemplates.Any(), ResourceSlices.Any(), DeviceTaintRules.Any(), CustomResourceDefinitions.Any(), APIServices.Any(), CustomObjects.Any(),
	}
}

// Defs returns every table as store.Open takes them.
func Defs() []store.Def {
	var defs []store.Def
	for _, t := range append(All(), Samples()...) {
		defs = append(defs, t)
	}
	return defs
}

func owners[T metav1.Object](o T) []string {
	refs := o.GetOwnerReferences()
	uids := make([]string, len(refs))
	for i, r := range refs {
		uids[i] = string(r.UID)
	}
	return uids
}

// none is the head of tables whose loops read the whole object.
type none = struct{}
