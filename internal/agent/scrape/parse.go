package scrape

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// The types of series.
const (
	gauge      = "gauge"
	cumulative = "cumulative"
)

// The largest name, label name or label value that is taken, in bytes, and how many
// labels a series may have.
const (
	textMax   = 256
	labelsMax = 32
)

// Series is one value, in the shape of a kubelet's userDefinedMetrics.
type Series struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  float64           `json:"value"`
}

// parse reads Prometheus' text format. Series come in order of name and labels; those
// whose value is no number are left out.
func parse(r io.Reader) ([]Series, error) {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	var out []Series
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		for _, m := range f.GetMetric() {
			labels, ok := labelsOf(m)
			if !ok || len(name) > textMax {
				continue
			}
			for _, s := range values(name, f.GetType(), m) {
				if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
					continue
				}
				if len(out) == seriesMax {
					return nil, fmt.Errorf("more than %d series are shown", seriesMax)
				}
				s.Labels = labels
				out = append(out, s)
			}
		}
	}
	return out, nil
}

func labelsOf(m *dto.Metric) (map[string]string, bool) {
	if len(m.GetLabel()) == 0 {
		return nil, true
	}
	if len(m.GetLabel()) > labelsMax {
		return nil, false
	}
	out := map[string]string{}
	for _, l := range m.GetLabel() {
		if len(l.GetName()) > textMax || len(l.GetValue()) > textMax {
			return nil, false
		}
		out[l.GetName()] = l.GetValue()
	}
	return out, true
}

func values(name string, t dto.MetricType, m *dto.Metric) []Series {
	one := func(name, kind string, v float64) Series { return Series{Name: name, Type: kind, Value: v} }
	switch t {
	case dto.MetricType_COUNTER:
		return []Series{one(name, cumulative, m.GetCounter().GetValue())}
	case dto.MetricType_GAUGE:
		return []Series{one(name, gauge, m.GetGauge().GetValue())}
	case dto.MetricType_HISTOGRAM:
		h := m.GetHistogram()
		return []Series{one(name+"_count", cumulative, float64(h.GetSampleCount())), one(name+"_sum", cumulative, h.GetSampleSum())}
	case dto.MetricType_SUMMARY:
		s := m.GetSummary()
		return []Series{one(name+"_count", cumulative, float64(s.GetSampleCount())), one(name+"_sum", cumulative, s.GetSampleSum())}
	}
	kind := gauge
	if strings.HasSuffix(name, "_total") {
		kind = cumulative
	}
	return []Series{one(name, kind, m.GetUntyped().GetValue())}
}
