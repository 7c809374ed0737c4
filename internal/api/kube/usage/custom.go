package usage

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	custom "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// CustomGroupVersion is what Custom serves.
var CustomGroupVersion = custom.SchemeGroupVersion

// customPath is the path of the group.
var customPath = "/apis/" + custom.SchemeGroupVersion.Group

// namesMax bounds the metrics that discovery lists.
const namesMax = 1000

// Adapted reports whether a metrics adapter is registered for the group of custom
// metrics: then the group is its own, and Custom serves nothing.
func Adapted(r store.Reader) bool {
	for s := range tables.APIServices.All(r) {
		if s.Spec.Group == custom.SchemeGroupVersion.Group && s.Spec.Service != nil {
			return true
		}
	}
	return false
}

// Custom serves custom.metrics.k8s.io/v1beta2: what pods show of themselves, as metrics
// of pods.
//
//	GET /apis/custom.metrics.k8s.io/v1beta2/namespaces/NS/pods/NAME/METRIC
//	    ?labelSelector=…        of the pods, where NAME is *
//	    &metricLabelSelector=…  of the series; several that match are summed
//
// The library's installer knows no resources whose subresources come and go, so the
// paths are read here. Who asks has passed authorization: the metric is a subresource.
func Custom(s *store.Store) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		o, err := answer(s.Snapshot(), req)
		code := http.StatusOK
		if err != nil {
			status := err.Status()
			status.Kind, status.APIVersion = "Status", "v1"
			o, code = &status, int(status.Code)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(o) // a client that goes away hears nothing
	})
}

func answer(r store.Reader, req *http.Request) (any, *apierrors.StatusError) {
	none := apierrors.NewGenericServerResponse(http.StatusNotFound, req.Method, schema.GroupResource{}, "", "", 0, true)
	path := strings.Split(strings.Trim(strings.TrimPrefix(req.URL.Path, customPath), "/"), "/")
	switch {
	case Adapted(r):
		return nil, none
	case req.Method != http.MethodGet:
		return nil, apierrors.NewMethodNotSupported(schema.GroupResource{Group: custom.SchemeGroupVersion.Group}, strings.ToLower(req.Method))
	case path[0] == "":
		v := metav1.GroupVersionForDiscovery{GroupVersion: custom.SchemeGroupVersion.String(), Version: custom.SchemeGroupVersion.Version}
		return &metav1.APIGroup{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: custom.SchemeGroupVersion.Group,
			Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v,
		}, nil
	case path[0] != custom.SchemeGroupVersion.Version:
		return nil, none
	case len(path) == 1:
		return shown(r), nil
	case len(path) != 6 || path[1] != "namespaces" || path[3] != "pods":
		return nil, none
	}
	pods, err := labels.Parse(req.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest("labelSelector: " + err.Error())
	}
	series, err := labels.Parse(req.URL.Query().Get("metricLabelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest("metricLabelSelector: " + err.Error())
	}
	q := query{namespace: path[2], name: path[4], metric: path[5], pods: pods, series: series}
	return q.values(r)
}

// query is one question.
type query struct {
	namespace, name, metric string
	pods, series            labels.Selector
}

// values returns the metric of each pod that is asked for and shows it.
func (q query) values(r store.Reader) (any, *apierrors.StatusError) {
	out := &custom.MetricValueList{
		TypeMeta: metav1.TypeMeta{Kind: "MetricValueList", APIVersion: custom.SchemeGroupVersion.String()}, Items: []custom.MetricValue{},
	}
	if q.name == custom.AllObjects {
		for s := range tables.PodSamples.In(r, q.namespace) {
			if q.pods.Matches(labels.Set(s.Labels)) {
				q.add(out, s)
			}
		}
	} else if s, ok := tables.PodSamples.Get(r, object.Key{Namespace: q.namespace, Name: q.name}); ok {
		q.add(out, s)
	}
	if len(out.Items) == 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: custom.SchemeGroupVersion.Group, Resource: "pods/" + q.metric}, q.namespace+"/"+q.name)
	}
	return out, nil
}

func (q query) add(out *custom.MetricValueList, s *object.PodSample) {
	sum, found := 0.0, false
	for _, series := range s.Series {
		if series.Name == q.metric && q.series.Matches(labels.Set(series.Labels)) {
			sum, found = sum+series.Value, true
		}
	}
	if !found {
		return
	}
	const most = 1e15
	window := int64(s.Window.Seconds())
	out.Items = append(out.Items, custom.MetricValue{
		DescribedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: s.Namespace, Name: s.Name},
		Metric:          custom.MetricIdentifier{Name: q.metric}, Timestamp: s.At, WindowSeconds: &window,
		Value: *resource.NewMilliQuantity(int64(math.Round(min(max(sum, -most), most)*1000)), resource.DecimalSI),
	})
}

// shown lists what pods show, for discovery.
func shown(r store.Reader) *metav1.APIResourceList {
	names := map[string]bool{}
	for s := range tables.PodSamples.All(r) {
		for i := 0; i < len(s.Series) && len(names) < namesMax; i++ {
			names[s.Series[i].Name] = true
		}
	}
	out := &metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: custom.SchemeGroupVersion.String(), APIResources: []metav1.APIResource{},
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out.APIResources = append(out.APIResources, metav1.APIResource{Name: "pods/" + name, Namespaced: true, Kind: "MetricValueList", Verbs: metav1.Verbs{"get"}})
	}
	return out
}
