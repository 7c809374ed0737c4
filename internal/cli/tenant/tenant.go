// Package tenant is the commands `trireme tenant`: who has how much of the cluster, how much each
// counts, what each has at least and at most (docs/tenants.md). It talks to the API only.
package tenant

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"trireme/internal/cli/program"
	"trireme/internal/object/mesos"
	"trireme/internal/object/tenant"
	"trireme/internal/tables"
)

type commands struct {
	env program.Env
	cs  kubernetes.Interface
	dyn dynamic.Interface
}

// Command returns `tenant` with its commands.
func Command(env program.Env) *cobra.Command {
	t := &commands{env: env}
	c := &cobra.Command{
		Use: "tenant", Short: "Tenants: how namespaces, stacks and roles of Mesos share the cluster",
		Long: `A tenant is a namespace, a stack or a role of Mesos: they are one thing, whichever door they come by.
Who stands lowest, by its dominant share and its weight, is served first. A quota says what a tenant
has at least (others leave that free) and at most.`,
	}
	ls := &cobra.Command{Use: "ls", Short: "List the tenants, with what they have", Args: cobra.NoArgs, RunE: t.run(t.ls)}
	env.Flag(ls)
	weight := &cobra.Command{Use: "weight TENANT WEIGHT", Short: "Say how much a tenant counts; 1 is usual", Args: cobra.ExactArgs(2), RunE: t.run(t.weight)}
	path := &cobra.Command{
		Use: "path TENANT PATH", Short: "Put a tenant below another: eng/web is below eng", Args: cobra.ExactArgs(2),
		RunE: t.run(func(ctx context.Context, args []string) error {
			return t.change(ctx, args[0], func(s *tenant.Spec) error { s.Path = args[1]; return nil }, "stands at "+args[1])
		}),
	}
	c.AddCommand(ls, weight, path, t.quotaCommand())
	return c
}

func (t *commands) run(do func(context.Context, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		if t.cs, t.dyn, err = t.env.Connect(); err != nil {
			return err
		}
		return do(cmd.Context(), args)
	}
}

func (t *commands) quotaCommand() *cobra.Command {
	var limit, guarantee string
	var none bool
	c := &cobra.Command{
		Use: "quota TENANT", Short: "Say what a tenant has at least and at most", Args: cobra.ExactArgs(1),
		Example: "  trireme tenant quota shop --limit cpu=8,memory=32Gi --guarantee cpu=2\n  trireme tenant quota shop --none",
	}
	c.RunE = t.run(func(ctx context.Context, args []string) error {
		if !none && !c.Flags().Changed("limit") && !c.Flags().Changed("guarantee") {
			return fmt.Errorf("quota: say --limit, --guarantee or --none")
		}
		most, err := read("limit", limit)
		if err != nil {
			return err
		}
		least, err := read("guarantee", guarantee)
		if err != nil {
			return err
		}
		if err := below(least, most); err != nil {
			return err
		}
		return t.change(ctx, args[0], func(s *tenant.Spec) error {
			if none || c.Flags().Changed("limit") {
				s.Limit = most
			}
			if none || c.Flags().Changed("guarantee") {
				s.Guarantee = least
			}
			return below(s.Guarantee, s.Limit)
		}, "has its quota")
	})
	c.Flags().StringVar(&limit, "limit", "", "what it and those below it have at most: cpu=8,memory=32Gi,nvidia.com/gpu=2; empty: no limit")
	c.Flags().StringVar(&guarantee, "guarantee", "", "what others leave free for it until it uses it, in the same form")
	c.Flags().BoolVar(&none, "none", false, "take limit and guarantee away")
	return c
}

// read reads RESOURCE=QUANTITY, with commas between; nil of nothing.
func read(flag, text string) (corev1.ResourceList, error) {
	if text == "" {
		return nil, nil
	}
	out := corev1.ResourceList{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		q, err := resource.ParseQuantity(value)
		if !ok || name == "" || err != nil || q.Sign() < 0 {
			return nil, fmt.Errorf("--%s: %q is not of the form RESOURCE=QUANTITY, as cpu=4 or memory=8Gi", flag, part)
		}
		if _, twice := out[corev1.ResourceName(name)]; twice {
			return nil, fmt.Errorf("--%s: %s is there twice", flag, name)
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}

// below refuses a guarantee that is more than the limit.
func below(guarantee, limit corev1.ResourceList) error {
	for name, least := range guarantee {
		if most, ok := limit[name]; ok && least.Cmp(most) > 0 {
			return fmt.Errorf("quota: the guarantee of %s, %s, is more than its limit, %s", name, &least, &most)
		}
	}
	return nil
}

func (t *commands) weight(ctx context.Context, args []string) error {
	w, err := strconv.ParseFloat(args[1], 64)
	if err != nil || !(w >= 0.001 && w <= 1e6) {
		return fmt.Errorf("weight: %q is no weight: a number from 0.001 to 1000000", args[1])
	}
	return t.change(ctx, args[0], func(s *tenant.Spec) error { s.Weight = w; return nil }, "counts "+args[1])
}

// change writes the Tenant of a namespace, or of a role, and makes it where there is none.
func (t *commands) change(ctx context.Context, who string, change func(*tenant.Spec) error, done string) error {
	name := who
	if strings.Contains(who, "/") || who == mesos.Everyone {
		name = mesos.Namespace(who)
	}
	api := t.dyn.Resource(tenant.Tenants)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		have, err := api.Get(ctx, name, metav1.GetOptions{})
		there := err == nil
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		one := &tenant.Tenant{}
		one.Name = name
		if there {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(have.Object, one); err != nil {
				return fmt.Errorf("reading tenant %s: %w", name, err)
			}
		} else if name != who {
			one.Spec.Path = who
		}
		if err := change(&one.Spec); err != nil {
			return err
		}
		u, err := tables.Unstructured(tenant.Kind, one)
		if err != nil {
			return err
		}
		if there {
			_, err = api.Update(ctx, u, metav1.UpdateOptions{FieldManager: "trireme"})
		} else {
			_, err = api.Create(ctx, u, metav1.CreateOptions{FieldManager: "trireme"})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("changing tenant %s: %w", who, err)
	}
	fmt.Fprintf(t.env.Out, "%s %s\n", who, done)
	return nil
}

// amounts writes a resource list as the flags take it; "-" is nothing.
func amounts(l corev1.ResourceList) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		q := l[name]
		all = append(all, fmt.Sprintf("%s=%s", name, &q))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ",")
}
