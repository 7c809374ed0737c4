package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"trireme/test/cluster"
)

const (
	services      = 10_000
	backends      = 5  // of each
	changes       = 15 // of one of them
	changeEvery   = 1500 * time.Millisecond
	backendPort   = 8080
	backendPrefix = "198.18.0." // of the service whose endpoints change, on the node's own lo
)

// manyServices measures what 10,000 services of five endpoints cost a node: until
// they are in its kernel when it joins, and, for one endpoint that changes, the
// agent's CPU time and how long until a connection reaches it.
func manyServices(ctx context.Context, c *config) ([]line, error) {
	var lines []line
	err := hosts(ctx, c, 3, func(ctx context.Context, cl *cluster.Cluster) error {
		cs, err := client(ctx, cl.Hosts[0])
		if err != nil {
			return err
		}
		manager, node, late := cl.Hosts[0], cl.Hosts[1], cl.Hosts[2]
		if err := manager.Admit(ctx, node); err != nil {
			return err
		}
		probed, err := makeServices(ctx, cs)
		if err != nil {
			return err
		}
		if err := manager.Admit(ctx, late); err != nil {
			return err
		}
		synced, err := fullSync(ctx, late)
		if err != nil {
			return err
		}
		lines = append(lines, synced)
		changed, err := changeEndpoints(ctx, cs, node, probed)
		lines = append(lines, changed)
		return err
	})
	return lines, err
}

// makeServices makes all services and their endpoints and returns the first.
func makeServices(ctx context.Context, cs kubernetes.Interface) (*corev1.Service, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range services {
		g.Go(func() error {
			name := serviceName(i)
			if _, err := cs.CoreV1().Services("default").Create(gctx, &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
			}, metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err := cs.DiscoveryV1().EndpointSlices("default").Create(gctx, slice(i, 0), metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return cs.CoreV1().Services("default").Get(ctx, serviceName(0), metav1.GetOptions{})
}

func serviceName(i int) string { return "service-" + strconv.Itoa(i) }

// slice returns the endpoints of a service; of the first one the last endpoint
// is another with each version.
func slice(i, version int) *discoveryv1.EndpointSlice {
	port, name := int32(backendPort), ""
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: serviceName(i), Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(i)}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for e := range backends {
		address := fmt.Sprintf("10.%d.%d.%d", 200+e, i>>8, i&255)
		if i == 0 {
			address = backend(e)
		}
		if i == 0 && e == backends-1 {
			address = backend(e + version)
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return s
}

func backend(e int) string { return backendPrefix + strconv.Itoa(1+e) }

var sessionOpen = regexp.MustCompile(`session open.* objects=(\d+) took=(\S+)`)

// fullSync reads from a node's log how long its first full set took, from its
// first message to the last rule.
func fullSync(ctx context.Context, h *cluster.Host) (line, error) {
	b, err := os.ReadFile(filepath.Join(h.Root, "trireme.log"))
	if err != nil {
		return line{}, err
	}
	m := sessionOpen.FindSubmatch(b)
	if m == nil {
		return line{}, errors.New("the node's log tells of no session")
	}
	took, err := time.ParseDuration(string(m[2]))
	if err != nil {
		return line{}, err
	}
	return line{"services_full_sync_s", took.Seconds(), "s", map[string]any{"services": services, "endpoints": backends, "objects": string(m[1])}}, nil
}

// changeEndpoints changes one endpoint again and again.
func changeEndpoints(ctx context.Context, cs kubernetes.Interface, node *cluster.Host, svc *corev1.Service) (line, error) {
	for e := range backends + changes {
		if _, err := node.Run(ctx, "ip", "addr", "add", backend(e)+"/32", "dev", "lo"); err != nil {
			return line{}, err
		}
	}
	var l net.Listener
	if err := node.Within(func() (err error) { l, err = net.Listen("tcp4", ":"+strconv.Itoa(backendPort)); return err }); err != nil {
		return line{}, err
	}
	defer l.Close()
	go sayWho(l)
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	c := changer{cs: cs, node: node, address: svc.Spec.ClusterIP + ":80", tick: tick}
	if err := waits(ctx, tick, 4); err != nil { // until what came before is done with
		return line{}, err
	}
	replaced, err := cpuOver(node.Pid(), func() error { return c.replace(ctx) })
	if err != nil {
		return line{}, err
	}
	counted, err := cpuOver(node.Pid(), func() error { return c.count(ctx) })
	if err != nil {
		return line{}, err
	}
	idle, err := cpuOver(node.Pid(), func() error { return waits(ctx, tick, changes) })
	if err != nil {
		return line{}, err
	}
	named, err := c.names(ctx)
	slices.Sort(c.took)
	slices.Sort(named)
	return line{"endpoint_update_ms", ms(max(replaced, counted)) / changes, "ms", map[string]any{
		"services": services, "endpoints": backends, "changes": 2 * changes, "replaced_ms": ms(replaced) / changes, "count_changed_ms": ms(counted) / changes,
		"idle_ms": ms(idle) / changes, "reached_p50_ms": ms(c.took[len(c.took)/2]), "reached_max_ms": ms(c.took[len(c.took)-1]),
		"dns_p50_ms": ms(named[len(named)/2]), "dns_max_ms": ms(named[len(named)-1]),
	}}, err
}

// changer changes the endpoints of the first service, one at a time.
type changer struct {
	cs      kubernetes.Interface
	node    *cluster.Host
	address string // of the service
	tick    *time.Ticker
	took    []time.Duration // until the node led a connection to a new endpoint
}

// replace puts another endpoint in the place of one.
func (c *changer) replace(ctx context.Context) error {
	for v := range changes {
		began := time.Now()
		if err := c.update(ctx, slice(0, v+1)); err != nil {
			return err
		}
		if err := answers(ctx, c.node, c.address, backend(backends+v)); err != nil {
			return err
		}
		c.took = append(c.took, time.Since(began))
		if err := waits(ctx, c.tick, 1); err != nil {
			return err
		}
	}
	return nil
}

// count takes an endpoint away and brings it back: the kernel looks at more then.
func (c *changer) count(ctx context.Context) error {
	for v := range changes {
		s := slice(0, changes)
		s.Endpoints = s.Endpoints[(v+1)%2:]
		if err := c.update(ctx, s); err != nil {
			return err
		}
		if err := waits(ctx, c.tick, 1); err != nil {
			return err
		}
	}
	return nil
}

// names replaces endpoints and returns how long it took each time until the node's
// DNS named the new one.
func (c *changer) names(ctx context.Context) ([]time.Duration, error) {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.node.Dial(ctx, "udp4", "10.96.0.10:53")
	}}
	name := "tasks." + serviceName(0) + ".default.svc.cluster.local."
	var took []time.Duration
	for v := range changes {
		version := changes + 1 + v
		began := time.Now()
		if err := c.update(ctx, slice(0, version)); err != nil {
			return nil, err
		}
		for want := backend(backends - 1 + version); ; {
			addresses, err := resolver.LookupHost(ctx, name)
			if err != nil {
				return nil, err
			}
			if slices.Contains(addresses, want) {
				break
			}
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

func (c *changer) update(ctx context.Context, s *discoveryv1.EndpointSlice) error {
	_, err := c.cs.DiscoveryV1().EndpointSlices("default").Update(ctx, s, metav1.UpdateOptions{})
	return err
}

func waits(ctx context.Context, tick *time.Ticker, n int) error {
	for range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sayWho answers each connection with the address that it came to.
func sayWho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(c, c.LocalAddr().(*net.TCPAddr).IP)
		c.Close()
	}
}

// answers returns when a backend has answered at a service's address.
func answers(ctx context.Context, from *cluster.Host, address, want string) error {
	for {
		conn, err := from.Dial(ctx, "tcp4", address)
		if err != nil {
			return err
		}
		b := make([]byte, 64)
		n, err := conn.Read(b)
		conn.Close()
		if err != nil {
			return err
		}
		if string(b[:n]) == want {
			return nil
		}
	}
}

// cpuOver returns the CPU time that a process, all threads together, used while
// f ran.
func cpuOver(pid int, f func() error) (time.Duration, error) {
	before, err := cpuNanos(pid)
	if err == nil {
		err = f()
	}
	if err != nil {
		return 0, err
	}
	after, err := cpuNanos(pid)
	return after - before, err
}

// cpuNanos is finer than the ticks of cpuSeconds. Threads that ended are not
// counted; those of Go programs do not end.
func cpuNanos(pid int) (time.Duration, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			continue // it ended
		}
		text, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}
