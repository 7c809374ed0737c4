package kube

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// attrs returns what selectors look at: an object's labels and its selectable
// fields.
func attrs(o runtime.Object) (labels.Set, fields.Set, error) {
	m := o.(metav1.Object)
	f := fields.Set{"metadata.name": m.GetName()}
	if ns := m.GetNamespace(); ns != "" {
		f["metadata.namespace"] = ns
	}
	switch o := o.(type) {
	case *corev1.Pod:
		f["spec.nodeName"] = o.Spec.NodeName
		f["spec.restartPolicy"] = string(o.Spec.RestartPolicy)
		f["spec.schedulerName"] = o.Spec.SchedulerName
		f["spec.serviceAccountName"] = o.Spec.ServiceAccountName
		f["spec.hostNetwork"] = strconv.FormatBool(o.Spec.HostNetwork)
		f["status.phase"] = string(o.Status.Phase)
		f["status.podIP"] = o.Status.PodIP
		f["status.nominatedNodeName"] = o.Status.NominatedNodeName
	case *corev1.Node:
		f["spec.unschedulable"] = strconv.FormatBool(o.Spec.Unschedulable)
	case *corev1.Namespace:
		f["status.phase"] = string(o.Status.Phase)
	case *corev1.Secret:
		f["type"] = string(o.Type)
	case *corev1.Service:
		f["spec.clusterIP"], f["spec.type"] = o.Spec.ClusterIP, string(o.Spec.Type)
	case *appsv1.ReplicaSet:
		f["status.replicas"] = strconv.Itoa(int(o.Status.Replicas))
	case *corev1.ReplicationController:
		f["status.replicas"] = strconv.Itoa(int(o.Status.Replicas))
	case *batchv1.Job:
		f["status.successful"] = strconv.Itoa(int(o.Status.Succeeded))
	case *certificatesv1.CertificateSigningRequest:
		f["spec.signerName"] = o.Spec.SignerName
	case *certificatesv1.ClusterTrustBundle:
		f["spec.signerName"] = o.Spec.SignerName
	case *certificatesv1.PodCertificateRequest:
		f["spec.signerName"], f["spec.podName"], f["spec.nodeName"] = o.Spec.SignerName, o.Spec.PodName, string(o.Spec.NodeName)
	case *corev1.Event:
		eventFields(o, f)
	}
	return m.GetLabels(), f, nil
}

func eventFields(e *corev1.Event, f fields.Set) {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	f["involvedObject.kind"], f["involvedObject.namespace"] = e.InvolvedObject.Kind, e.InvolvedObject.Namespace
	f["involvedObject.name"], f["involvedObject.uid"] = e.InvolvedObject.Name, string(e.InvolvedObject.UID)
	f["involvedObject.apiVersion"], f["involvedObject.fieldPath"] = e.InvolvedObject.APIVersion, e.InvolvedObject.FieldPath
	f["involvedObject.resourceVersion"] = e.InvolvedObject.ResourceVersion
	f["reason"], f["type"], f["source"] = e.Reason, e.Type, source
	f["reportingComponent"] = e.ReportingController
}
