package access

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The verbs that the roles below are made of.
const (
	all       = "*"
	reading   = "get list watch"
	writing   = "create delete deletecollection patch update"
	readWrite = reading + " " + writing
)

// rule returns a rule for resources of one group, each list separated by spaces.
func rule(verbs, group, resources string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: []string{group}, Resources: strings.Fields(resources)}
}

func named(r rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	r.ResourceNames = names
	return r
}

func paths(verbs, urls string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: strings.Fields(urls)}
}

const (
	aggregateTo  = "rbac.authorization.k8s.io/aggregate-to-"
	bootstrapped = "kubernetes.io/bootstrapping"
)

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

// aggregated returns a cluster role that is made of those that carry the label of
// its name.
func aggregated(name string, labels map[string]string) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{aggregateTo + name: "true"}},
		}},
	}
}

func part(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	r := clusterRole("system:aggregate-to-"+name, rules...)
	r.Labels = map[string]string{aggregateTo + name: "true"}
	return r
}

// clusterRoles returns the roles that every cluster has (Kubernetes, "Using RBAC
// Authorization", Default roles and role bindings).
func clusterRoles() []*rbacv1.ClusterRole {
	roles := []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", rule(all, all, all), paths(all, all)),
		aggregated("admin", nil),
		aggregated("edit", map[string]string{aggregateTo + "admin": "true"}),
		aggregated("view", map[string]string{aggregateTo + "edit": "true"}),
		part("admin", adminRules()...), part("edit", editRules()...), part("view", viewRules()...),
		clusterRole("system:discovery", paths("get", "/livez /readyz /healthz /version /version/ /openapi /openapi/* /api /api/* /apis /apis/*")),
		clusterRole("system:public-info-viewer", paths("get", "/livez /readyz /healthz /version /version/")),
		clusterRole("system:monitoring", paths("get", "/metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/* /flagz /statusz")),
		clusterRole("system:basic-user",
			rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			rule("create", "authentication.k8s.io", "selfsubjectreviews")),
		clusterRole("system:service-account-issuer-discovery", paths("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/")),
		clusterRole("system:auth-delegator",
			rule("create", "authentication.k8s.io", "tokenreviews"), rule("create", "authorization.k8s.io", "subjectaccessreviews")),
	}
	return append(append(roles, systemRoles()...), certificateRoles()...)
}

func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(reading, "", "bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims persistentvolumeclaims/status "+
			"pods pods/log pods/status replicationcontrollers replicationcontrollers/scale replicationcontrollers/status resourcequotas resourcequotas/status "+
			"serviceaccounts services services/status"),
		rule(reading, "discovery.k8s.io", "endpointslices"),
		rule(reading, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale "+
			"replicasets/status statefulsets statefulsets/scale statefulsets/status"),
		rule(reading, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
		rule(reading, "batch", "cronjobs cronjobs/status jobs jobs/status"),
		rule(reading, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
		rule(reading, "scheduling.k8s.io", "podgroups podgroups/status"),
		rule(reading, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
		rule(reading, "events.k8s.io", "events"),
		rule(reading, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
		rule(reading, "metrics.k8s.io", "pods nodes"),
		rule(reading, "trireme.dev", "floatingips floatingips/status networks networks/status"),
		rule(reading, "snapshot.storage.k8s.io", "volumesnapshots volumesnapshots/status"),
	}
}

func editRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(reading, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
		rule("impersonate", "", "serviceaccounts"),
		rule(writing, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
		rule("create", "", "pods/eviction serviceaccounts/token"),
		rule("patch update", "", "pods/resize"),
		rule(writing, "", "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
		rule(writing, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
		rule(writing, "autoscaling", "horizontalpodautoscalers"),
		rule(writing, "batch", "cronjobs jobs"),
		rule(writing, "policy", "poddisruptionbudgets"),
		rule(writing, "scheduling.k8s.io", "podgroups"),
		rule(writing, "networking.k8s.io", "ingresses networkpolicies"),
		rule(writing, "events.k8s.io", "events"),
		rule(writing, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
		rule(writing, "trireme.dev", "floatingips networks"),
		rule(writing, "snapshot.storage.k8s.io", "volumesnapshots"),
		rule(readWrite, "coordination.k8s.io", "leases"),
	}
}

func adminRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
		rule(readWrite, "rbac.authorization.k8s.io", "roles rolebindings"),
	}
}

// systemRoles are those of the parts of other Kubernetes distributions that may
// be run beside ours.
func systemRoles() []*rbacv1.ClusterRole {
	review := []rbacv1.PolicyRule{rule("create", "authentication.k8s.io", "tokenreviews"), rule("create", "authorization.k8s.io", "subjectaccessreviews")}
	events := []rbacv1.PolicyRule{rule("create patch update", "", "events"), rule("create patch update", "events.k8s.io", "events")}
	join := func(lists ...[]rbacv1.PolicyRule) (out []rbacv1.PolicyRule) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	return []*rbacv1.ClusterRole{
		clusterRole("system:node"), // the node rules of this package say what a node may do
		clusterRole("system:node-proxier", join(events, []rbacv1.PolicyRule{
			rule("list watch", "", "services endpoints"), rule("get list watch", "", "nodes"), rule("list watch", "discovery.k8s.io", "endpointslices"),
		})...),
		clusterRole("system:node-problem-detector", join(events, []rbacv1.PolicyRule{rule("get", "", "nodes"), rule("patch", "", "nodes/status")})...),
		clusterRole("system:node-bootstrapper", rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:kubelet-api-admin", rule(reading, "", "nodes"), rule("proxy", "", "nodes"),
			rule(all, "", "nodes/log nodes/metrics nodes/proxy nodes/stats nodes/healthz nodes/configz nodes/pods")),
		clusterRole("system:heapster", rule(reading, "", "events namespaces nodes pods"), rule(reading, "apps", "deployments")),
		clusterRole("system:kube-aggregator", rule(reading, "", "services endpoints"), rule(reading, "discovery.k8s.io", "endpointslices")),
		clusterRole("system:kube-dns", rule("list watch", "", "endpoints services"), rule("list watch", "discovery.k8s.io", "endpointslices")),
		clusterRole("system:persistent-volume-provisioner", join(events, []rbacv1.PolicyRule{
			rule("create delete get list watch", "", "persistentvolumes"), rule("get list update watch", "", "persistentvolumeclaims"),
			rule(reading, "storage.k8s.io", "storageclasses"), rule("watch", "", "events"),
		})...),
		clusterRole("system:kube-controller-manager", join(events, review, []rbacv1.PolicyRule{
			rule(readWrite, "coordination.k8s.io", "leases"), rule("create", "", "secrets serviceaccounts serviceaccounts/token"),
			rule("delete", "", "secrets"), rule("get update", "", "configmaps endpoints secrets serviceaccounts"), rule("get", "", "namespaces"),
			rule("list watch", all, all),
		})...),
		clusterRole("system:kube-scheduler", join(events, review, []rbacv1.PolicyRule{
			rule(readWrite, "coordination.k8s.io", "leases"), rule(reading, "", "nodes namespaces persistentvolumes persistentvolumeclaims services replicationcontrollers"),
			rule("delete get list watch", "", "pods"), rule("create", "", "bindings pods/binding"), rule("patch update", "", "pods/status"),
			rule(reading, "apps", "replicasets statefulsets"), rule(reading, "policy", "poddisruptionbudgets"),
			rule(reading, "scheduling.k8s.io", "podgroups"),
			rule(reading, "storage.k8s.io", "csinodes csidrivers csistoragecapacities storageclasses volumeattachments"),
			rule("get list patch update watch", "resource.k8s.io", "resourceclaims resourceclaims/status"), rule(reading, "resource.k8s.io", "deviceclasses resourceslices"),
		})...),
		clusterRole("system:volume-scheduler", rule("get list patch update watch", "", "persistentvolumes persistentvolumeclaims"), rule(reading, "storage.k8s.io", "storageclasses")),
	}
}

func certificateRoles() []*rbacv1.ClusterRole {
	const group = "certificates.k8s.io"
	approver := func(name, signer string) *rbacv1.ClusterRole {
		return clusterRole("system:certificates.k8s.io:"+name, named(rule("approve", group, "signers"), "kubernetes.io/"+signer))
	}
	return []*rbacv1.ClusterRole{
		approver("kube-apiserver-client-approver", "kube-apiserver-client"),
		approver("kube-apiserver-client-kubelet-approver", "kube-apiserver-client-kubelet"),
		approver("kubelet-serving-approver", "kubelet-serving"),
		approver("legacy-unknown-approver", "legacy-unknown"),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:nodeclient", rule("create", group, "certificatesigningrequests/nodeclient")),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", rule("create", group, "certificatesigningrequests/selfnodeclient")),
	}
}
