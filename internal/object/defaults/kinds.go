package defaults

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Object defaults o where its kind has defaults.
func Object(o runtime.Object) {
	if batch(o) {
		return
	}
	switch o := o.(type) {
	case *corev1.Pod:
		Pod(o)
	case *corev1.Service:
		Service(o)
	case *corev1.Secret:
		or(&o.Type, corev1.SecretTypeOpaque)
	case *corev1.Namespace:
		Namespace(o)
	case *corev1.Endpoints:
		for i := range o.Subsets {
			for j := range o.Subsets[i].Ports {
				or(&o.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
			}
		}
	case *discoveryv1.EndpointSlice:
		for i := range o.Ports {
			ptr(&o.Ports[i].Name, "")
			ptr(&o.Ports[i].Protocol, corev1.ProtocolTCP)
		}
	case *appsv1.Deployment:
		Deployment(o)
	case *appsv1.ReplicaSet:
		ptr(&o.Spec.Replicas, 1)
		template(&o.Spec.Template)
	case *appsv1.StatefulSet:
		StatefulSet(o)
	case *appsv1.DaemonSet:
		DaemonSet(o)
	case *corev1.ReplicationController:
		ReplicationController(o)
	case *corev1.PodTemplate:
		template(&o.Template)
	case *certificatesv1.PodCertificateRequest:
		ptr(&o.Spec.MaxExpirationSeconds, 24*3600)
	case *rbacv1.RoleBinding:
		binding(&o.RoleRef, o.Subjects)
	case *rbacv1.ClusterRoleBinding:
		binding(&o.RoleRef, o.Subjects)
	default:
		rule(o)
		storageObject(o)
		networkObject(o)
		deviceObject(o)
		flow(o)
	}
}

// Kinds returns one empty object of every kind that Object defaults.
func Kinds() []runtime.Object {
	own := []runtime.Object{
		&batchv1.Job{}, &batchv1.CronJob{}, &autoscalingv2.HorizontalPodAutoscaler{},
		&corev1.Pod{}, &corev1.Service{}, &corev1.Secret{}, &corev1.Namespace{}, &corev1.Endpoints{},
		&discoveryv1.EndpointSlice{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{},
		&appsv1.StatefulSet{}, &appsv1.DaemonSet{}, &corev1.ReplicationController{}, &corev1.PodTemplate{},
		&certificatesv1.PodCertificateRequest{}, &rbacv1.RoleBinding{}, &rbacv1.ClusterRoleBinding{},
		&corev1.LimitRange{}, &schedulingv1.PriorityClass{}, &schedulingv1alpha3.PodGroup{}, &admissionv1.MutatingWebhookConfiguration{},
		&admissionv1.ValidatingWebhookConfiguration{}, &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{},
		&admissionv1.MutatingAdmissionPolicy{}, &admissionv1.MutatingAdmissionPolicyBinding{},
	}
	return slices.Concat(own, storageKinds(), networkKinds(), deviceKinds(), flowKinds())
}

// Namespace defaults a namespace: it carries its own name as a label, so that
// selectors can pick it.
func Namespace(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

// Deployment defaults a deployment.
func Deployment(d *appsv1.Deployment) {
	ptr(&d.Spec.Replicas, 1)
	ptr(&d.Spec.RevisionHistoryLimit, 10)
	ptr(&d.Spec.ProgressDeadlineSeconds, 600)
	or(&d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		ptr(&d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		ptr(&d.Spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		ptr(&d.Spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	template(&d.Spec.Template)
}

// Service defaults a service.
func Service(s *corev1.Service) {
	or(&s.Spec.Type, corev1.ServiceTypeClusterIP)
	or(&s.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch s.Spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		s.Spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		ptr(&s.Spec.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		ptr(&s.Spec.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		ptr(&s.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		or(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	ptr(&s.Spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		or(&s.Spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			ptr(&s.Spec.AllocateLoadBalancerNodePorts, true)
		}
	}
}
