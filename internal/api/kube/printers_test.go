package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/store"
	"trireme/internal/tables"
)

func waiting(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

func exited(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
}

var running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

// podOf returns a pod of as many containers and init containers as have states.
func podOf(phase corev1.PodPhase, inits, mains []corev1.ContainerState) *corev1.Pod {
	p := &corev1.Pod{Status: corev1.PodStatus{Phase: phase}}
	for i, s := range inits {
		name := fmt.Sprint("i", i)
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name})
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{Name: name, State: s})
	}
	for i, s := range mains {
		name := fmt.Sprint("c", i)
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, State: s, Ready: s.Running != nil})
	}
	return p
}

// TestPodLine checks READY, STATUS and RESTARTS against what kubectl's users
// know from Kubernetes.
func TestPodLine(t *testing.T) {
	type states = []corev1.ContainerState
	with := func(p *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod { change(p); return p }
	deleted := func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }
	always := corev1.ContainerRestartPolicyAlways
	yes := true
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"new", podOf("Pending", nil, nil), "0/0 Pending 0"},
		{"gated", with(podOf("Pending", nil, nil), func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: "False", Reason: "SchedulingGated"}}
		}), "0/0 SchedulingGated 0"},
		{"creating", podOf("Pending", nil, states{waiting("ContainerCreating")}), "0/1 ContainerCreating 0"},
		{"pulling fails", podOf("Pending", nil, states{running, waiting("ErrImagePull")}), "1/2 ErrImagePull 0"},
		{"running", podOf("Running", nil, states{running, running}), "2/2 Running 0"},
		{"crashing", with(podOf("Running", nil, states{waiting("CrashLoopBackOff")}), func(p *corev1.Pod) {
			s := &p.Status.ContainerStatuses[0]
			s.RestartCount = 3
			s.LastTerminationState = exited(1, "Error")
			s.LastTerminationState.Terminated.FinishedAt = metav1.NewTime(time.Now().Add(-5*time.Hour - 30*time.Minute - time.Second))
		}), "0/1 CrashLoopBackOff 3 (5h30m ago)"},
		{"ended", podOf("Succeeded", nil, states{exited(0, "Completed")}), "0/1 Completed 0"},
		{"failed", podOf("Failed", nil, states{exited(3, "")}), "0/1 ExitCode:3 0"},
		{"evicted", with(podOf("Failed", nil, nil), func(p *corev1.Pod) { p.Status.Reason = "Evicted" }), "0/0 Evicted 0"},
		{"half ended", podOf("Running", nil, states{exited(0, "Completed"), running}), "1/2 NotReady 0"},
		{"first init", podOf("Pending", states{running, waiting("PodInitializing")}, states{waiting("PodInitializing")}), "0/1 Init:0/2 0"},
		{"second init", podOf("Pending", states{exited(0, "Completed"), running}, states{waiting("PodInitializing")}), "0/1 Init:1/2 0"},
		{"init fails", podOf("Pending", states{exited(1, "Error")}, states{waiting("PodInitializing")}), "0/1 Init:Error 0"},
		{"init crashes", podOf("Pending", states{waiting("CrashLoopBackOff")}, states{waiting("PodInitializing")}), "0/1 Init:CrashLoopBackOff 0"},
		{"inits done", podOf("Running", states{exited(0, "Completed")}, states{running}), "1/1 Running 0"},
		{"sidecar", with(podOf("Running", states{running}, states{running}), func(p *corev1.Pod) {
			p.Spec.InitContainers[0].RestartPolicy = &always
			s := &p.Status.InitContainerStatuses[0]
			s.Started, s.Ready, s.RestartCount = &yes, true, 2
		}), "2/2 Running 2"},
		{"ending", with(podOf("Running", nil, states{running}), deleted), "1/1 Terminating 0"},
		{"ended and deleted", with(podOf("Succeeded", nil, states{exited(0, "Completed")}), deleted), "0/1 Completed 0"},
	} {
		cells := podCells(c.pod)
		if got := fmt.Sprintf("%v %v %v", cells[0], cells[1], cells[2]); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestTables checks that every kind has a cell for each of its columns, on an
// object that has nothing but a name, and the columns scripts rely on.
func TestTables(t *testing.T) {
	want := map[store.TableID]string{
		tables.Pods.ID():        "Name Ready Status Restarts Age",
		tables.Nodes.ID():       "Name Status Roles Age Version",
		tables.Services.ID():    "Name Type Cluster-IP External-IP Port(s) Age",
		tables.Deployments.ID(): "Name Ready Up-to-date Available Age",
		tables.ReplicaSets.ID(): "Name Desired Current Ready Age",
		tables.Events.ID():      "Last Seen Type Reason Object Message",
		tables.Namespaces.ID():  "Name Status Age",
	}
	for _, r := range resources() {
		o := r.table.New()
		o.SetName("x")
		got, err := printer{r.table.ID()}.ConvertToTable(t.Context(), runtime.Object(o), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Rows) != 1 || len(got.Rows[0].Cells) != len(got.ColumnDefinitions) {
			t.Errorf("%s: %d columns, rows %v", r.plural, len(got.ColumnDefinitions), got.Rows)
			continue
		}
		var names []string
		for i, c := range got.ColumnDefinitions {
			if c.Priority == 0 {
				names = append(names, c.Name)
			}
			if c.Format == "name" && got.Rows[0].Cells[i] != "x" {
				t.Errorf("%s: no name where its column is: %v", r.plural, got.Rows[0].Cells)
			}
		}
		if w := want[r.table.ID()]; w != "" && strings.Join(names, " ") != w {
			t.Errorf("%s: columns %v, want %s", r.plural, names, w)
		}
	}
}
