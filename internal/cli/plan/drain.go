package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/object/plan"
)

// DrainCommand returns `drain`.
func DrainCommand(env Env) *cobra.Command {
	var timeout time.Duration
	var planned bool
	c := &cobra.Command{
		Use: "drain NODE", Short: "Move what runs on a node elsewhere and send it nothing new",
		Long: `Send a node nothing new and evict its pods, as far as their disruption budgets let it, until they are gone.
With --plan, only say what would happen: where the pods would go, which budgets forbid it, what would not fit.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if planned {
				return env.Ask(cmd.Context(), plan.Spec{Drain: args})
			}
			return env.drain(cmd.Context(), args[0], timeout)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	c.Flags().BoolVar(&planned, "plan", false, "touch nothing, and say what would happen")
	env.Flag(c)
	return c
}

// Cordon has a node take nothing new, or take pods again.
func Cordon(ctx context.Context, cs kubernetes.Interface, node string, on bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, on)
	_, err := cs.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// drain cordons a node, evicts its pods and waits until they are gone. Those of daemon sets and of
// the node's own files stay: they would come back.
func (env Env) drain(ctx context.Context, name string, timeout time.Duration) error {
	cs, err := env.Client()
	if err != nil {
		return err
	}
	if err := Cordon(ctx, cs, name, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	say, done := env.Progress()
	defer done()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		left, held, err := evictAll(ctx, cs, name)
		switch {
		case err != nil:
			return err
		case left == 0:
			say("node %s is drained", name)
			return nil
		case held != "":
			say("%d pods left on %s: %s", left, name, held)
		default:
			say("%d pods left on %s", left, name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("node %s: %d pods are still there after %s%s", name, left, timeout, becauseOf(held))
			}
			return ctx.Err()
		}
	}
}

func becauseOf(held string) string {
	if held == "" {
		return ""
	}
	return ": " + held
}

// evictAll asks every pod off the node that does not go yet. held is what a budget said against one.
func evictAll(ctx context.Context, cs kubernetes.Interface, node string) (left int, held string, err error) {
	pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return 0, "", err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || staysOnDrain(pod) {
			continue
		}
		left++
		if pod.DeletionTimestamp != nil {
			continue
		}
		e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		err := cs.PolicyV1().Evictions(pod.Namespace).Evict(ctx, e)
		switch status := apierrors.APIStatus(nil); {
		case err == nil || apierrors.IsNotFound(err):
		case apierrors.IsTooManyRequests(err) && errors.As(err, &status):
			held = pod.Namespace + "/" + pod.Name + ": " + budgetSays(status)
		default:
			return 0, "", fmt.Errorf("evicting %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return left, held, nil
}

// budgetSays returns why a budget refuses, which is in the details of the answer.
func budgetSays(s apierrors.APIStatus) string {
	if d := s.Status().Details; d != nil && len(d.Causes) > 0 {
		return d.Causes[0].Message
	}
	return s.Status().Message
}

// staysOnDrain reports whether a pod would come back to a node that it was evicted from.
func staysOnDrain(p *corev1.Pod) bool {
	ref := metav1.GetControllerOfNoCopy(p)
	return ref != nil && ref.Kind == "DaemonSet" || p.Annotations[corev1.MirrorPodAnnotationKey] != ""
}
