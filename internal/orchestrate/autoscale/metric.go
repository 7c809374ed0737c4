package autoscale

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/object"
	"trireme/internal/tables"
)

// settleFor is how long after its start a pod's CPU use says little (Kubernetes,
// "Horizontal Pod Autoscaling", "Algorithm details").
const settleFor = 5 * time.Minute

// proposal is what one metric asks for.
type proposal struct {
	replicas int32
	name     string // for people: "cpu resource utilization (percentage of request)"
	status   autoscalingv2.MetricStatus
}

// propose returns what the metric of that index asks for.
func (s *scaler) propose(i int) (p proposal, reason string, err error) {
	m, said := &s.h.Spec.Metrics[i], s.said(i)
	p.status.Type = m.Type
	switch {
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		p.name = string(m.Resource.Name) + " resource"
		var now autoscalingv2.MetricValueStatus
		p.replicas, now, err = s.resource(m.Resource.Name, "", m.Resource.Target)
		p.status.Resource = &autoscalingv2.ResourceMetricStatus{Name: m.Resource.Name, Current: now}
		return p, "FailedGetResourceMetric", err
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		c := m.ContainerResource
		p.name = fmt.Sprintf("%s container resource of %s", c.Name, c.Container)
		var now autoscalingv2.MetricValueStatus
		p.replicas, now, err = s.resource(c.Name, c.Container, c.Target)
		p.status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: c.Name, Container: c.Container, Current: now}
		return p, "FailedGetContainerResourceMetric", err
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		p.name = "pods metric " + m.Pods.Metric.Name
		var now autoscalingv2.MetricValueStatus
		p.replicas, now, err = s.podsMetric(m.Pods, said)
		p.status.Pods = &autoscalingv2.PodsMetricStatus{Metric: m.Pods.Metric, Current: now}
		return p, "FailedGetPodsMetric", err
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		p.name = fmt.Sprintf("%s metric %s", m.Object.DescribedObject.Kind, m.Object.Metric.Name)
		var now autoscalingv2.MetricValueStatus
		p.replicas, now, err = s.total(m.Object.Metric, m.Object.Target, said, func() ([]*object.PodSample, error) {
			return samplesOf(s.tx, s.h.Namespace, m.Object.DescribedObject)
		})
		p.status.Object = &autoscalingv2.ObjectMetricStatus{Metric: m.Object.Metric, DescribedObject: m.Object.DescribedObject, Current: now}
		return p, "FailedGetObjectMetric", err
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		p.name = "external metric " + m.External.Metric.Name
		var now autoscalingv2.MetricValueStatus
		p.replicas, now, err = s.total(m.External.Metric, m.External.Target, said, func() ([]*object.PodSample, error) {
			return slices.Collect(tables.PodSamples.In(s.tx, s.h.Namespace)), nil
		})
		p.status.External = &autoscalingv2.ExternalMetricStatus{Metric: m.External.Metric, Current: now}
		return p, "FailedGetExternalMetric", err
	}
	return p, "InvalidMetricSourceType", fmt.Errorf("unknown metric source type %q", m.Type)
}

// resource sizes by cpu or memory; container: of one container of each pod, empty: of
// all.
func (s *scaler) resource(name corev1.ResourceName, container string, aim autoscalingv2.MetricTarget) (int32, autoscalingv2.MetricValueStatus, error) {
	var now autoscalingv2.MetricValueStatus
	crowd, err := s.crowd(func(m member) (float64, bool) { return useOf(m.sample, name, container) }, name == corev1.ResourceCPU)
	if err != nil {
		return 0, now, fmt.Errorf("unable to get metrics for resource %s: %w", name, err)
	}
	crowd.milli = name == corev1.ResourceCPU
	if aim.AverageValue != nil {
		n, average := crowd.raw(s, asFloat(*aim.AverageValue))
		now.AverageValue = quantity(average)
		return n, now, nil
	}
	if aim.AverageUtilization == nil {
		return 0, now, fmt.Errorf("invalid resource metric source: neither an average utilization target nor an average value target was set")
	}
	if err := s.requests(crowd, name, container); err != nil {
		return 0, now, fmt.Errorf("failed to get %s utilization: %w", name, err)
	}
	n, percent, average := crowd.utilization(s, float64(*aim.AverageUtilization))
	now.AverageUtilization, now.AverageValue = &percent, quantity(average)
	return n, now, nil
}

// useOf returns what a sample says of a resource, in cores or bytes.
func useOf(p *object.PodSample, name corev1.ResourceName, container string) (v float64, ok bool) {
	if p == nil {
		return 0, false
	}
	for _, c := range p.Containers {
		if container != "" && c.Name != container {
			continue
		}
		ok = true
		switch name {
		case corev1.ResourceCPU:
			v += float64(c.CPUNano) / 1e9
		case corev1.ResourceMemory:
			v += float64(c.MemoryBytes)
		default:
			return 0, false
		}
	}
	return v, ok
}

// requests fills in what each pod of the crowd asks for.
func (s *scaler) requests(c *crowd, name corev1.ResourceName, container string) error {
	for i := range c.all {
		m := &c.all[i]
		pod, ok := tables.Pods.Get(s.tx, m.key)
		if !ok {
			continue
		}
		m.request = 0
		for j := range pod.Spec.Containers {
			if container != "" && pod.Spec.Containers[j].Name != container {
				continue
			}
			q, ok := pod.Spec.Containers[j].Resources.Requests[name]
			if !ok {
				return fmt.Errorf("missing request for %s in container %s of Pod %s", name, pod.Spec.Containers[j].Name, pod.Name)
			}
			m.request += asFloat(q)
		}
	}
	return nil
}

// podsMetric sizes by a series that the target's pods show.
func (s *scaler) podsMetric(src *autoscalingv2.PodsMetricSource, said *object.AdapterAnswer) (int32, autoscalingv2.MetricValueStatus, error) {
	var now autoscalingv2.MetricValueStatus
	pick, err := picker(src.Metric)
	if err != nil {
		return 0, now, err
	}
	if src.Target.AverageValue == nil {
		return 0, now, fmt.Errorf("invalid pods metric source: no average value target was set")
	}
	value := func(m member) (float64, bool) { return pick(m.sample) }
	if said != nil && said.Fault == "" {
		value = func(m member) (float64, bool) {
			v, ok := said.Values[m.key.Name]
			return v, ok
		}
	}
	crowd, err := s.crowd(value, false)
	if err != nil {
		return 0, now, fmt.Errorf("unable to get metric %s: %w", src.Metric.Name, blamed(err, said))
	}
	n, average := crowd.raw(s, asFloat(*src.Target.AverageValue))
	now.AverageValue = quantity(average)
	return n, now, nil
}

// picker returns what sums the series of a sample that a metric names; false: it has
// none.
func picker(m autoscalingv2.MetricIdentifier) (func(*object.PodSample) (float64, bool), error) {
	sel := labels.Everything()
	if m.Selector != nil {
		var err error
		if sel, err = metav1.LabelSelectorAsSelector(m.Selector); err != nil {
			return nil, fmt.Errorf("selector of metric %s: %w", m.Name, err)
		}
	}
	return func(p *object.PodSample) (v float64, ok bool) {
		if p == nil {
			return 0, false
		}
		for _, series := range p.Series {
			if series.Name == m.Name && sel.Matches(labels.Set(series.Labels)) {
				v, ok = v+series.Value, true
			}
		}
		return v, ok
	}, nil
}

// total sizes by one value: what an adapter said, or else the sum of a series over
// samples.
func (s *scaler) total(m autoscalingv2.MetricIdentifier, aim autoscalingv2.MetricTarget, said *object.AdapterAnswer,
	samples func() ([]*object.PodSample, error)) (int32, autoscalingv2.MetricValueStatus, error) {
	if said != nil && said.Fault == "" {
		sum := 0.0
		for _, v := range said.Values {
			sum += v
		}
		return s.size(sum, aim)
	}
	pick, err := picker(m)
	if err != nil {
		return 0, autoscalingv2.MetricValueStatus{}, err
	}
	all, err := samples()
	sum, found := 0.0, false
	for _, sample := range all {
		if v, ok := pick(sample); ok {
			sum, found = sum+v, true
		}
	}
	switch {
	case err != nil:
	case !found:
		err = errors.New("no pod shows it")
	default:
		return s.size(sum, aim)
	}
	return 0, autoscalingv2.MetricValueStatus{}, fmt.Errorf("unable to get metric %s: %w", m.Name, blamed(err, said))
}

// said returns what a metrics adapter said of the metric of that index; nil: none was
// asked.
func (s *scaler) said(i int) *object.AdapterAnswer {
	row, ok := tables.AdapterAnswers.Get(s.tx, object.KeyOf(s.h))
	if !ok || row.Of != s.h.UID || row.OfGeneration != s.h.Generation || i >= len(row.Answers) || !row.Answers[i].Asked {
		return nil
	}
	return &row.Answers[i]
}

// blamed adds an adapter's fault to why pods did not show what it does not know.
func blamed(err error, said *object.AdapterAnswer) error {
	if said == nil {
		return err
	}
	return fmt.Errorf("%w; the metrics adapter: %s", err, said.Fault)
}

// size sizes by one value.
func (s *scaler) size(sum float64, aim autoscalingv2.MetricTarget) (int32, autoscalingv2.MetricValueStatus, error) {
	var now autoscalingv2.MetricValueStatus
	if aim.AverageValue != nil {
		each := asFloat(*aim.AverageValue)
		if n := s.target.Replicas; n > 0 {
			now.AverageValue = quantity(sum / float64(n))
			if s.tolerated(sum / (each * float64(n))) {
				return n, now, nil
			}
		} else {
			now.AverageValue = quantity(sum)
		}
		return up(sum / each), now, nil
	}
	if aim.Value == nil {
		return 0, now, fmt.Errorf("invalid metric source: neither a value target nor an average value target was set")
	}
	now.Value = quantity(sum)
	ratio := sum / asFloat(*aim.Value)
	if s.target.Replicas == 0 {
		return up(ratio), now, nil
	}
	if s.tolerated(ratio) {
		return s.target.Replicas, now, nil
	}
	ready := 0
	for _, m := range s.members {
		if m.head.Ready {
			ready++
		}
	}
	return up(ratio * float64(ready)), now, nil
}

func asFloat(q resource.Quantity) float64 { return q.AsApproximateFloat64() }

// quantity returns v to a thousandth.
func quantity(v float64) *resource.Quantity {
	const most = 1e15
	return resource.NewMilliQuantity(int64(math.Round(min(max(v, -most), most)*1000)), resource.DecimalSI)
}

// up rounds up, but for what is a rounding error of floating point, and stays in range.
func up(v float64) int32 {
	const slack = 1e-9
	return int32(min(max(math.Ceil(v-slack), 0), math.MaxInt32))
}
