package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const protobufType = "application/vnd.kubernetes.protobuf"

// load is what the load client is told and what it answers. It is a process of
// its own, so that the CPU time of the server is the server's alone. Each of its
// clients has its own connection, as 64 programs would.
type load struct {
	Verb    string  `json:"verb"` // create, get or list
	Clients int     `json:"clients"`
	Seconds float64 `json:"seconds"`
	HTTP    int     `json:"http"` // 1 or 2
	Bytes   int     `json:"bytes"`

	Requests int64   `json:"requests"`
	P50Ms    float64 `json:"p50_ms"`
	P99Ms    float64 `json:"p99_ms"`
	LastMs   float64 `json:"last_ms"`
	Error    string  `json:"error,omitempty"`
}

// loadClient is the sub-command: it makes the requests and prints a load as JSON.
func loadClient(args []string) error {
	var l load
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.StringVar(&l.Verb, "verb", "get", "")
	f.IntVar(&l.Clients, "clients", 64, "")
	f.Float64Var(&l.Seconds, "seconds", 5, "")
	f.IntVar(&l.HTTP, "http", 2, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	if err := l.run(config); err != nil {
		l.Error = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(l)
}

func (l *load) run(config *rest.Config) error {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(l.Seconds*float64(time.Second)))
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		times []time.Duration
		fails []error
		bytes atomic.Int64
	)
	for i := range l.Clients {
		wg.Go(func() {
			transport := &http.Transport{TLSClientConfig: tls.Clone(), ForceAttemptHTTP2: l.HTTP == 2, MaxIdleConnsPerHost: 1}
			if l.HTTP != 2 {
				transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			c := loadConn{http: &http.Client{Transport: transport}, host: config.Host, id: i, verb: l.Verb}
			mine, err := c.loop(ctx, &bytes)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
			if err != nil {
				fails = append(fails, err)
			}
		})
	}
	wg.Wait()
	l.Requests, l.Bytes = int64(len(times)), int(bytes.Load())
	if len(times) > 0 {
		l.LastMs = ms(times[len(times)-1])
		slices.Sort(times)
		l.P50Ms, l.P99Ms = ms(times[len(times)/2]), ms(times[len(times)*99/100])
	}
	return errors.Join(fails...)
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// loadConn is one client.
type loadConn struct {
	http *http.Client
	host string
	id   int
	verb string
}

// loop makes requests until ctx ends and returns how long each took.
func (c *loadConn) loop(ctx context.Context, bytes *atomic.Int64) (times []time.Duration, err error) {
	run := make([]byte, 4)
	if _, err := rand.Read(run); err != nil {
		return nil, err
	}
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("load-%s-%d-%d", hex.EncodeToString(run), c.id, n)
		started := time.Now()
		size, err := c.request(ctx, name)
		if err != nil {
			if ctx.Err() != nil {
				return times, nil
			}
			return times, err
		}
		bytes.Add(size)
		times = append(times, time.Since(started))
	}
	return times, nil
}

func (c *loadConn) request(ctx context.Context, name string) (int64, error) {
	method, path, want := http.MethodGet, "/api/v1/namespaces/default/configmaps/bench", http.StatusOK
	var body io.Reader
	switch c.verb {
	case "create":
		b, err := encodeConfigMap(name)
		if err != nil {
			return 0, err
		}
		method, path, want, body = http.MethodPost, "/api/v1/namespaces/default/configmaps", http.StatusCreated, bytes.NewReader(b)
	case "list":
		path = "/api/v1/namespaces/default/pods"
	}
	req, err := http.NewRequestWithContext(ctx, method, c.host+path, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", protobufType)
	req.Header.Set("Content-Type", protobufType)
	req.Header.Set("User-Agent", "bench")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	size, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return size, err
}

// encodeConfigMap returns a ConfigMap of 1 KiB as protobuf.
func encodeConfigMap(name string) ([]byte, error) {
	o := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Data:       map[string]string{"a": string(bytes.Repeat([]byte("x"), 1000))},
	}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return runtime.Encode(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), o)
}
