package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/object"
	"trireme/internal/object/network"
)

func (a *app) networkCommand() *cobra.Command {
	c := &cobra.Command{Use: "network", Short: "Networks of tenants: with addresses of their own, over all nodes"}
	all := false
	ls := &cobra.Command{
		Use: "ls", Short: "List the networks", Args: cobra.NoArgs,
		RunE: a.withNetworks(func(ctx context.Context, n *networks, _ []string) error { return n.ls(ctx, all) }),
	}
	ls.Flags().BoolVarP(&all, "all-namespaces", "A", false, "of every namespace")
	a.outputFlag(ls)
	inspect := &cobra.Command{
		Use: "inspect NAME", Short: "A network, and the pods on it", Args: cobra.ExactArgs(1),
		RunE: a.withNetworks(func(ctx context.Context, n *networks, args []string) error { return n.inspect(ctx, args[0]) }),
	}
	a.outputFlag(inspect)
	rm := &cobra.Command{
		Use: "rm NAME...", Short: "Remove networks that no pod is on", Args: cobra.MinimumNArgs(1),
		RunE: a.withNetworks(func(ctx context.Context, n *networks, args []string) error { return n.rm(ctx, args) }),
	}
	known := customNames(a, network.Resource)
	c.AddCommand(a.networkCreateCommand(), ls, a.complete(inspect, known, false), a.complete(rm, known, true))
	return c
}

// ranges is what the command line says of subnets.
type ranges struct{ subnets, gateways, ipRanges []string }

func (a *app) networkCreateCommand() *cobra.Command {
	var r ranges
	spec, timeout := network.Spec{}, time.Duration(0)
	c := &cobra.Command{
		Use: "create NAME --subnet CIDR", Short: "Make a network", Args: cobra.ExactArgs(1),
		Example: `  trireme network create red --subnet 10.0.9.0/24
  trireme network create blue --subnet 10.0.9.0/24 --gateway 10.0.9.254 --ip-range 10.0.9.128/25 --internal

A pod is on it with the annotation k8s.v1.cni.cncf.io/networks: red`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if spec.Subnets, err = r.read(); err != nil {
				return err
			}
			return a.withNetworks(func(ctx context.Context, n *networks, args []string) error {
				return n.create(ctx, args[0], spec, timeout)
			})(cmd, args)
		},
	}
	c.Flags().StringArrayVar(&r.subnets, "subnet", nil, "where its addresses are from, as 10.0.9.0/24; those of other networks may be the same")
	c.Flags().StringArrayVar(&r.gateways, "gateway", nil, "an address of the subnet that no pod gets (default: the first)")
	c.Flags().StringArrayVar(&r.ipRanges, "ip-range", nil, "the part of the subnet that addresses are given from (default: all of it)")
	c.Flags().BoolVar(&spec.Internal, "internal", false, "give it no way out")
	c.Flags().Int32Var(&spec.MTU, "mtu", 0, "of the pods' interfaces (default: what fits)")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait")
	if err := c.MarkFlagRequired("subnet"); err != nil {
		panic(err) // the flag was added above
	}
	return c
}

// read returns the subnets, each with the gateway and range that are in it.
func (r ranges) read() (all []network.Subnet, err error) {
	var prefixes []netip.Prefix
	for _, text := range r.subnets {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, usagef("--subnet: %q is no network: write it as 10.0.9.0/24", text)
		}
		prefixes = append(prefixes, p.Masked())
		all = append(all, network.Subnet{CIDR: p.Masked().String()})
	}
	within := func(flag, text string, set func(*network.Subnet)) error {
		address, _, _ := strings.Cut(text, "/")
		a, err := netip.ParseAddr(address)
		i := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
		if err != nil || i < 0 {
			return usagef("%s: %q is in no --subnet", flag, text)
		}
		set(&all[i])
		return nil
	}
	for _, g := range r.gateways {
		if err := within("--gateway", g, func(s *network.Subnet) { s.Gateway = g }); err != nil {
			return nil, err
		}
	}
	for _, i := range r.ipRanges {
		if err := within("--ip-range", i, func(s *network.Subnet) { s.IPRange = i }); err != nil {
			return nil, err
		}
	}
	if _, err := (&network.Network{Spec: network.Spec{Subnets: all}}).Pools(); err != nil {
		return nil, usageError{err}
	}
	return all, nil
}

// networks is one command's way to the networks.
type networks struct{ custom }

func (a *app) withNetworks(do func(ctx context.Context, n *networks, args []string) error) func(*cobra.Command, []string) error {
	return a.withCustom(network.Resource, "network", func(ctx context.Context, c custom, args []string) error {
		return do(ctx, &networks{c}, args)
	})
}

func (n *networks) get(ctx context.Context, name string) (*network.Network, error) {
	u, err := n.resource().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no network %s in namespace %s: `trireme network ls -A` lists them, `trireme network create %s --subnet CIDR` makes one", name, n.ns, name)
	}
	if err != nil {
		return nil, err
	}
	return decode[network.Network](u)
}

func (n *networks) create(ctx context.Context, name string, spec network.Spec, timeout time.Duration) error {
	o := &network.Network{Spec: spec}
	o.Namespace, o.Name = n.ns, name
	u, err := o.Unstructured()
	if err != nil {
		return err
	}
	unstructured.RemoveNestedField(u.Object, "status")
	if _, err := n.resource().Create(ctx, u, metav1.CreateOptions{FieldManager: "trireme"}); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("network %s is there already, and is not changed: choose another name, or `trireme network rm %s`", name, name)
		}
		return err
	}
	_, c, err := n.await(ctx, name, network.Ready, timeout, told)
	if err != nil {
		return err
	}
	if !holds(c) {
		err := fmt.Errorf("network %s cannot be used: %s: %s", name, c.Reason, c.Message)
		return errors.Join(err, n.resource().Delete(ctx, name, metav1.DeleteOptions{}))
	}
	fmt.Fprintf(n.a.out, "network %s is ready: pods are on it with the annotation %s: %s\n", name, network.Annotation, name)
	return nil
}

func (n *networks) ls(ctx context.Context, all bool) error {
	if all {
		n.ns = ""
	}
	list, err := n.resource().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	t := table{columns: []string{"NAME", "SUBNETS", "INTERNAL", "PODS", "STATE", "AGE", "VNI*"}}
	if all {
		t.columns = append([]string{"NAMESPACE"}, t.columns...)
	}
	for i := range list.Items {
		o, err := decode[network.Network](&list.Items[i])
		if err != nil {
			return err
		}
		row := []string{o.Name, cidrs(o), fmt.Sprint(o.Spec.Internal), fmt.Sprint(o.Status.Pods), networkState(o).Reason, age(o.CreationTimestamp), fmt.Sprint(o.Status.VNI)}
		if all {
			row = append([]string{o.Namespace}, row...)
		}
		t.add(row...)
	}
	return n.a.print(list, t)
}

func cidrs(o *network.Network) string {
	var all []string
	for _, s := range o.Spec.Subnets {
		all = append(all, s.CIDR)
	}
	return strings.Join(all, ",")
}

func networkState(o *network.Network) metav1.Condition {
	if c := meta.FindStatusCondition(o.Status.Conditions, network.Ready); c != nil {
		return *c
	}
	return metav1.Condition{Reason: "Pending", Message: "the cluster has said nothing yet"}
}

func (n *networks) inspect(ctx context.Context, name string) error {
	o, err := n.get(ctx, name)
	if err != nil {
		return err
	}
	pods, err := n.pods(ctx, name)
	if err != nil {
		return err
	}
	if n.a.output == "table" || n.a.output == "wide" {
		state := networkState(o)
		fmt.Fprintf(n.a.out, "network %s of namespace %s: %s: %s\nsubnets %s, internal %t, VNI %d\n\n",
			name, n.ns, state.Reason, state.Message, cidrs(o), o.Spec.Internal, o.Status.VNI)
	}
	o.APIVersion, o.Kind = network.Group.String(), "Network"
	return n.a.print(o, pods)
}

// pods returns who is on a network, as the pods' status says.
func (n *networks) pods(ctx context.Context, name string) (table, error) {
	t := table{columns: []string{"POD", "ADDRESSES", "INTERFACE", "NODE"}}
	list, err := n.cs.CoreV1().Pods(n.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return t, err
	}
	for i := range list.Items {
		p := &list.Items[i]
		if at, ok := attachment(p, object.Key{Namespace: n.ns, Name: name}); ok && !object.PodEnded(p) {
			t.add(p.Name, strings.Join(at.IPs, ","), at.Interface, p.Spec.NodeName)
		}
	}
	return t, nil
}

// attachment returns a pod's part in a network; false: it has none.
func attachment(p *corev1.Pod, key object.Key) (network.Attachment, bool) {
	var all []network.Attachment
	if err := json.Unmarshal([]byte(p.Annotations[network.StatusAnnotation]), &all); err != nil {
		return network.Attachment{}, false // none, or none of ours
	}
	i := slices.IndexFunc(all, func(at network.Attachment) bool { return at.Name == key.String() })
	if i < 0 {
		return network.Attachment{}, false
	}
	return all[i], true
}

func (n *networks) rm(ctx context.Context, list []string) error {
	var errs []error
	for _, name := range list {
		errs = append(errs, n.remove(ctx, name))
	}
	return errors.Join(errs...)
}

func (n *networks) remove(ctx context.Context, name string) error {
	if _, err := n.get(ctx, name); err != nil {
		return err
	}
	pods, err := n.pods(ctx, name)
	if err != nil {
		return err
	}
	if len(pods.rows) > 0 {
		return fmt.Errorf("network %s is in use by %d pods, %s among them: remove these first (`trireme network inspect %s`)", name, len(pods.rows), pods.rows[0][0], name)
	}
	if err := n.resource().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	fmt.Fprintf(n.a.out, "network %s removed\n", name)
	return nil
}
