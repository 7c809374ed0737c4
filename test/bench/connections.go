package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"trireme/test/cluster"
)

const (
	connSeconds = 5
	connClients = 4
	connBlock   = 20 // connections to one address, before the other has its turn
)

// connections measures how many connections a second a pod takes through its
// service's address against its own. Each client takes turns between the two, so
// that both meet the same noise.
func connections(ctx context.Context, c *config) ([]line, error) {
	var l line
	err := host(ctx, c, nil, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		if err := h.Ready(ctx); err != nil {
			return err
		}
		cs, err := client(ctx, h)
		if err != nil {
			return err
		}
		web, err := webService(ctx, h, cs)
		if err != nil {
			return err
		}
		l, err = compareConnections(ctx, h, web.direct, web.vip)
		return err
	})
	return []line{l}, err
}

// web is a web server's addresses, host:port.
type web struct {
	vip    string // of its service
	direct string // of its only pod
}

// webService makes the service web of one pod, and returns when it answers.
func webService(ctx context.Context, h *cluster.Host, cs kubernetes.Interface) (w web, err error) {
	labels := map[string]string{"app": "web"}
	svc, err := cs.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return w, err
	}
	if _, err := cs.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: webImage}}},
	}, metav1.CreateOptions{}); err != nil {
		return w, err
	}
	w.vip = svc.Spec.ClusterIP + ":80"
	err = h.Await(ctx, "the service answers", func() error {
		pod, err := cs.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		w.direct = pod.Status.PodIP + ":8080"
		conn, err := h.Dial(ctx, "tcp4", w.vip)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return w, err
}

func compareConnections(ctx context.Context, h *cluster.Host, direct, vip string) (line, error) {
	self, err := os.Executable()
	if err != nil {
		return line{}, err
	}
	out, err := h.Run(ctx, self, "connect", direct, vip)
	if err != nil {
		return line{}, err
	}
	var c connected
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		return line{}, err
	}
	return line{"vip_conn_ratio", c.Micros[0] / c.Micros[1], "ratio", map[string]any{
		"direct_us": c.Micros[0], "vip_us": c.Micros[1], "connections_per_s": c.PerSecond, "clients": connClients,
	}}, nil
}

// connected is what the sub-command prints.
type connected struct {
	Micros    [2]float64 `json:"micros"` // of a connection to each address, the median of blocks
	PerSecond float64    `json:"perSecond"`
}

// connectClient is the sub-command: it opens connections to two addresses and
// breaks them, so that none lingers.
func connectClient(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), connSeconds*time.Second)
	defer cancel()
	var mu sync.Mutex
	var took [2][]time.Duration
	var g errgroup.Group
	for range connClients {
		g.Go(func() error {
			for turn := 0; ctx.Err() == nil; turn++ {
				d, err := connectBlock(args[turn%2])
				if err != nil {
					return err
				}
				mu.Lock()
				took[turn%2] = append(took[turn%2], d)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	out := connected{PerSecond: float64(connBlock*(len(took[0])+len(took[1]))) / connSeconds}
	for i := range took {
		out.Micros[i] = ms(median(took[i])) * 1000 / connBlock
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func connectBlock(to string) (time.Duration, error) {
	began := time.Now()
	for range connBlock {
		c, err := net.Dial("tcp4", to)
		if err != nil {
			return 0, err
		}
		if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}
