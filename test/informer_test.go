package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// TestInformers: client-go's informers go through 20 restarts of the manager,
// kill -9 among clients that write, and are told of every version exactly once.
// An informer that lists anew (client-go does so after a watch of less than a
// second that brought nothing, whoever serves it) may be told of the newest
// version only, as with any server.
func TestInformers(t *testing.T) {
	h := ownMachines(t, 1)[0]
	up := []string{"up", "--no-agent"}
	if err := h.Start(up...); err != nil {
		t.Fatal(err)
	}
	await(t, h, 60*time.Second, "the API answers", func() error {
		_, err := h.Kubectl(t.Context(), "get", "--raw", "/readyz")
		return err
	})
	config, err := clientcmd.BuildConfigFromFlags("", h.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.Dial, config.QPS, config.Burst = h.Dial, 10000, 10000
	w := newWitness()
	watching := rest.CopyConfig(config)
	watching.Wrap(func(next http.RoundTripper) http.RoundTripper { return &listCounter{next, w} })
	cs, err := kubernetes.NewForConfig(watching)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactoryWithOptions(cs, 0, informers.WithNamespace("default"), informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "witness" }))
	informer := factory.Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(w); err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	defer stop()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer never had its first list")
	}
	// The writer's own connection, so that the informer's is not helped by it.
	short := *config
	short.Timeout = 5 * time.Second
	writer, err := kubernetes.NewForConfig(&short)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		kill := time.NewTimer(time.Duration(rand.IntN(200)) * time.Millisecond)
		cut, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				for cut.Err() == nil {
					_ = w.write(cut, writer, i) // not acknowledged: it may have happened or not
				}
			})
		}
		<-kill.C
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		cancel()
		wg.Wait()
		if err := h.Start(up...); err != nil {
			t.Fatal(err)
		}
		await(t, h, 60*time.Second, "the API answers again", func() error {
			_, err := writer.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
			return err
		})
	}
	list, err := writer.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{LabelSelector: "witness"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, h, 60*time.Second, "the informer has what the server has", func() error { return w.agrees(list.Items) })
	w.check(t)
}

// witness is what was acknowledged and what an informer's handler was told.
type witness struct {
	mu       sync.Mutex
	acked    map[string]bool   // "name@resourceVersion" of every acknowledged write
	told     map[string]int    // how often the handler was told of it
	now      map[string]string // name → resourceVersion, as the handler knows
	last     map[string]int64  // name → the newest version told
	disorder []string
	same     int // times that the handler was told what it knew
	lists    int // requests that list: one is the informer's first
}

func newWitness() *witness {
	return &witness{acked: map[string]bool{}, told: map[string]int{}, now: map[string]string{}, last: map[string]int64{}}
}

// write creates, changes twice or deletes one of the writer's objects.
func (w *witness) write(ctx context.Context, cs kubernetes.Interface, writer int) error {
	api := cs.CoreV1().ConfigMaps("default")
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: fmt.Sprintf("w%d-", writer), Labels: map[string]string{"witness": "yes"}}}
	c, err := api.Create(ctx, c, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	w.ack(c)
	for i := range 2 {
		c.Data = map[string]string{"n": strconv.Itoa(i)}
		if c, err = api.Update(ctx, c, metav1.UpdateOptions{}); err != nil {
			return err
		}
		w.ack(c)
	}
	return api.Delete(ctx, c.Name, metav1.DeleteOptions{})
}

func (w *witness) ack(c *corev1.ConfigMap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[c.Name+"@"+c.ResourceVersion] = true
}

// The methods of cache.ResourceEventHandler.

func (w *witness) OnAdd(o any, _ bool) { w.tell(o.(*corev1.ConfigMap), false) }

func (w *witness) OnUpdate(was, o any) {
	if was.(*corev1.ConfigMap).ResourceVersion == o.(*corev1.ConfigMap).ResourceVersion {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.same++ // what a list brings again
		return
	}
	w.tell(o.(*corev1.ConfigMap), false)
}

func (w *witness) OnDelete(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	w.tell(o.(*corev1.ConfigMap), true)
}

func (w *witness) tell(c *corev1.ConfigMap, deleted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if deleted {
		delete(w.now, c.Name)
	} else {
		w.now[c.Name] = c.ResourceVersion
	}
	w.told[c.Name+"@"+c.ResourceVersion]++
	rev, err := strconv.ParseInt(c.ResourceVersion, 10, 64)
	if last := w.last[c.Name]; err != nil || rev <= last && !deleted {
		w.disorder = append(w.disorder, fmt.Sprintf("%s@%s after %d", c.Name, c.ResourceVersion, last))
	}
	w.last[c.Name] = rev
}

func (w *witness) agrees(items []corev1.ConfigMap) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(items) != len(w.now) {
		return fmt.Errorf("the server has %d, the informer %d", len(items), len(w.now))
	}
	for i := range items {
		if c := &items[i]; w.now[c.Name] != c.ResourceVersion {
			return fmt.Errorf("%s is at %s, the informer has it at %q", c.Name, c.ResourceVersion, w.now[c.Name])
		}
	}
	return nil
}

func (w *witness) check(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	missed, repeated := 0, 0
	for version := range w.acked {
		name, rev, _ := strings.Cut(version, "@")
		n, err := strconv.ParseInt(rev, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		newer := w.last[name] > n
		_, gone := w.last[name]
		if w.told[version] == 0 && (w.lists == 1 || !newer && gone) {
			missed++
		}
	}
	for _, n := range w.told {
		if n > 1 {
			repeated++
		}
	}
	t.Logf("%d acknowledged versions, %d events, %d lists", len(w.acked), len(w.told), w.lists)
	if w.same > 0 && w.lists == 1 {
		repeated += w.same
	}
	if missed > 0 || repeated > 0 || len(w.disorder) > 0 {
		t.Errorf("%d versions missed, %d told twice, out of order: %v", missed, repeated, w.disorder[:min(len(w.disorder), 5)])
	}
}

// listCounter counts the lists that an informer asks for.
type listCounter struct {
	next http.RoundTripper
	w    *witness
}

// RoundTrip implements http.RoundTripper.
func (l *listCounter) RoundTrip(req *http.Request) (*http.Response, error) {
	if q := req.URL.Query(); q.Get("watch") == "" || q.Get("sendInitialEvents") == "true" {
		l.w.mu.Lock()
		l.w.lists++
		l.w.mu.Unlock()
	}
	return l.next.RoundTrip(req)
}
