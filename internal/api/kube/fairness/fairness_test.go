package fairness

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// world is a queue of two seats before a handler that works until it is told to
// end.
type world struct {
	h    http.Handler
	end  chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	done []string // who was answered, with the code, in order
}

func newWorld() *world {
	w := &world{end: make(chan struct{})}
	work := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-w.end })
	w.h = New(2, 10*time.Second).Handler(work, func(_ *http.Request, i *request.RequestInfo) bool { return i.Verb == "watch" })
	return w
}

func (w *world) send(name, verb string, groups ...string) {
	w.wg.Go(func() {
		ctx := request.WithUser(request.WithRequestInfo(context.Background(), &request.RequestInfo{Verb: verb}), &user.DefaultInfo{Name: name, Groups: groups})
		rec := httptest.NewRecorder()
		w.h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = append(w.done, name+" "+http.StatusText(rec.Code))
	})
	synctest.Wait()
}

// TestTurns lets one user flood, and another be served in his turn.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for range 50 {
			w.send("loud", "list")
		}
		w.send("calm", "get")
		for range 4 { // two that work, then one of each by turns
			w.end <- struct{}{}
			synctest.Wait()
		}
		served := 0
		for _, d := range w.done {
			if d == "calm OK" {
				served++
			}
		}
		if served != 1 {
			t.Errorf("of the first four answers none was for the calm user: %v", w.done)
		}
		w.send("root", "get", user.SystemPrivilegedGroup) // does not wait
		w.send("loud", "watch")                           // is not counted
		close(w.end)
		w.wg.Wait()
		if len(w.done) != 53 {
			t.Errorf("%d answers, want 53", len(w.done))
		}
	})
}

// TestLimits refuses what waits too long, and who has too much waiting.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for range 2 + waitingMax + 1 {
			w.send("loud", "list")
		}
		if len(w.done) != 1 || w.done[0] != "loud Too Many Requests" {
			t.Errorf("one more than may wait: %v", w.done)
		}
		w.send("calm", "get")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := len(w.done); n != waitingMax+2 {
			t.Errorf("%d were refused, want all that waited", n)
		}
		close(w.end)
		w.wg.Wait()
		w.end = make(chan struct{})
		close(w.end)
		w.send("calm", "get")
		if last := w.done[len(w.done)-1]; last != "calm OK" {
			t.Errorf("the seats did not come back: %s", last)
		}
	})
}

func BenchmarkEnter(b *testing.B) {
	q := New(2, time.Second)
	for b.Loop() {
		if !q.enter(b.Context(), "a") {
			b.Fatal("no seat")
		}
		q.leave()
	}
}
