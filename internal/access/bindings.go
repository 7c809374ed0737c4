package access

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}
}

func clusterBinding(role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
}

// clusterRoleBindings returns the bindings that every cluster has.
func clusterRoleBindings() []*rbacv1.ClusterRoleBinding {
	return []*rbacv1.ClusterRoleBinding{
		clusterBinding("cluster-admin", group(Masters)),
		clusterBinding("system:monitoring", group(Monitoring)),
		clusterBinding("system:discovery", group(Authenticated)),
		clusterBinding("system:basic-user", group(Authenticated)),
		clusterBinding("system:public-info-viewer", group(Authenticated), group(Unauthenticated)),
		clusterBinding("system:service-account-issuer-discovery", group(AccountsGroup)),
		clusterBinding("system:node-proxier", user(Proxy)),
		clusterBinding("system:kube-controller-manager", user(ControllerManager)),
		clusterBinding("system:kube-scheduler", user(Scheduler)),
		clusterBinding("system:volume-scheduler", user(Scheduler)),
		clusterBinding("system:kube-dns", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: "kube-dns"}),
		clusterBinding("system:node"), // bound to nobody: nodes have rules of their own
		{
			// Nodes renew their certificates; who joins with a bootstrap token gets one.
			ObjectMeta: metav1.ObjectMeta{Name: "system:node-bootstrapper"}, Subjects: []rbacv1.Subject{group("system:bootstrappers"), group(Nodes)},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-bootstrapper"},
		},
		{
			ObjectMeta: metav1.ObjectMeta{Name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient"}, Subjects: []rbacv1.Subject{group("system:bootstrappers")},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient"},
		},
		{
			ObjectMeta: metav1.ObjectMeta{Name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"}, Subjects: []rbacv1.Subject{group(Nodes)},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"},
		},
	}
}

// roles returns the namespaced roles that every cluster has.
func roles() []*rbacv1.Role {
	leader := func(name string) *rbacv1.Role {
		return &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "system::leader-locking-" + name},
			Rules: []rbacv1.PolicyRule{
				rule("watch", "", "configmaps"), named(rule("get update", "", "configmaps"), name),
			},
		}
	}
	return []*rbacv1.Role{
		{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication-reader"},
			Rules:      []rbacv1.PolicyRule{named(rule(reading, "", "configmaps"), "extension-apiserver-authentication")},
		},
		leader("kube-controller-manager"), leader("kube-scheduler"),
	}
}

// roleBindings returns the namespaced bindings that every cluster has.
func roleBindings() []*rbacv1.RoleBinding {
	bind := func(name, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		}
	}
	return []*rbacv1.RoleBinding{
		bind("system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader", user(ControllerManager), user(Scheduler)),
		bind("system::leader-locking-kube-controller-manager", "system::leader-locking-kube-controller-manager", user(ControllerManager)),
		bind("system::leader-locking-kube-scheduler", "system::leader-locking-kube-scheduler", user(Scheduler)),
	}
}
