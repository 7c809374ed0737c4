package adapters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func metric(name string) autoscalingv2.MetricIdentifier {
	return autoscalingv2.MetricIdentifier{Name: name, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"q": "x"}}}
}

func adapter(group, version string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: version + "." + group},
		Spec:       apiregistrationv1.APIServiceSpec{Group: group, Version: version, Service: &apiregistrationv1.ServiceReference{Namespace: "x", Name: "y"}},
	}
}

// TestRound: every metric is asked of the adapter of its group, and nobody is asked
// where none is registered.
func TestRound(t *testing.T) {
	n := 0
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { n++; return types.UID(fmt.Sprint(n)) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	update := func(f func(tx *store.Tx)) {
		t.Helper()
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "h", UID: "h-uid", Generation: 3}}
	h.Spec.Metrics = []autoscalingv2.MetricSpec{
		{Type: "Resource", Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu"}},
		{Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{Metric: metric("queue")}},
		{Type: "Object", Object: &autoscalingv2.ObjectMetricSource{Metric: metric("hits"), DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "i"}}},
		{Type: "Object", Object: &autoscalingv2.ObjectMetricSource{Metric: metric("load"), DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Node", Name: "n1"}}},
		{Type: "External", External: &autoscalingv2.ExternalMetricSource{Metric: metric("back log")}},
	}
	update(func(tx *store.Tx) { tables.HorizontalPodAutoscalers.Put(tx, h) })

	var mu sync.Mutex
	var asked []string
	a := New(s, func(_ context.Context, uri string) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, uri)
		switch {
		case strings.Contains(uri, "/pods/"):
			return []byte(`{"items":[{"describedObject":{"name":"a"},"value":"1500m"},{"describedObject":{"name":"b"},"value":"2"}]}`), nil
		case strings.Contains(uri, "external"):
			return []byte(`{"items":[{"metricName":"x","value":"1k"},{"value":"1"}]}`), nil
		case strings.Contains(uri, "nodes"):
			return []byte(`{"items":[]}`), nil
		}
		return nil, errors.New("503 Service Unavailable")
	})
	round := func() *object.AdapterAnswers {
		t.Helper()
		asked = nil
		if err := a.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(asked)
		row, _ := tables.AdapterAnswers.Get(s.Snapshot(), object.KeyOf(h))
		return row
	}
	if row := round(); row != nil || len(asked) > 0 {
		t.Errorf("no adapter is registered: %v was asked, %+v written", asked, row)
	}
	update(func(tx *store.Tx) {
		tables.APIServices.Put(tx, adapter(customGroup, "v1beta1"))
		tables.APIServices.Put(tx, adapter(customGroup, "v1beta2"))
		tables.APIServices.Put(tx, adapter(externalGroup, "v1beta1"))
	})
	row := round()
	want := []string{
		"/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/ingresses.networking.k8s.io/i/hits?metricLabelSelector=q%3Dx",
		"/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/%2A/queue?metricLabelSelector=q%3Dx",
		"/apis/custom.metrics.k8s.io/v1beta2/nodes/n1/load?metricLabelSelector=q%3Dx",
		"/apis/external.metrics.k8s.io/v1beta1/namespaces/default/back%20log?labelSelector=q%3Dx",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	answers := []object.AdapterAnswer{
		{}, {Asked: true, Values: map[string]float64{"a": 1.5, "b": 2}}, {Asked: true, Fault: "503 Service Unavailable", Values: map[string]float64{}},
		{Asked: true, Fault: "no values came back", Values: map[string]float64{}}, {Asked: true, Values: map[string]float64{"": 1001}},
	}
	if row == nil || row.Of != h.UID || row.OfGeneration != 3 {
		t.Fatalf("%+v", row)
	}
	if diff := cmp.Diff(answers, row.Answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	update(func(tx *store.Tx) { tables.HorizontalPodAutoscalers.Delete(tx, object.KeyOf(h)) })
	if row := round(); row != nil {
		t.Errorf("the autoscaler is gone, its answers stay: %+v", row)
	}
}
