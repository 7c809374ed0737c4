package fairness

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// waitingMax is how many requests of one user may wait.
const waitingMax = 200

// Seats returns how many requests a machine like this one should work on at a
// time: enough that writes share their commits, and few enough that a request
// that is let in is answered soon.
func Seats() int { return max(128, 64*runtime.GOMAXPROCS(0)) }

// Queue lets requests through, so many at a time.
type Queue struct {
	seats int
	wait  time.Duration

	mu    sync.Mutex
	used  int
	flows map[string]*flow
	turns []*flow // those with requests that wait, whose turn it is first
}

// flow is one user's requests that wait, the oldest first.
type flow struct {
	name    string
	waiting []chan struct{} // closed when its turn has come
}

// New returns a queue of that many seats, in which a request waits no longer than
// wait.
func New(seats int, wait time.Duration) *Queue {
	return &Queue{seats: seats, wait: wait, flows: map[string]*flow{}}
}

// Handler lets requests through to h in their turn. A user who has too many
// waiting, or one for too long, is told to come again later.
func (q *Queue) Handler(h http.Handler, long request.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := request.UserFrom(r.Context())
		info, known := request.RequestInfoFrom(r.Context())
		if !ok || !known || slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup) || long(r, info) {
			h.ServeHTTP(w, r)
			return
		}
		if !q.enter(r.Context(), who.GetName()) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests of this user wait already: come again later", http.StatusTooManyRequests)
			return
		}
		defer q.leave()
		h.ServeHTTP(w, r)
	})
}

// enter takes a seat, waiting for one if need be; false: there was none in time.
func (q *Queue) enter(ctx context.Context, name string) bool {
	turn := q.ask(name)
	if turn == nil {
		return false
	}
	select {
	case <-turn:
		return true
	default:
	}
	limit := time.NewTimer(q.wait)
	defer limit.Stop()
	select {
	case <-turn:
		return true
	case <-limit.C:
	case <-ctx.Done():
	}
	if !q.forget(name, turn) {
		q.leave() // it came at the same moment
	}
	return false
}

// free is the turn of who need not wait.
var free = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// ask returns a channel that is closed when the caller has a seat; nil where the
// user has too many requests waiting.
func (q *Queue) ask(name string) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used < q.seats { // then nobody waits
		q.used++
		return free
	}
	f := q.flows[name]
	if f == nil {
		f = &flow{name: name}
		q.flows[name] = f
		q.turns = append(q.turns, f)
	}
	if len(f.waiting) >= waitingMax {
		return nil
	}
	turn := make(chan struct{})
	f.waiting = append(f.waiting, turn)
	return turn
}

// leave hands the caller's seat to the user whose turn it is.
func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		q.used--
		return
	}
	f := q.turns[0]
	q.turns = q.turns[1:]
	close(f.waiting[0])
	f.waiting = f.waiting[1:]
	if len(f.waiting) > 0 {
		q.turns = append(q.turns, f)
	} else {
		delete(q.flows, f.name)
	}
}

// forget takes a turn back that has not come; false: it has.
func (q *Queue) forget(name string, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.flows[name]
	if f == nil {
		return false
	}
	i := slices.Index(f.waiting, turn)
	if i < 0 {
		return false
	}
	f.waiting = slices.Delete(f.waiting, i, i+1)
	if len(f.waiting) == 0 {
		delete(q.flows, name)
		q.turns = slices.DeleteFunc(q.turns, func(o *flow) bool { return o == f })
	}
	return true
}
