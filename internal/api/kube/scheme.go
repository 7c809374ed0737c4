package kube

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"trireme/internal/admit"
	"trireme/internal/api/kube/usage"
	"trireme/internal/object/defaults"
	"trireme/internal/store"
)

// schemes returns the scheme the API server works with, and one without the hub
// aliases, from which OpenAPI names are taken.
func schemes() (served, plain *runtime.Scheme, err error) {
	plain = runtime.NewScheme()
	served = runtime.NewScheme()
	for _, s := range []*runtime.Scheme{plain, served} {
		for _, add := range []func(*runtime.Scheme) error{
			corev1.AddToScheme, appsv1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme, batchv1.AddToScheme,
			autoscalingv1.AddToScheme, autoscalingv2.AddToScheme, policyv1.AddToScheme, authorizationv1.AddToScheme, authenticationv1.AddToScheme,
			schedulingv1.AddToScheme, addPodGroups, nodev1.AddToScheme, coordinationv1.AddToScheme, networkingv1.AddToScheme, storagev1.AddToScheme, storagemigrationv1.AddToScheme,
			rbacv1.AddToScheme, certificatesv1.AddToScheme, flowcontrolv1.AddToScheme, admissionv1.AddToScheme, resourcev1.AddToScheme, usage.AddToScheme,
		} {
			if err := add(s); err != nil {
				return nil, nil, fmt.Errorf("building the scheme: %w", err)
			}
		}
		metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
		s.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
			&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	}
	addHub(served)
	if err := addIdentity(served); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(addEvents(served), addAutoscalers(served), addProxyOptions(served), addStreamOptions(served)); err != nil {
		return nil, nil, err
	}
	for _, o := range defaults.Kinds() {
		served.AddTypeDefaultingFunc(o, func(o any) { admit.Default(o.(store.Object)) })
	}
	return served, plain, addFieldLabels(served)
}

// addPodGroups adds what is served of the group's alpha version.
func addPodGroups(s *runtime.Scheme) error {
	s.AddKnownTypes(schedulingv1alpha3.SchemeGroupVersion, &schedulingv1alpha3.PodGroup{}, &schedulingv1alpha3.PodGroupList{})
	metav1.AddToGroupVersion(s, schedulingv1alpha3.SchemeGroupVersion)
	return nil
}

// addHub registers every type a second time as the hub version of its group.
func addHub(s *runtime.Scheme) {
	for gvk, t := range s.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal || strings.Contains(t.PkgPath(), "apimachinery/pkg/apis/meta") {
			continue
		}
		if gvk.Group == eventsv1.GroupName && (gvk.Kind == "Event" || gvk.Kind == "EventList") {
			continue
		}
		if gvk.GroupVersion() == autoscalingv1.SchemeGroupVersion && strings.HasPrefix(gvk.Kind, "HorizontalPodAutoscaler") {
			continue // the hub is v2
		}
		hub := schema.GroupVersionKind{Group: gvk.Group, Version: runtime.APIVersionInternal, Kind: gvk.Kind}
		o, err := s.New(gvk)
		if err != nil {
			panic(fmt.Sprintf("kube: %v is known and cannot be made: %v", gvk, err))
		}
		s.AddKnownTypeWithName(hub, o)
	}
}

// addIdentity lets the library convert every type to itself: it does so where it
// shows a webhook or policy the version that it asks for.
func addIdentity(s *runtime.Scheme) error {
	same := func(in, out any, _ conversion.Scope) error {
		reflect.ValueOf(out).Elem().Set(reflect.ValueOf(in).Elem())
		return nil
	}
	for gvk := range s.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		o, err := s.New(gvk)
		if err != nil {
			return err
		}
		if err := s.AddConversionFunc(o, o, same); err != nil {
			return err
		}
	}
	return nil
}

// addEvents makes core/v1 Event the hub of events.k8s.io too: both groups show
// the same rows.
func addEvents(s *runtime.Scheme) error {
	hub := schema.GroupVersion{Group: eventsv1.GroupName, Version: runtime.APIVersionInternal}
	s.AddKnownTypes(hub, &corev1.Event{}, &corev1.EventList{})
	if err := s.AddConversionFunc((*eventsv1.Event)(nil), (*corev1.Event)(nil), func(a, b any, _ conversion.Scope) error {
		eventToCore(a.(*eventsv1.Event), b.(*corev1.Event))
		return nil
	}); err != nil {
		return err
	}
	if err := s.AddConversionFunc((*corev1.Event)(nil), (*eventsv1.Event)(nil), func(a, b any, _ conversion.Scope) error {
		eventFromCore(a.(*corev1.Event), b.(*eventsv1.Event))
		return nil
	}); err != nil {
		return err
	}
	return s.AddConversionFunc((*corev1.EventList)(nil), (*eventsv1.EventList)(nil), func(a, b any, _ conversion.Scope) error {
		in, out := a.(*corev1.EventList), b.(*eventsv1.EventList)
		out.ListMeta = in.ListMeta
		out.Items = make([]eventsv1.Event, len(in.Items))
		for i := range in.Items {
			eventFromCore(&in.Items[i], &out.Items[i])
		}
		return nil
	})
}

func eventToCore(in *eventsv1.Event, out *corev1.Event) {
	out.ObjectMeta = in.ObjectMeta
	out.EventTime, out.ReportingController, out.ReportingInstance = in.EventTime, in.ReportingController, in.ReportingInstance
	out.Action, out.Reason, out.Type, out.Message = in.Action, in.Reason, in.Type, in.Note
	out.InvolvedObject, out.Related = in.Regarding, in.Related
	out.Source, out.FirstTimestamp = in.DeprecatedSource, in.DeprecatedFirstTimestamp
	out.LastTimestamp, out.Count = in.DeprecatedLastTimestamp, in.DeprecatedCount
	if in.Series != nil {
		out.Series = &corev1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}

func eventFromCore(in *corev1.Event, out *eventsv1.Event) {
	out.ObjectMeta = in.ObjectMeta
	out.EventTime, out.ReportingController, out.ReportingInstance = in.EventTime, in.ReportingController, in.ReportingInstance
	out.Action, out.Reason, out.Type, out.Note = in.Action, in.Reason, in.Type, in.Message
	out.Regarding, out.Related = in.InvolvedObject, in.Related
	out.DeprecatedSource, out.DeprecatedFirstTimestamp = in.Source, in.FirstTimestamp
	out.DeprecatedLastTimestamp, out.DeprecatedCount = in.LastTimestamp, in.Count
	if in.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}

// fieldLabels are the fields a client may select by, beside metadata.name and
// metadata.namespace (Kubernetes, "Field Selectors").
var fieldLabels = map[string][]string{
	"Pod":                       {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"},
	"Node":                      {"spec.unschedulable"},
	"Namespace":                 {"status.phase"},
	"Secret":                    {"type"},
	"Service":                   {"spec.clusterIP", "spec.type"},
	"ReplicaSet":                {"status.replicas"},
	"ReplicationController":     {"status.replicas"},
	"Job":                       {"status.successful"},
	"CertificateSigningRequest": {"spec.signerName"},
	"ClusterTrustBundle":        {"spec.signerName"},
	"PodCertificateRequest":     {"spec.signerName", "spec.podName", "spec.nodeName"},
	"Event": {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
		"involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type", "regarding.kind",
		"regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
		"reportingController"},
}

func addFieldLabels(s *runtime.Scheme) error {
	for _, gv := range []schema.GroupVersion{
		corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, eventsv1.SchemeGroupVersion, batchv1.SchemeGroupVersion, certificatesv1.SchemeGroupVersion,
	} {
		for kind, labels := range fieldLabels {
			if !s.Recognizes(gv.WithKind(kind)) {
				continue
			}
			err := s.AddFieldLabelConversionFunc(gv.WithKind(kind), func(label, value string) (string, string, error) {
				if label == "metadata.name" || label == "metadata.namespace" {
					return label, value, nil
				}
				for _, l := range labels {
					if l == label {
						label = strings.Replace(label, "regarding.", "involvedObject.", 1)
						return strings.Replace(label, "reportingController", "reportingComponent", 1), value, nil
					}
				}
				return "", "", fmt.Errorf("field label not supported: %s", label)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// codecs returns the serializers of a scheme.
func codecs(s *runtime.Scheme) serializer.CodecFactory { return serializer.NewCodecFactory(s) }
