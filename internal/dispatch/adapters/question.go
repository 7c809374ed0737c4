package adapters

import (
	"fmt"
	"net/url"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// questions returns what to ask for each metric of the autoscaler, empty where no adapter
// is asked; nil: none of them.
func questions(r store.Reader, have map[string]string, h *autoscalingv2.HorizontalPodAutoscaler) (uris []string) {
	if len(have) == 0 {
		return nil
	}
	uris = make([]string, len(h.Spec.Metrics))
	any := false
	for i := range h.Spec.Metrics {
		uris[i] = question(r, have, h.Namespace, &h.Spec.Metrics[i])
		any = any || uris[i] != ""
	}
	if !any {
		return nil
	}
	return uris
}

func question(r store.Reader, have map[string]string, namespace string, m *autoscalingv2.MetricSpec) string {
	custom, external := have[customGroup], have[externalGroup]
	switch {
	case m.Pods != nil && custom != "":
		return uri("metricLabelSelector", m.Pods.Metric, customGroup, custom, "namespaces", namespace, "pods", "*")
	case m.Object != nil && custom != "":
		path := place(r, namespace, &m.Object.DescribedObject)
		if path == nil {
			return ""
		}
		return uri("metricLabelSelector", m.Object.Metric, append([]string{customGroup, custom}, path...)...)
	case m.External != nil && external != "":
		return uri("labelSelector", m.External.Metric, externalGroup, external, "namespaces", namespace)
	}
	return ""
}

// uri returns the path of a metric with the metric's selector as the query's parameter.
func uri(parameter string, m autoscalingv2.MetricIdentifier, path ...string) string {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	u := "/apis/" + strings.Join(path, "/") + "/" + url.PathEscape(m.Name)
	if m.Selector == nil {
		return u
	}
	sel, err := metav1.LabelSelectorAsSelector(m.Selector)
	if err != nil || sel.Empty() {
		return u
	}
	return u + "?" + url.Values{parameter: {sel.String()}}.Encode()
}

// place returns where a described object's metrics are, nil where its kind is not known.
func place(r store.Reader, namespace string, o *autoscalingv2.CrossVersionObjectReference) []string {
	gv, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return nil
	}
	gk := gv.WithKind(o.Kind).GroupKind()
	if gk == tables.Namespaces.GVK().GroupKind() {
		return []string{"namespaces", o.Name, "metrics"}
	}
	plural, namespaced := "", false
	for _, t := range tables.All() {
		if t.GVK().GroupKind() == gk {
			plural, namespaced = string(t.ID()), t.Namespaced()
		}
	}
	if d := tables.DefinitionOf(r, gk); d != nil {
		plural, namespaced = d.Plural, d.Namespaced
	}
	switch {
	case plural == "":
		return nil
	case gk.Group != "":
		plural = fmt.Sprintf("%s.%s", plural, gk.Group)
	}
	if namespaced {
		return []string{"namespaces", namespace, plural, o.Name}
	}
	return []string{plural, o.Name}
}
