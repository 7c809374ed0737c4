package test

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/test/cluster"
	"trireme/test/storm"
)

// greedy is a framework that fills every offer with a task that runs for ever.
func greedy(ctx context.Context, h *cluster.Host, role string) error {
	fw := &storm.Framework{
		Dial: func() (net.Conn, error) {
			conn, err := h.Dial(ctx, "tcp", h.Address+":5050")
			if err == nil {
				context.AfterFunc(ctx, func() { _ = conn.Close() }) // who waits for an event is to end too
			}
			return conn, err
		},
		Calls: 16, Info: &mesosv1.FrameworkInfo{User: proto.String("root"), Name: proto.String("greedy"), FailoverTimeout: proto.Float64(600), Role: proto.String(role)},
	}
	if err := fw.Subscribe(); err != nil {
		return err
	}
	some := func(name string, n float64) *mesosv1.Resource {
		return &mesosv1.Resource{Name: &name, Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: &n}}
	}
	for made := 0; ; {
		e, err := fw.Next()
		if err != nil {
			return err
		}
		for _, o := range e.GetOffers().GetOffers() {
			made++
			id := "greedy-" + strconv.Itoa(made)
			task := &mesosv1.TaskInfo{
				Name: &id, TaskId: &mesosv1.TaskID{Value: &id}, AgentId: o.AgentId, Resources: []*mesosv1.Resource{some("cpus", 1), some("mem", 32)},
				Command: &mesosv1.CommandInfo{Value: proto.String("sleep 1000")},
			}
			if err := fw.Go(&scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{OfferIds: []*mesosv1.OfferID{o.Id}, Operations: []*mesosv1.Offer_Operation{
				{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{TaskInfos: []*mesosv1.TaskInfo{task}}},
			}}}, func() {}); err != nil {
				return err
			}
		}
	}
}

// TestThreeDoorsShare: a Deployment of kubectl's, a stack of docker's and a framework of Mesos, each of
// which would take all, get of nodes that join what their weights say, within 2 %.
func TestThreeDoorsShare(t *testing.T) {
	const nodes, each = 300, 30 // a framework that was late for some nodes is first at the next
	weights := map[string]float64{"apps": 1, "shop": 2, "jobs": 3}
	h := ownMachines(t, 1)[0]
	if err := h.Start("up", "--no-agent", "--mesos-anonymous", "admin,system:masters"); err != nil {
		t.Fatal(err)
	}
	await(t, h, 30*time.Second, "the API answers", func() error {
		_, err := h.Kubectl(t.Context(), "get", "ns", "default")
		return err
	})
	for name, w := range weights {
		if _, err := h.Trireme(t.Context(), "tenant", "weight", name, fmt.Sprint(w)); err != nil {
			t.Fatal(err)
		}
	}
	k := &client{t: t, h: h, namespace: "apps"}
	k.must("create", "namespace", "apps")
	k.apply(`apiVersion: apps/v1
kind: Deployment
metadata: {name: all}
spec:
  replicas: 300
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: x, resources: {requests: {cpu: "1", memory: 32Mi}}}]}
`)
	stack := filepath.Join(t.TempDir(), "stack.yml")
	must(t, os.WriteFile(stack, []byte(`{version: "3.8", services: {all: {image: x, deploy: {replicas: 300, resources: {reservations: {cpus: "1", memory: 32M}}}}}}`), 0o600))
	newDocker(t, h).must("stack", "deploy", "--resolve-image=never", "-c", stack, "shop")
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- greedy(ctx, h, "jobs")
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	await(t, h, 20*time.Second, "all three wait for nodes", func() error {
		n, err := h.Kubectl(t.Context(), "get", "frameworks.mesos.trireme.dev", "-o", "name")
		pods := len(strings.Fields(k.must("get", "pods", "-A", "-o", "name")))
		if err != nil || n == "" || pods != 600 {
			return fmt.Errorf("%w: frameworks %q, %v, %d pods", errNotYet, n, err, pods)
		}
		return nil
	})
	has := map[string]float64{}
	for there := each; there <= nodes; there += each {
		sim := h.Command(t.Context(), binary(), "sim", "nodes", "--count", strconv.Itoa(each), "--prefix", fmt.Sprintf("to-%d-", there),
			"--cpus", "1", "--memory", "4Gi", "--manager", h.Address+":6444")
		must(t, sim.Start())
		t.Cleanup(func() {
			_ = sim.Process.Signal(syscall.SIGTERM) // it may have ended
			_ = sim.Wait()
		})
		await(t, h, 60*time.Second, "the nodes are full", func() error {
			clear(has)
			for _, ns := range strings.Fields(k.must("get", "pods", "-A", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].metadata.namespace}")) {
				has[ns]++
			}
			if n := has["apps"] + has["shop"] + has["jobs"]; n != float64(there) {
				return fmt.Errorf("%w: %v pods run", errNotYet, n)
			}
			select {
			case err := <-ended:
				t.Fatalf("the framework has ended: %v", err)
			default:
			}
			return nil
		})
		t.Logf("%d nodes: %v", there, has)
	}
	for name, w := range weights {
		if want := nodes * w / 6; math.Abs(has[name]-want) > 0.02*want {
			t.Errorf("%s has %v of %v: %v", name, has[name], want, has)
		}
	}
}
