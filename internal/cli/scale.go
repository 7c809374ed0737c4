package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/polymorphichelpers"
)

// change runs f on an app and then waits for it, unless told not to.
func (a *app) change(use, short string, args cobra.PositionalArgs, f func(ctx context.Context, cs *kubernetes.Clientset, ns string, args []string) error) *cobra.Command {
	detach, timeout := false, time.Duration(0)
	c := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			cs, ns, err := a.client()
			if err != nil {
				return err
			}
			if err := f(cmd.Context(), cs, ns, args); err != nil {
				return err
			}
			if detach {
				return nil
			}
			return a.awaitApp(cmd.Context(), cs, ns, args[0], timeout)
		},
	}
	c.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait until the replicas are ready")
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	return c
}

func (a *app) scaleCommand() *cobra.Command {
	return a.change("scale APP REPLICAS", "Run more or fewer replicas of an app", cobra.ExactArgs(2),
		func(ctx context.Context, cs *kubernetes.Clientset, ns string, args []string) error {
			n, err := strconv.ParseInt(args[1], 10, 32)
			if err != nil || n < 0 {
				return usagef("scale: REPLICAS: %q is not a number from 0 to 2147483647", args[1])
			}
			patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n)
			if _, err := cs.AppsV1().Deployments(ns).Patch(ctx, args[0], types.MergePatchType, patch, metav1.PatchOptions{}, "scale"); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "app %s scaled to %d\n", args[0], n)
			return nil
		})
}

func (a *app) updateCommand() *cobra.Command {
	image, container := "", ""
	var env []string
	c := a.change("update APP --image IMAGE", "Replace an app's image or environment, a few replicas at a time", cobra.ExactArgs(1),
		func(ctx context.Context, cs *kubernetes.Clientset, ns string, args []string) error {
			return a.update(ctx, cs, ns, args[0], change{image: image, container: container, env: env})
		})
	c.Flags().StringVar(&image, "image", "", "the new image")
	c.Flags().StringArrayVarP(&env, "env", "e", nil, "KEY=VALUE to set")
	c.Flags().StringVar(&container, "container", "", "which container (default: the first)")
	return c
}

// change is what update sets on one container.
type change struct {
	image, container string
	env              []string
}

func (a *app) update(ctx context.Context, cs *kubernetes.Clientset, ns, name string, ch change) error {
	if ch.image == "" && len(ch.env) == 0 {
		return usagef("update: nothing to change: give --image or --env")
	}
	d, err := cs.AppsV1().Deployments(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if ch.container == "" {
		ch.container = d.Spec.Template.Spec.Containers[0].Name
	}
	set := map[string]any{"name": ch.container}
	if ch.image != "" {
		set["image"] = ch.image
	}
	vars := runOptions{env: ch.env}
	ctr, _, err := vars.container()
	if err != nil {
		return err
	}
	if len(ctr.Env) > 0 {
		set["env"] = ctr.Env
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{set}}}}})
	if err != nil {
		return err
	}
	if _, err := cs.AppsV1().Deployments(ns).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "app %s updated\n", name)
	return nil
}

func (a *app) rollbackCommand() *cobra.Command {
	revision := int64(0)
	c := a.change("rollback APP", "Go back to an app's version before the last update", cobra.ExactArgs(1),
		func(ctx context.Context, cs *kubernetes.Clientset, ns string, args []string) error {
			d, err := cs.AppsV1().Deployments(ns).Get(ctx, args[0], metav1.GetOptions{})
			if err != nil {
				return err
			}
			d.APIVersion, d.Kind = "apps/v1", "Deployment"
			r, err := polymorphichelpers.RollbackerFor(d.GroupVersionKind().GroupKind(), cs)
			if err != nil {
				return err
			}
			msg, err := r.Rollback(d, nil, revision, cmdutil.DryRunNone)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "app %s: %s\n", args[0], msg)
			return nil
		})
	c.Flags().Int64Var(&revision, "revision", 0, "which version (default: the one before); `trireme kubectl rollout history` lists them")
	return c
}

func (a *app) rmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm APP...",
		Short: "Remove apps and what publishes them",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cs, ns, err := a.client()
			if err != nil {
				return err
			}
			for _, name := range args {
				err = errors.Join(err, a.rm(cmd.Context(), cs, ns, name))
			}
			return err
		},
	}
}

// rm removes a deployment and, where its selector is the app's, the service of
// the same name.
func (a *app) rm(ctx context.Context, cs kubernetes.Interface, ns, name string) error {
	if err := cs.AppsV1().Deployments(ns).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	svc, err := cs.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
	if err == nil && svc.Spec.Selector[appLabel] == name {
		err = cs.CoreV1().Services(ns).Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	fmt.Fprintf(a.out, "app %s removed\n", name)
	return nil
}
