package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/object"
	"trireme/test/cluster"
)

// recoverMax is how soon after a fault's end traffic must be as before it.
const recoverMax = 5 * time.Second

// hostsManifest is a web server on every machine, with a service that is on the
// mesh, and one that would rather run on one machine but leaves it when that is lost.
const hostsManifest = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers: [` + webContainer + `]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 8088, targetPort: 8080, nodePort: 30088}]
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: moves}
spec:
  replicas: 2
  selector: {matchLabels: {app: moves}}
  template:
    metadata: {labels: {app: moves}}
    spec:
      terminationGracePeriodSeconds: 2
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {matchExpressions: [
        {key: kubernetes.io/hostname, operator: In, values: [LOST]}]}}]}}
      tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}]
      containers: [` + webContainer + `]
---
apiVersion: v1
kind: Service
metadata: {name: moves}
spec: {selector: {app: moves}, ports: [{port: 80, targetPort: 8080}]}
`

// TestHosts: five machines are one network, and are one again after each fault.
// TRIREME_HOST_FAULTS is how many more faults follow, in random order.
func TestHosts(t *testing.T) {
	s := newScene(t, 5)
	last := s.hosts[len(s.hosts)-1]
	s.seen()
	s.loss()
	s.delay(last)
	s.cut(last, 0)
	s.agentKilled(s.hosts[1])
	s.managerKilled()
	s.managerCut()
	s.containerdKilled(s.hosts[2])
	s.reboot(s.hosts[3], true)
	s.evict(last)
	more, err := strconv.Atoi(os.Getenv("TRIREME_HOST_FAULTS"))
	if err != nil && os.Getenv("TRIREME_HOST_FAULTS") != "" {
		t.Fatal(err)
	}
	faults := []func(*cluster.Host){
		func(*cluster.Host) { s.loss() },
		func(*cluster.Host) { s.managerKilled() }, func(*cluster.Host) { s.managerCut() }, s.delay, s.agentKilled, s.containerdKilled,
		func(h *cluster.Host) { s.cut(h, time.Duration(rand.IntN(30))*time.Second) },
		func(h *cluster.Host) { s.reboot(h, rand.IntN(2) == 0) },
	}
	for i := range more {
		worker := s.hosts[1+rand.IntN(len(s.hosts)-1)]
		t.Logf("fault %d, on %s", i, worker.Name)
		faults[rand.IntN(len(faults))](worker)
	}
}

// scene is a cluster with something on it that can be asked.
type scene struct {
	t       *testing.T
	c       *cluster.Cluster
	hosts   []*cluster.Host
	k       *client
	cs      *kubernetes.Clientset
	address string        // of the service web
	limit   time.Duration // of one question
}

func newScene(t *testing.T, n int) *scene {
	t.Helper()
	c := ownCluster(t, n)
	s := &scene{t: t, c: c, hosts: c.Hosts, limit: 2 * time.Second}
	manager := s.hosts[0]
	began := time.Now()
	if err := bringUp(t.Context(), manager, "--grace", "3s"); err != nil {
		t.Fatal(err)
	}
	join(t, manager, s.hosts[1:]...)
	s.k, s.cs = &client{t: t, h: manager, namespace: "default"}, clientset(t, manager)
	s.k.apply(strings.ReplaceAll(hostsManifest, "LOST", s.hosts[n-1].Name))
	s.k.must("rollout", "status", "daemonset/web", "--timeout=60s")
	s.k.must("rollout", "status", "deployment/moves", "--timeout=60s")
	s.address = s.k.must("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	s.recovers("start", time.Now())
	t.Logf("%d machines are one network after %s", n, time.Since(began).Round(time.Millisecond))
	return s
}

// seen asks every machine for the service as somebody outside of the cluster: all pods
// see him, wherever he enters. It stays so while faults come.
func (s *scene) seen() {
	s.t.Helper()
	if out, err := s.k.run(s.t.Context(), "", "annotate", "service", "web", object.KeepAnnotation+"=please"); err == nil || !strings.Contains(out, object.KeepAnnotation) {
		s.t.Errorf("a nonsense value: %v, %s; want an error that names the annotation", err, out)
	}
	s.k.must("annotate", "service", "web", object.KeepAnnotation+"=true")
	seesClients(s.t, s.c, "8088", s.limit)
}

// seesClients asks a port of every machine, from outside of the cluster, for web servers
// of which there is one a machine, until all of them see who asks.
func seesClients(t *testing.T, c *cluster.Cluster, port string, limit time.Duration) {
	t.Helper()
	var me string
	outside := c.Outside()
	web := http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := outside.Dial(ctx, network, addr)
		if err == nil {
			me = conn.LocalAddr().String()
		}
		return conn, err
	}}}
	await(t, c.Hosts[0], 20*time.Second, "every pod sees its client", func() error {
		for _, h := range c.Hosts {
			for range 2 * len(c.Hosts) { // most are answered by another machine's pod
				resp, err := web.Get("http://" + net.JoinHostPort(h.Address, port) + "/client")
				if err != nil {
					return err
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if saw := strings.TrimSpace(string(b)); err != nil || saw != me {
					return fmt.Errorf("through %s a pod saw %s (%v), want %s", h.Name, saw, err, me)
				}
			}
		}
		return nil
	})
}

// answer is what a web server says of itself.
func answer(pod string) string { return "Hello from " + pod + ", version 1\n" }

// webPod is a web server as others see it.
type webPod struct {
	name, ip, uid string
	place         cluster.Place
}

// pods returns the web server of each host but those that are left out.
func (s *scene) pods(ctx context.Context, without ...*cluster.Host) (map[*cluster.Host]webPod, error) {
	list, err := s.cs.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return nil, err
	}
	pods := map[*cluster.Host]webPod{}
	for _, h := range s.hosts {
		if contains(without, h) {
			continue
		}
		for i := range list.Items {
			if p := &list.Items[i]; p.Spec.NodeName == h.Name {
				pods[h] = webPod{name: p.Name, ip: p.Status.PodIP, uid: string(p.UID)}
			}
		}
		p := pods[h]
		pids := pidsOf(s.t, p.uid, "web")
		if p.uid == "" || len(pids) == 0 {
			return nil, fmt.Errorf("%s has no web server that runs", h.Name)
		}
		p.place = cluster.PlaceOf(pids[0])
		pods[h] = p
	}
	return pods, nil
}

func contains(list []*cluster.Host, h *cluster.Host) bool {
	for _, l := range list {
		if l == h {
			return true
		}
	}
	return false
}

// pass asks everybody everything once, all at the same time: pods ask the pods of
// the other machines, the service and DNS; every machine, and somebody outside,
// asks the mesh.
func (s *scene) pass(without ...*cluster.Host) error {
	pods, err := s.pods(s.t.Context(), without...)
	if err != nil {
		return err
	}
	return s.askAll(pods, pods)
}

// askAll lets some ask all.
func (s *scene) askAll(some, pods map[*cluster.Host]webPod) error {
	anybody := map[string]bool{}
	for _, p := range pods {
		anybody[answer(p.name)] = true
	}
	g, ctx := errgroup.WithContext(s.t.Context())
	ask := func(who string, from cluster.Place, url string, want map[string]bool) {
		g.Go(func() error {
			body, err := s.get(ctx, from, url)
			if err == nil && !want[body] {
				err = fmt.Errorf("%q answers", body)
			}
			if err != nil {
				return fmt.Errorf("%s asks %s: %w", who, url, err)
			}
			return nil
		})
	}
	const each = 3 // answers of anybody: one alone may miss who is not there
	for h, p := range some {
		for _, other := range pods {
			ask("pod of "+h.Name, p.place, "http://"+other.ip+":8080/", map[string]bool{answer(other.name): true})
		}
		for range each {
			ask("pod of "+h.Name, p.place, "http://"+s.address+":8088/", anybody)
			ask(h.Name, h.Place(), "http://127.0.0.1:8088/", anybody)
			ask(h.Name, h.Place(), "http://"+s.address+":8088/", anybody)
			ask("outside", s.c.Outside(), "http://"+h.Address+":8088/", anybody)
			ask("outside", s.c.Outside(), "http://"+h.Address+":30088/", anybody)
		}
		g.Go(func() error { return s.names(ctx, h, p, pods) })
		g.Go(func() error { return s.bulk(ctx, p, pods) })
	}
	return g.Wait()
}

// bulk sends a pod more than any link takes at once, from every other pod.
func (s *scene) bulk(ctx context.Context, p webPod, pods map[*cluster.Host]webPod) error {
	var l net.Listener
	if err := p.place.Within(func() (err error) { l, err = net.Listen("tcp4", ":0"); return err }); err != nil {
		return err
	}
	const size = 1 << 18
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer func() { stop(); l.Close() }()
	for _, from := range pods {
		g.Go(func() error {
			conn, err := from.place.Dial(ctx, "tcp4", net.JoinHostPort(p.ip, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)))
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(s.limit)); err != nil {
				return err
			}
			_, err = conn.Write(make([]byte, size))
			return err
		})
	}
	for range pods {
		if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(s.limit)); err != nil {
			return err
		}
		conn, err := l.Accept()
		if err != nil {
			return errors.Join(fmt.Errorf("%s is sent much: %w", p.name, err), g.Wait())
		}
		g.Go(func() error {
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(s.limit)); err != nil {
				return err
			}
			if n, err := io.Copy(io.Discard, conn); err != nil || n != size {
				return fmt.Errorf("%s got %d bytes of %d: %w", p.name, n, size, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// get asks one question over a connection of its own.
func (s *scene) get(ctx context.Context, from cluster.Place, url string) (string, error) {
	transport := &http.Transport{DialContext: from.Dial, DisableKeepAlives: true}
	return cluster.Get(ctx, &http.Client{Transport: transport, Timeout: s.limit}, url)
}

// names asks DNS, in a pod, for the service's address and for all pods of the
// headless one.
func (s *scene) names(ctx context.Context, h *cluster.Host, p webPod, pods map[*cluster.Host]webPod) error {
	got, err := s.lookup(ctx, p.place, "web.default.svc.cluster.local.")
	if err == nil && (len(got) != 1 || !got[s.address]) {
		err = fmt.Errorf("web has the addresses %v", got)
	}
	if err == nil {
		got, err = s.lookup(ctx, p.place, "each.default.svc.cluster.local.")
	}
	for _, p := range pods {
		if err == nil && !got[p.ip] {
			err = fmt.Errorf("each has the addresses %v, not %s", got, p.ip)
		}
	}
	if err == nil && len(got) != len(pods) {
		err = fmt.Errorf("each has the addresses %v", got)
	}
	if err != nil {
		return fmt.Errorf("DNS on %s: %w", h.Name, err)
	}
	return nil
}

func (s *scene) lookup(ctx context.Context, from cluster.Place, name string) (map[string]bool, error) {
	conn, err := from.Dial(ctx, "udp", "10.96.0.10:53")
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() { stop(); conn.Close() }()
	c := mdns.Client{Timeout: s.limit}
	r, _, err := c.ExchangeWithConnContext(ctx, new(mdns.Msg).SetQuestion(name, mdns.TypeA), &mdns.Conn{Conn: conn})
	if err != nil {
		return nil, err
	}
	if r.Rcode == mdns.RcodeNameError {
		s.t.Errorf("%s is said not to exist", name) // clients believe that, and do not ask again
	}
	if r.Rcode != mdns.RcodeSuccess {
		return nil, fmt.Errorf("%s: %s", name, mdns.RcodeToString[r.Rcode])
	}
	out := map[string]bool{}
	for _, a := range r.Answer {
		if a, ok := a.(*mdns.A); ok {
			out[a.A.String()] = true
		}
	}
	return out, nil
}

// recovers waits until everything is answered, and fails the test if that took
// longer than it may since the fault's end.
func (s *scene) recovers(what string, ended time.Time, without ...*cluster.Host) {
	s.t.Helper()
	var last error
	for {
		began := time.Now()
		err := s.pass(without...)
		took := began.Sub(ended)
		switch {
		case err == nil && (took <= recoverMax || last == nil):
			s.t.Logf("%s: traffic is as before %s after its end (last fault: %v)", what, took.Round(time.Millisecond), last)
			return
		case err == nil:
			s.t.Errorf("%s: traffic was as before %s after its end, must be within %s; the last fault: %v", what, took.Round(time.Millisecond), recoverMax, last)
			return
		case took > 10*recoverMax:
			s.t.Fatalf("%s: traffic is not as before %s after its end: %v", what, took, err)
		}
		last = err
	}
}

// goesOn fails the test unless everything is answered at once.
func (s *scene) goesOn(what string, without ...*cluster.Host) {
	s.t.Helper()
	if err := s.pass(without...); err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// is waits until the manager says whether a host is ready.
func (s *scene) is(h *cluster.Host, ready string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	s.must(s.hosts[0].NodeIs(ctx, h, ready))
}

// loss: under 1 % of loss everything is answered, if later.
func (s *scene) loss() {
	ctx := s.t.Context()
	for _, h := range s.hosts {
		s.must(h.Impair(ctx, cluster.Impairment{Loss: 0.01}))
	}
	s.limit = 20 * time.Second
	for range 3 {
		s.goesOn("under 1 % of loss")
	}
	s.limit = 2 * time.Second
	for _, h := range s.hosts {
		s.must(h.Impair(ctx, cluster.Impairment{}))
	}
	s.recovers("loss", time.Now())
}

func (s *scene) delay(h *cluster.Host) {
	s.must(h.Impair(s.t.Context(), cluster.Impairment{Delay: 50 * time.Millisecond}))
	s.goesOn("with a slow link")
	s.must(h.Impair(s.t.Context(), cluster.Impairment{}))
	s.recovers("slow link", time.Now())
}

// cut: the others forget the machine that is cut off, and find it again, also when
// it stays away for longer.
func (s *scene) cut(h *cluster.Host, longer time.Duration) {
	s.must(h.Cut(s.t.Context()))
	s.is(h, "Unknown")
	s.recovers("a machine is away", time.Now(), h)
	for end := time.Now().Add(longer); time.Now().Before(end); {
		s.goesOn("while "+h.Name+" is away", h)
	}
	s.must(h.Mend(s.t.Context()))
	s.recovers("cut link", time.Now())
	s.is(h, "True")
}

// agentKilled: what the kernel does needs no agent; DNS does.
func (s *scene) agentKilled(h *cluster.Host) {
	s.must(h.Kill())
	pods, err := s.pods(s.t.Context())
	s.must(err)
	some := maps.Clone(pods)
	delete(some, h) // its pod has no DNS
	if err := s.askAll(some, pods); err != nil {
		s.t.Errorf("without an agent on %s: %v", h.Name, err)
	}
	for _, to := range []string{"http://" + s.address + ":8088/", "http://" + pods[s.hosts[0]].ip + ":8080/"} {
		if _, err := s.get(s.t.Context(), pods[h].place, to); err != nil {
			s.t.Errorf("without an agent on %s, its pod asks %s: %v", h.Name, to, err)
		}
	}
	s.must(h.Restart())
	s.recovers("killed agent", time.Now())
	s.is(h, "True")
}

// managerKilled: nobody needs the manager, nor its node's agent, to go on as before.
func (s *scene) managerKilled() {
	h := s.hosts[0]
	pods, err := s.pods(s.t.Context())
	s.must(err)
	s.must(h.Kill())
	some := maps.Clone(pods)
	delete(some, h)
	if err := s.askAll(some, pods); err != nil {
		s.t.Errorf("without a manager: %v", err)
	}
	s.must(h.Restart())
	s.recovers("killed manager", time.Now())
	s.is(h, "True")
}

// managerCut: a manager that hears of no other machine for longer than pods bear
// moves none of them, and the machines do not need it.
func (s *scene) managerCut() {
	s.k.must("rollout", "status", "deployment/moves", "--timeout=60s")
	uids := func() string {
		return s.k.must("get", "pods", "-l", "app=moves", "-o", "jsonpath={.items[*].metadata.uid}")
	}
	before := uids()
	pods, err := s.pods(s.t.Context(), s.hosts[0])
	s.must(err)
	s.must(s.hosts[0].Cut(s.t.Context()))
	for _, h := range s.hosts[1:] {
		s.is(h, "Unknown")
	}
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); { // longer than pods bear it
		for h, p := range pods {
			for _, other := range pods {
				if body, err := s.get(s.t.Context(), p.place, "http://"+other.ip+":8080/"); err != nil || body != answer(other.name) {
					s.t.Errorf("while the manager is away, the pod of %s asks %s: %q %v", h.Name, other.ip, body, err)
				}
			}
		}
	}
	s.must(s.hosts[0].Mend(s.t.Context()))
	s.recovers("manager cut off", time.Now())
	for _, h := range s.hosts[1:] {
		s.is(h, "True")
	}
	s.k.must("rollout", "status", "deployment/moves", "--timeout=60s")
	if after := uids(); after != before {
		s.t.Errorf("pods were moved: %s, and then %s", before, after)
	}
}

func (s *scene) containerdKilled(h *cluster.Host) {
	s.must(h.KillContainerd())
	s.goesOn("without containerd on " + h.Name)
	s.recovers("killed containerd", time.Now())
	s.is(h, "True")
}

// reboot: a machine loses its power and comes back with nothing but its disk,
// before the others notice or after it.
func (s *scene) reboot(h *cluster.Host, noticed bool) {
	s.must(h.PowerOff(s.t.Context()))
	if noticed {
		s.is(h, "Unknown")
		s.recovers("a machine is off", time.Now(), h)
	}
	s.must(h.PowerOn(s.t.Context()))
	s.must(h.Restart())
	s.recovers("rebooted machine", time.Now())
	s.is(h, "True")
}

// evict: pods of a machine that is away for longer than they bear run elsewhere,
// and nobody is led to their old addresses; when it comes back they are gone.
func (s *scene) evict(h *cluster.Host) {
	ctx := s.t.Context()
	field := "jsonpath={range .items[*]}{.status.podIP} {.metadata.uid} {.spec.nodeName}{\"\\n\"}{end}"
	here := s.k.must("get", "pods", "-l", "app=moves", "--field-selector", "spec.nodeName="+h.Name, "-o", field)
	if len(strings.Fields(here)) == 0 {
		// An earlier fault moved them: those that are made anew prefer the machine.
		s.k.must("rollout", "restart", "deployment/moves")
		s.k.must("rollout", "status", "deployment/moves", "--timeout=60s")
		here = s.k.must("get", "pods", "-l", "app=moves", "--field-selector", "spec.nodeName="+h.Name, "-o", field)
	}
	old := strings.Fields(here)
	if len(old) == 0 {
		s.t.Fatalf("no pod of moves runs on %s", h.Name)
	}
	s.must(h.Cut(ctx))
	await(s.t, s.hosts[0], 30*time.Second, "the endpoints are pods that run elsewhere", func() error {
		now := s.k.must("get", "endpointslices", "-l", "kubernetes.io/service-name=moves", "-o",
			`jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.addresses[0]} {.nodeName}{"\n"}{end}`)
		if strings.Contains(now, old[0]+" ") || strings.Contains(now, h.Name) || len(strings.Fields(now)) != 4 {
			return fmt.Errorf("the endpoints are:\n%s", now)
		}
		return nil
	})
	for range 20 {
		if _, err := s.get(ctx, s.hosts[1].Place(), "http://"+s.k.must("get", "service", "moves", "-o", "jsonpath={.spec.clusterIP}")+"/"); err != nil {
			s.t.Errorf("the service whose pods moved: %v", err)
		}
	}
	s.must(h.Mend(ctx))
	s.recovers("evicted machine", time.Now())
	await(s.t, s.hosts[0], 20*time.Second, "the pods that moved are gone from the machine", func() error {
		var errs []error
		for i := 0; i+1 < len(old); i += 3 {
			if pids := pidsOf(s.t, old[i+1], ""); len(pids) > 0 {
				errs = append(errs, fmt.Errorf("pod %s has processes %v", old[i+1], pids))
			}
			if list := s.k.must("get", "pods", "-l", "app=moves", "-o", field); strings.Contains(list, old[i+1]) {
				errs = append(errs, fmt.Errorf("pods:\n%s", list))
			}
		}
		return errors.Join(errs...)
	})
}
