package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/floating"
)

func (a *app) fipCommand() *cobra.Command {
	c := &cobra.Command{Use: "fip", Short: "Floating IPs: addresses that follow a pod or a service from node to node"}
	all := false
	ls := &cobra.Command{
		Use: "ls", Short: "List the floating IPs", Args: cobra.NoArgs,
		RunE: a.withFIPs(func(ctx context.Context, f *fips, _ []string) error { return f.ls(ctx, all) }),
	}
	ls.Flags().BoolVarP(&all, "all-namespaces", "A", false, "of every namespace")
	a.outputFlag(ls)
	detach := &cobra.Command{
		Use: "detach NAME", Short: "Keep an address that leads nowhere for now", Args: cobra.ExactArgs(1),
		RunE: a.withFIPs(func(ctx context.Context, f *fips, args []string) error { return f.detach(ctx, args[0]) }),
	}
	release := &cobra.Command{
		Use: "release NAME...", Short: "Give addresses back to their pools", Args: cobra.MinimumNArgs(1),
		RunE: a.withFIPs(func(ctx context.Context, f *fips, args []string) error { return f.release(ctx, args) }),
	}
	c.AddCommand(a.fipAllocateCommand(), a.fipAttachCommand(), a.complete(detach, fipNames(a), false), a.complete(release, fipNames(a), true), ls)
	return c
}

func fipNames(a *app) names { return customNames(a, floating.IPs) }

func (a *app) fipAllocateCommand() *cobra.Command {
	spec, timeout := floating.IPSpec{}, time.Duration(0)
	c := &cobra.Command{
		Use: "allocate NAME", Short: "Take an address of a pool", Args: cobra.ExactArgs(1),
		RunE: a.withFIPs(func(ctx context.Context, f *fips, args []string) error {
			return f.allocate(ctx, args[0], spec, timeout)
		}),
	}
	c.Flags().StringVar(&spec.Pool, "pool", "", "the address pool (default: the one that has --address, or the default one)")
	c.Flags().StringVar(&spec.Address, "address", "", "the address that is wished (default: any that is free)")
	c.Flags().StringVar((*string)(&spec.IPFamily), "family", "", "IPv4 or IPv6 (default: that of --address, or whichever the pool has)")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait")
	return c
}

func (a *app) fipAttachCommand() *cobra.Command {
	timeout := time.Duration(0)
	c := &cobra.Command{
		Use: "attach NAME pod/POD|service/SERVICE", Short: "Lead an address to a pod or a service", Args: cobra.ExactArgs(2),
		RunE: a.withFIPs(func(ctx context.Context, f *fips, args []string) error {
			return f.attach(ctx, args[0], args[1], timeout)
		}),
	}
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait until a node answers for it")
	return a.complete(c, fipNames(a), false)
}

// fips is one command's way to the floating IPs.
type fips struct{ custom }

func (a *app) withFIPs(do func(ctx context.Context, f *fips, args []string) error) func(*cobra.Command, []string) error {
	return a.withCustom(floating.IPs, "floating IP", func(ctx context.Context, c custom, args []string) error {
		return do(ctx, &fips{c}, args)
	})
}

func (f *fips) get(ctx context.Context, name string) (*floating.IP, error) {
	u, err := f.resource().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no floating IP %s in namespace %s: `trireme fip ls -A` lists them, `trireme fip allocate %s` makes one", name, f.ns, name)
	}
	if err != nil {
		return nil, err
	}
	return decode[floating.IP](u)
}

func (f *fips) allocate(ctx context.Context, name string, spec floating.IPSpec, timeout time.Duration) error {
	ip := &floating.IP{Spec: spec}
	ip.Namespace, ip.Name = f.ns, name
	u, err := ip.Unstructured()
	if err != nil {
		return err
	}
	unstructured.RemoveNestedField(u.Object, "status")
	if _, err := f.resource().Create(ctx, u, metav1.CreateOptions{FieldManager: "trireme"}); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("floating IP %s is there already: choose another name, or `trireme fip release %s`", name, name)
		}
		return err
	}
	now, c, err := f.await(ctx, name, floating.Allocated, timeout, told)
	if err != nil {
		return err
	}
	if c.Status != metav1.ConditionTrue {
		err := fmt.Errorf("no address for floating IP %s: %s: %s", name, c.Reason, c.Message)
		if gone := f.resource().Delete(ctx, name, metav1.DeleteOptions{}); gone != nil {
			return errors.Join(err, gone)
		}
		return err
	}
	if ip, err = decode[floating.IP](now); err != nil {
		return err
	}
	fmt.Fprintln(f.a.out, ip.Status.Address)
	return nil
}

func (f *fips) attach(ctx context.Context, name, to string, timeout time.Duration) error {
	target, err := f.target(ctx, to)
	if err != nil {
		return err
	}
	old, err := f.get(ctx, name)
	if err != nil {
		return err
	}
	if err := ofService(old); err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"target":{"kind":%q,"name":%q}}}`, target.Kind, target.Name)
	if _, err := f.resource().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	now, c, err := f.await(ctx, name, floating.Announced, timeout, holds)
	if err != nil {
		return err
	}
	if c.Status != metav1.ConditionTrue {
		return fmt.Errorf("floating IP %s is attached, but no node answers for it: %s: %s", name, c.Reason, c.Message)
	}
	ip, err := decode[floating.IP](now)
	if err != nil {
		return err
	}
	fmt.Fprintf(f.a.out, "%s leads to %s, by node %s\n", ip.Status.Address, to, ip.Status.Node)
	return nil
}

// target reads "pod/NAME" or "service/NAME", and wants it to be there.
func (f *fips) target(ctx context.Context, to string) (floating.Target, error) {
	kind, name, _ := strings.Cut(to, "/")
	var err error
	t := floating.Target{Name: name}
	switch {
	case name == "":
		return t, usagef("attach: %q: say what it is, pod/NAME or service/NAME", to)
	case kind == "pod" || kind == "pods" || kind == "po":
		t.Kind = floating.Pod
		_, err = f.cs.CoreV1().Pods(f.ns).Get(ctx, name, metav1.GetOptions{})
	case kind == "service" || kind == "services" || kind == "svc":
		t.Kind = floating.Service
		_, err = f.cs.CoreV1().Services(f.ns).Get(ctx, name, metav1.GetOptions{})
	default:
		return t, usagef("attach: %q: an address leads to a pod or a service: pod/NAME or service/NAME", to)
	}
	if err != nil {
		return t, fmt.Errorf("attaching to %s in namespace %s: %w", to, f.ns, err)
	}
	return t, nil
}

// ofService refuses the floating IP of a load balancer: the service says what
// becomes of it.
func ofService(ip *floating.IP) error {
	for _, o := range ip.OwnerReferences {
		if o.Kind == floating.Service {
			return fmt.Errorf("floating IP %s belongs to service %s, which leads it: change the service's type, or delete the service", ip.Name, o.Name)
		}
	}
	return nil
}

func (f *fips) detach(ctx context.Context, name string) error {
	ip, err := f.get(ctx, name)
	if err != nil {
		return err
	}
	if err := ofService(ip); err != nil {
		return err
	}
	if _, err := f.resource().Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"target":null}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	fmt.Fprintf(f.a.out, "%s leads nowhere; it is kept until `trireme fip release %s`\n", orDash(ip.Status.Address), name)
	return nil
}

func (f *fips) release(ctx context.Context, list []string) error {
	var errs []error
	for _, name := range list {
		ip, err := f.get(ctx, name)
		if err == nil {
			err = ofService(ip)
		}
		if err == nil {
			err = f.resource().Delete(ctx, name, metav1.DeleteOptions{})
		}
		if err == nil {
			fmt.Fprintf(f.a.out, "%s released\n", orDash(ip.Status.Address))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (f *fips) ls(ctx context.Context, all bool) error {
	if all {
		f.ns = ""
	}
	list, err := f.resource().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	t := table{columns: []string{"NAME", "ADDRESS", "TARGET", "NODE", "STATE", "AGE", "POOL*"}}
	if all {
		t.columns = append([]string{"NAMESPACE"}, t.columns...)
	}
	for i := range list.Items {
		ip, err := decode[floating.IP](&list.Items[i])
		if err != nil {
			return err
		}
		to := ""
		if g := ip.Spec.Target; g != nil {
			to = strings.ToLower(g.Kind) + "/" + g.Name
		}
		row := []string{ip.Name, orDash(ip.Status.Address), orDash(to), orDash(ip.Status.Node), fipState(ip), age(ip.CreationTimestamp), orDash(ip.Spec.Pool)}
		if all {
			row = append([]string{ip.Namespace}, row...)
		}
		t.add(row...)
	}
	return f.a.print(list, t)
}

// fipState is what a floating IP is in, as one word of its conditions.
func fipState(ip *floating.IP) string {
	for _, name := range []string{floating.Allocated, floating.Announced} {
		c := meta.FindStatusCondition(ip.Status.Conditions, name)
		if c == nil {
			return "Pending"
		}
		if c.Status != metav1.ConditionTrue || name == floating.Announced {
			return c.Reason
		}
	}
	return ""
}
