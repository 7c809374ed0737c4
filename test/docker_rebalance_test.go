package test

import (
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// rebalanced: by a label tasks move to a node that has come, by the rules of an update, until both
// have as many; those of a service without it stay. A node whose label comes later counts too.
func rebalanced(e *engine, name string, nodes *hollow) {
	mine := nodes.take(e, 2, name)
	e.changeNode(mine[1], func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityPause })
	spec, quiet := on(name, 4), on(name, 3)
	spec.Labels = map[string]string{"trireme.dev/rebalance": "max=3,pause=0s"}
	spec.UpdateConfig.Parallelism, spec.UpdateConfig.Order = 1, swarm.UpdateOrderStopFirst
	quiet.Name = name + "-quiet"
	id, still := e.create(spec), e.create(quiet)
	e.runs(id, 4)
	before := ids(e.runs(still, 3))
	e.await("the tasks are older than the clock is coarse", func() error {
		for _, t := range e.tasks(id) {
			if age := time.Since(t.Status.Timestamp); age < 2*time.Second {
				return fmt.Errorf("%w: %s is %s old", errNotYet, t.ID, age)
			}
		}
		return nil
	})
	e.changeNode(mine[1], func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityActive })
	e.await("two tasks have moved", func() error {
		run := e.tasks(id, wanted, is(swarm.TaskStateRunning))
		if len(run) < 3 {
			e.t.Errorf("%d of 4 run while others move one at a time: %s", len(run), told(e.tasks(id)))
		}
		if got := each(run); got[mine[0]] != 2 || got[mine[1]] != 2 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	if left := e.tasks(id, is(swarm.TaskStateShutdown)); len(left) != 2 {
		e.t.Errorf("what has moved: %s", told(e.tasks(id)))
	}
	if after := ids(e.runs(still, 3)); strings.Join(after, " ") != strings.Join(before, " ") {
		e.t.Errorf("tasks moved of a service that did not ask for it: %v, %v", before, after)
	}
	out, err := e.h.Kubectl(e.t.Context(), "get", "events", "--field-selector", "reason=Rebalanced")
	if err != nil || !strings.Contains(out, name+"-") {
		e.t.Errorf("no events tell of it: %v\n%s", err, out)
	}
}
