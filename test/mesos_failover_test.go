package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trireme/examples/mesos/framework"
	"trireme/test/cluster"
)

var errEnough = errors.New("the framework has seen enough")

// mesosFramework is a framework on this side of the wire, in the network of the host.
func mesosFramework(h *cluster.Host, name string) *framework.Framework {
	return &framework.Framework{
		Client: &http.Client{Transport: &http.Transport{DialContext: h.Dial}},
		Master: "http://" + h.Address + ":5050", Name: name, Role: "*", RunAs: "root", FailoverTimeout: 3600,
	}
}

// busyboxTask is a task of the framework in the busybox image.
func busyboxTask(id, command string, agent framework.Value) framework.Task {
	t := framework.Task{
		Name: id, TaskID: framework.Value{Value: id}, AgentID: agent, Command: framework.Command{Value: command},
		Resources: []framework.Resource{framework.Scalar("cpus", 0.05), framework.Scalar("mem", 32)}, Container: &framework.Container{Type: "DOCKER"},
	}
	t.Container.Docker.Image = busybox
	return t
}

// until subscribes the framework and hands it events until done, which returns true, has
// seen enough.
func until(ctx context.Context, fw *framework.Framework, done func(*framework.Event) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	err := fw.Subscribe(ctx, func(e *framework.Event) error {
		enough, err := done(e)
		if err == nil && enough {
			err = errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// TestMesosFailover: a manager that is killed loses no task of a framework, and no update.
func TestMesosFailover(t *testing.T) {
	_, hosts := mesosMachines(t, 1)
	h := hosts[0]
	fw := mesosFramework(h, "failover")
	const tasks = 4
	var running []string
	err := until(t.Context(), fw, func(e *framework.Event) (bool, error) {
		switch e.Type {
		case "OFFERS":
			var list []framework.Task
			o := &e.Offers.Offers[0]
			for i := range tasks {
				list = append(list, busyboxTask(fmt.Sprint("stays-", i), "while [ ! -e /end ]; do sleep 0.1; done; exit 3", o.AgentID))
			}
			if len(running) > 0 {
				list = nil
			}
			return false, fw.Launch(t.Context(), o.ID, list, 3600)
		case "UPDATE":
			s := &e.Update.Status
			if s.Ended() {
				return false, fmt.Errorf("%s: %s: %s", s.TaskID.Value, s.State, s.Message)
			}
			if s.State == "TASK_RUNNING" && !slices.Contains(running, s.TaskID.Value) {
				running = append(running, s.TaskID.Value)
			}
		}
		return len(running) == tasks, nil
	})
	if err != nil {
		t.Fatalf("%d tasks run: %v", len(running), err)
	}
	k := &client{t: t, h: h, namespace: "default"}
	pods := strings.Fields(k.must("get", "pods", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(pods) != tasks {
		t.Fatalf("kubectl sees %v", pods)
	}
	started := k.must("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].containerID}")
	k.must("exec", pods[0], "--", "touch", "/end") // it ends about when the manager does
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.Restart(); err != nil {
		t.Fatal(err)
	}
	await(t, h, 30*time.Second, "the manager is back", func() error {
		_, err := h.Kubectl(t.Context(), "get", "ns", "default")
		return err
	})
	same := func() {
		if now := k.must("get", "pods", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].status.containerStatuses[0].containerID}"); !containsAll(started, strings.Fields(now)) || len(strings.Fields(now)) != tasks-1 {
			t.Errorf("containers were %s, are %s", started, now)
		}
	}
	alive, ended := map[string]bool{}, map[string]string{}
	err = until(t.Context(), fw, func(e *framework.Event) (bool, error) {
		switch e.Type {
		case "SUBSCRIBED":
			if id := e.Subscribed.FrameworkID.Value; id != fw.ID() {
				return false, fmt.Errorf("the framework is %s now", id)
			}
			go func() { _ = fw.Call(t.Context(), "RECONCILE", map[string]any{"tasks": []any{}}) }() // a failure shows as answers that do not come
		case "UPDATE":
			s := &e.Update.Status
			switch {
			case s.Ended():
				delete(alive, s.TaskID.Value)
				if s.UUID != "" { // its own, no answer
					ended[s.TaskID.Value] = s.State + " " + s.Message
				}
			case s.State == "TASK_RUNNING" && ended[s.TaskID.Value] == "":
				alive[s.TaskID.Value] = true
			}
		}
		if fw.Once = len(alive) == tasks-1 && len(ended) == 1; fw.Once {
			same()
		}
		return fw.Once, nil
	})
	if err != nil {
		t.Fatalf("of %d tasks %v run and %v have ended: %v", tasks, alive, ended, err)
	}
	for id, how := range ended {
		if how != "TASK_FAILED Command exited with status 3" {
			t.Errorf("%s: %s", id, how)
		}
	}
	await(t, h, 30*time.Second, "the framework's pods have gone", func() error {
		if out := k.must("get", "pods", "-o", "name"); out != "" {
			return fmt.Errorf("there are %s", out)
		}
		return nil
	})
}

func containsAll(text string, parts []string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
}
