package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/object"
	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
)

func (a *app) whyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "why POD",
		Short: "Why a pod is where it is, or why it does not run",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cs, ns, err := a.client()
			if err != nil {
				return err
			}
			p, err := cs.CoreV1().Pods(ns).Get(cmd.Context(), args[0], metav1.GetOptions{})
			if err != nil {
				return err
			}
			return a.why(cmd.Context(), cs, p)
		},
	}
}

func (a *app) why(ctx context.Context, cs kubernetes.Interface, p *corev1.Pod) error {
	fmt.Fprintf(a.out, "pod %s/%s: %s\n", p.Namespace, p.Name, podState(p))
	switch {
	case p.Spec.NodeName != "":
		fmt.Fprintf(a.out, "node: %s\n", p.Spec.NodeName)
	default:
		if c := object.PodCondition(p, corev1.PodScheduled); c != nil && object.PodGroup(p) != "" {
			fmt.Fprintf(a.out, "placed with others of its group: %s\n", harmless(c.Message))
		}
		if err := a.whyNoNode(ctx, cs, p); err != nil {
			return err
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue && c.Type != corev1.PodScheduled && c.Message != "" {
			fmt.Fprintf(a.out, "not %s: %s: %s\n", c.Type, c.Reason, harmless(c.Message))
		}
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		whyContainer(a.out, &s)
	}
	if p.Status.Message != "" {
		fmt.Fprintf(a.out, "%s: %s\n", p.Status.Reason, harmless(p.Status.Message))
	}
	return a.whyEvents(ctx, cs, p)
}

// whyNoNode asks the scheduler's own filters, over the cluster as it is now.
func (a *app) whyNoNode(ctx context.Context, cs kubernetes.Interface, p *corev1.Pod) error {
	s, err := store.Open(ctx, store.Config{Now: time.Now, NewID: func() types.UID { return "why" }}, tables.Defs()...)
	if err != nil {
		return err
	}
	nodes, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if _, err := s.Update(ctx, func(tx *store.Tx) error {
		for i := range nodes.Items {
			tables.Nodes.Put(tx, &nodes.Items[i])
		}
		for i := range pods.Items {
			tables.Pods.Put(tx, &pods.Items[i])
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "no node takes it:")
	if len(nodes.Items) == 0 {
		fmt.Fprintln(a.out, "  there is no node: `trireme up` or `trireme join` on a machine adds one")
	}
	reasons, hint := schedule.Explain(s.Snapshot(), p)
	for _, r := range reasons {
		if len(r.Reasons) == 0 {
			fmt.Fprintf(a.out, "  %s: would take it now\n", r.Node)
		}
		for _, reason := range r.Reasons {
			fmt.Fprintf(a.out, "  %s: %s\n", r.Node, reason)
		}
	}
	if hint != "" {
		fmt.Fprintln(a.out, hint)
	}
	return nil
}

func whyContainer(w io.Writer, s *corev1.ContainerStatus) {
	switch {
	case s.State.Waiting != nil:
		fmt.Fprintf(w, "container %s waits: %s: %s\n", s.Name, s.State.Waiting.Reason, harmless(s.State.Waiting.Message))
	case s.State.Running != nil:
		fmt.Fprintf(w, "container %s runs since %s, ready: %v, restarts: %d\n", s.Name, age(s.State.Running.StartedAt), s.Ready, s.RestartCount)
	case s.State.Terminated != nil:
		fmt.Fprintf(w, "container %s ended: %s, exit code %d %s\n", s.Name, s.State.Terminated.Reason, s.State.Terminated.ExitCode, harmless(s.State.Terminated.Message))
	}
	if t := s.LastTerminationState.Terminated; t != nil {
		fmt.Fprintf(w, "container %s ended before: %s, exit code %d, %s ago\n", s.Name, t.Reason, t.ExitCode, age(t.FinishedAt))
	}
}

func (a *app) whyEvents(ctx context.Context, cs kubernetes.Interface, p *corev1.Pod) error {
	events, err := cs.CoreV1().Events(p.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", string(p.UID)).String(),
	})
	if err != nil || len(events.Items) == 0 {
		return err
	}
	// Times are whole seconds; within one, the order of writing tells.
	order := func(e *corev1.Event) int { n, _ := strconv.Atoi(e.ResourceVersion); return n }
	slices.SortFunc(events.Items, func(x, y corev1.Event) int {
		return cmp.Or(x.LastTimestamp.Compare(y.LastTimestamp.Time), cmp.Compare(order(&x), order(&y)))
	})
	fmt.Fprintln(a.out, "events, oldest first:")
	for i := range events.Items {
		e := &events.Items[i]
		times := ""
		if e.Count > 1 {
			times = fmt.Sprintf(" (%d times)", e.Count)
		}
		fmt.Fprintf(a.out, "  %s ago: %s: %s%s\n", age(e.LastTimestamp), e.Reason, harmless(e.Message), times)
	}
	return nil
}
