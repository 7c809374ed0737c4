package adapters

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	// Every is how often adapters are asked.
	Every = 15 * time.Second
	// askFor bounds one question, atOnce how many are asked at a time.
	askFor = 10 * time.Second
	atOnce = 16
)

// Get asks the Kubernetes API for what is at a path with its query, and returns the body.
type Get func(ctx context.Context, uri string) ([]byte, error)

// Asker asks adapters.
type Asker struct {
	store *store.Store
	get   Get
}

// New returns an Asker for the store's autoscalers.
func New(s *store.Store, get Get) *Asker { return &Asker{store: s, get: get} }

// Run asks until ctx ends or the store dies.
func (a *Asker) Run(ctx context.Context) error {
	for {
		if err := a.round(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(Every):
		case <-a.store.Dead():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// round asks for everything once and writes what was said.
func (a *Asker) round(ctx context.Context) error {
	snap := a.store.Snapshot()
	have := registered(snap)
	rows := map[object.Key]*object.AdapterAnswers{}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for h := range tables.HorizontalPodAutoscalers.All(snap) {
		asks := questions(snap, have, h)
		if asks == nil {
			continue
		}
		row := &object.AdapterAnswers{
			ObjectMeta: metav1.ObjectMeta{Namespace: h.Namespace, Name: h.Name}, Of: h.UID, OfGeneration: h.Generation,
			Answers: make([]object.AdapterAnswer, len(asks)),
		}
		rows[object.KeyOf(h)] = row
		for i, uri := range asks {
			if uri != "" {
				external := h.Spec.Metrics[i].Type == autoscalingv2.ExternalMetricSourceType
				g.Go(func() error {
					row.Answers[i] = a.ask(ctx, uri, external)
					return nil
				})
			}
		}
	}
	_ = g.Wait() // no function fails
	if ctx.Err() != nil || len(rows) == 0 && tables.AdapterAnswers.Len(snap) == 0 {
		return ctx.Err()
	}
	return a.write(ctx, rows)
}

func (a *Asker) write(ctx context.Context, rows map[object.Key]*object.AdapterAnswers) error {
	_, err := a.store.Update(ctx, func(tx *store.Tx) error {
		for row := range tables.AdapterAnswers.Rows(tx, "") {
			if rows[row.Key()] == nil {
				tables.AdapterAnswers.Delete(tx, row.Key())
			}
		}
		for _, key := range object.SortedKeys(rows) {
			if _, ok := tables.HorizontalPodAutoscalers.Row(tx, key); ok {
				next := *rows[key]
				next.At = metav1.NewTime(tx.Now())
				tables.AdapterAnswers.Put(tx, &next)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing what metrics adapters said: %w", err)
	}
	return nil
}

// values are what adapters answer: MetricValueList of custom.metrics.k8s.io, or
// ExternalMetricValueList, less what is not looked at.
type values struct {
	Items []struct {
		DescribedObject struct{ Name string }
		Value           resource.Quantity
	}
}

// ask asks one question.
func (a *Asker) ask(ctx context.Context, uri string, external bool) object.AdapterAnswer {
	out := object.AdapterAnswer{Asked: true, Values: map[string]float64{}}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	body, err := a.get(ctx, uri)
	var v values
	if err == nil {
		err = json.Unmarshal(body, &v)
	}
	if err == nil && len(v.Items) == 0 {
		err = fmt.Errorf("no values came back")
	}
	if err != nil {
		out.Fault = err.Error()
		return out
	}
	for i := range v.Items {
		name := v.Items[i].DescribedObject.Name
		if external {
			name = ""
		}
		out.Values[name] += v.Items[i].Value.AsApproximateFloat64()
	}
	return out
}

// The groups of adapters, and their versions in the order in which they are preferred.
const (
	customGroup   = "custom.metrics.k8s.io"
	externalGroup = "external.metrics.k8s.io"
)

var versions = []string{"v1", "v1beta2", "v1beta1"}

// registered returns the version that is asked of each group for which an adapter is
// registered.
func registered(r store.Reader) map[string]string {
	have := map[string]string{}
	for s := range tables.APIServices.All(r) {
		group, version := s.Spec.Group, s.Spec.Version
		if s.Spec.Service == nil || group != customGroup && group != externalGroup || !slices.Contains(versions, version) {
			continue
		}
		if was := have[group]; was == "" || slices.Index(versions, version) < slices.Index(versions, was) {
			have[group] = version
		}
	}
	return have
}
