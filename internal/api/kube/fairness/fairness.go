package fairness

import (
	"net/http"
	"slices"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	flowrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Table is the untyped table of a resource.
type Table = *store.Table[store.Object, any]

// Fairness lets requests through in their turn.
type Fairness struct {
	// Control is the library's half, which its server runs.
	Control flowcontrol.Interface
	// Informers tell it of FlowSchemas and PriorityLevelConfigurations, once they are
	// started.
	Informers informers.SharedInformerFactory

	store  *store.Store
	tables map[string]Table // by what the library calls a resource
}

// New returns Fairness of that many seats; client reads the objects and tells in
// their status which of them name a level that is not there.
func New(s *store.Store, client kubernetes.Interface, seats int) *Fairness {
	f := &Fairness{Informers: informers.NewSharedInformerFactory(client, 0), store: s, tables: map[string]Table{}}
	f.Control = flowcontrol.New(f.Informers, client.FlowcontrolV1(), seats)
	return f
}

// Add tells where the objects of a resource are, so that lists of many take more
// seats.
func (f *Fairness) Add(gr schema.GroupResource, t Table) { f.tables[gr.String()] = t }

// objectBytes is what an object is taken to have encoded: the library counts a seat
// for each 100 KiB of a list.
const objectBytes = 1 << 10

// stats returns how many objects a resource has.
func (f *Fairness) stats(gr string) (storage.Stats, error) {
	t, ok := f.tables[gr]
	if !ok {
		return storage.Stats{}, flowrequest.ObjectCountNotFoundErr
	}
	return storage.Stats{ObjectCount: int64(t.Len(f.store.Snapshot())), EstimatedAverageObjectSizeBytes: objectBytes}, nil
}

// Handler lets requests through to h; one that has no deadline waits no longer than
// wait. What may last is not counted, but for the start of a watch.
func (f *Fairness) Handler(h http.Handler, long request.LongRunningRequestCheck, wait time.Duration) http.Handler {
	estimate := flowrequest.NewWorkEstimator(f.stats, f.Control.GetInterestedWatchCount, flowrequest.DefaultWorkEstimatorConfig(), f.Control.GetMaxSeats)
	queues := filters.WithPriorityAndFairness(h, long, f.Control, estimate, wait)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if who, ok := request.UserFrom(req.Context()); ok && slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup) {
			f.exempt(w)
			h.ServeHTTP(w, req)
			return
		}
		queues.ServeHTTP(w, req)
	})
}

// exempt says of a request what its queue would. Members of system:masters match the
// mandatory schema exempt before all others, whatever they ask, and it is kept as it
// is: to find that out anew, with metrics, costs a fifth of a plain read.
func (f *Fairness) exempt(w http.ResponseWriter) {
	snap, key := f.store.Snapshot(), object.Key{Name: flowcontrolv1.FlowSchemaNameExempt}
	if s, ok := tables.FlowSchemas.Get(snap, key); ok {
		w.Header().Set(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID, string(s.UID))
	}
	key.Name = flowcontrolv1.PriorityLevelConfigurationNameExempt
	if l, ok := tables.PriorityLevelConfigurations.Get(snap, key); ok {
		w.Header().Set(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID, string(l.UID))
	}
}
