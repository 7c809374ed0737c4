package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// appLabel is the label that run gives an app's pods.
const appLabel = "app"

type runOptions struct {
	name, image          string
	replicas             int32
	publish, env, mounts []string
	labels               map[string]string
	cpus, memory, pull   string
	command              []string
	detach               bool
	timeout              time.Duration
}

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run NAME --image IMAGE [flags] [-- ARG...]",
		Short: "Run an app: so many replicas of an image, published on a port of every node",
		Example: `  trireme run web --image trireme.local/web:1 --replicas 3 --publish 8088:80
  trireme run db --image postgres:17 --env POSTGRES_PASSWORD=x --mount /srv/db:/var/lib/postgresql/data --memory 1Gi`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); len(args) == 0 || n == 0 || (n < 0 && len(args) > 1) || n > 1 {
				return usagef("run: want one NAME (arguments of the container go after --)")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name, o.command = args[0], args[1:]
			return a.run(cmd.Context(), &o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.image, "image", "", "image to run (required)")
	f.Int32VarP(&o.replicas, "replicas", "r", 1, "how many")
	f.StringArrayVarP(&o.publish, "publish", "p", nil, "NODEPORT:PORT[/udp]: answer on this port of every node")
	f.StringArrayVarP(&o.env, "env", "e", nil, "KEY=VALUE")
	f.StringArrayVar(&o.mounts, "mount", nil, "HOSTPATH:PATH[:ro], or :PATH for an empty folder that lives as long as the pod")
	f.StringToStringVarP(&o.labels, "label", "l", nil, "labels of the app, key=value")
	f.StringVar(&o.cpus, "cpus", "", "CPUs of each replica, such as 0.5: reserved and the limit")
	f.StringVar(&o.memory, "memory", "", "memory of each replica, such as 256Mi: reserved and the limit")
	f.StringVar(&o.pull, "pull", "", "always, missing or never (default: always for :latest, missing otherwise)")
	f.BoolVarP(&o.detach, "detach", "d", false, "do not wait until the replicas are ready")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait")
	must(c.MarkFlagRequired("image"))
	return c
}

func must(err error) {
	if err != nil {
		panic(err) // a flag that was not declared: found by any test that runs the command
	}
}

func (a *app) run(ctx context.Context, o *runOptions) error {
	d, svc, err := o.objects()
	if err != nil {
		return err
	}
	cs, ns, err := a.client()
	if err != nil {
		return err
	}
	// The service first: a port that is taken stops the command before anything runs.
	if svc != nil {
		if _, err := cs.CoreV1().Services(ns).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			return existsHint(err, o.name)
		}
	}
	if _, err := cs.AppsV1().Deployments(ns).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		if svc != nil {
			err = errors.Join(existsHint(err, o.name), cs.CoreV1().Services(ns).Delete(ctx, o.name, metav1.DeleteOptions{}))
		}
		return existsHint(err, o.name)
	}
	fmt.Fprintf(a.out, "app %s created\n", o.name)
	if o.detach {
		return nil
	}
	if err := a.awaitApp(ctx, cs, ns, o.name, o.timeout); err != nil {
		return err
	}
	for _, p := range o.publish {
		port, _, _ := strings.Cut(p, ":")
		fmt.Fprintf(a.out, "answers on port %s of every node: http://localhost:%s/\n", port, port)
	}
	return nil
}

func existsHint(err error, name string) error {
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%w: change it with `trireme update %s` or `trireme scale %s`, or remove it with `trireme rm %s`", err, name, name, name)
	}
	return err
}

// objects returns what the flags mean; svc is nil where nothing is published.
func (o *runOptions) objects() (*appsv1.Deployment, *corev1.Service, error) {
	labels := map[string]string{appLabel: o.name}
	meta := metav1.ObjectMeta{Name: o.name, Labels: map[string]string{appLabel: o.name}}
	for k, v := range o.labels {
		meta.Labels[k] = v
	}
	ctr, volumes, err := o.container()
	if err != nil {
		return nil, nil, err
	}
	d := &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Replicas: &o.replicas,
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{*ctr}, Volumes: volumes},
		},
	}}
	if len(o.publish) == 0 {
		return d, nil, nil
	}
	svc := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: labels}}
	for i, p := range o.publish {
		port, err := parsePublish(p)
		if err != nil {
			return nil, nil, err
		}
		port.Name = "p" + strconv.Itoa(i)
		svc.Spec.Ports = append(svc.Spec.Ports, port)
		d.Spec.Template.Spec.Containers[0].Ports = append(d.Spec.Template.Spec.Containers[0].Ports,
			corev1.ContainerPort{ContainerPort: port.TargetPort.IntVal, Protocol: port.Protocol})
	}
	return d, svc, nil
}

func (o *runOptions) container() (*corev1.Container, []corev1.Volume, error) {
	c := &corev1.Container{Name: o.name, Image: o.image, Args: o.command}
	for _, e := range o.env {
		k, v, ok := strings.Cut(e, "=")
		if !ok || k == "" {
			return nil, nil, usagef("--env: %q is not KEY=VALUE", e)
		}
		c.Env = append(c.Env, corev1.EnvVar{Name: k, Value: v})
	}
	switch o.pull {
	case "":
	case "always":
		c.ImagePullPolicy = corev1.PullAlways
	case "missing":
		c.ImagePullPolicy = corev1.PullIfNotPresent
	case "never":
		c.ImagePullPolicy = corev1.PullNever
	default:
		return nil, nil, usagef("--pull: %q is unknown: want always, missing or never", o.pull)
	}
	c.Resources.Requests, c.Resources.Limits = corev1.ResourceList{}, corev1.ResourceList{}
	for _, r := range []struct {
		flag, value string
		name        corev1.ResourceName
	}{{"cpus", o.cpus, corev1.ResourceCPU}, {"memory", o.memory, corev1.ResourceMemory}} {
		if r.value == "" {
			continue
		}
		q, err := resource.ParseQuantity(r.value)
		if err != nil || q.Sign() <= 0 {
			return nil, nil, usagef("--%s: %q is not a positive quantity such as 0.5 or 256Mi", r.flag, r.value)
		}
		c.Resources.Requests[r.name], c.Resources.Limits[r.name] = q, q
	}
	var volumes []corev1.Volume
	for i, m := range o.mounts {
		v, mount, err := parseMount(m, "m"+strconv.Itoa(i))
		if err != nil {
			return nil, nil, err
		}
		volumes, c.VolumeMounts = append(volumes, v), append(c.VolumeMounts, mount)
	}
	return c, volumes, nil
}

// parsePublish reads NODEPORT:PORT[/PROTOCOL].
func parsePublish(s string) (corev1.ServicePort, error) {
	ports, proto, _ := strings.Cut(s, "/")
	p := corev1.ServicePort{Protocol: corev1.ProtocolTCP}
	switch strings.ToLower(proto) {
	case "", "tcp":
	case "udp":
		p.Protocol = corev1.ProtocolUDP
	default:
		return p, usagef("--publish %s: protocol %q is unknown: want tcp or udp", s, proto)
	}
	out, in, ok := strings.Cut(ports, ":")
	outside, err := strconv.ParseUint(out, 10, 16)
	inside, err2 := strconv.ParseUint(in, 10, 16)
	if !ok || err != nil || err2 != nil || outside == 0 || inside == 0 {
		return p, usagef("--publish %s: want NODEPORT:PORT with ports from 1 to 65535, such as 8088:80", s)
	}
	p.Port, p.TargetPort = int32(outside), intstr.FromInt32(int32(inside))
	return p, nil
}

// parseMount reads HOSTPATH:PATH[:ro]; an empty HOSTPATH is an empty folder.
func parseMount(s, name string) (corev1.Volume, corev1.VolumeMount, error) {
	v, m := corev1.Volume{Name: name}, corev1.VolumeMount{Name: name}
	parts := strings.Split(s, ":")
	if len(parts) == 3 && parts[2] == "ro" {
		m.ReadOnly = true
		parts = parts[:2]
	}
	if len(parts) != 2 || !filepath.IsAbs(parts[1]) || (parts[0] != "" && !filepath.IsAbs(parts[0])) {
		return v, m, usagef("--mount %s: want HOSTPATH:PATH[:ro] with absolute paths, or :PATH for an empty folder", s)
	}
	m.MountPath = parts[1]
	if parts[0] == "" {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	} else {
		t := corev1.HostPathDirectoryOrCreate
		v.HostPath = &corev1.HostPathVolumeSource{Path: parts[0], Type: &t}
	}
	return v, m, nil
}

// awaitApp shows how an app comes up and returns when its newest version runs
// and is ready everywhere.
func (a *app) awaitApp(ctx context.Context, cs kubernetes.Interface, ns, name string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := newProgress(a.err)
	defer p.Done()
	state := "waiting"
	for d, err := range deployments(ctx, cs, ns, name) {
		if err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("app %s: not ready after %s: %s (`trireme ps %s` and `trireme why POD` say more)", name, timeout, state, name)
			}
			return err
		}
		if state = rolloutState(ctx, cs, ns, d); state == "" {
			p.Count(1, 1, fmt.Sprintf("%d/%d ready", d.Status.AvailableReplicas, *d.Spec.Replicas))
			return nil
		}
		p.Count(int(d.Status.AvailableReplicas), int(*d.Spec.Replicas), state)
		if failed(d) {
			return fmt.Errorf("app %s: the rollout does not get on: %s (`trireme ps %s` and `trireme why POD` say more)", name, state, name)
		}
	}
	return ctx.Err()
}

func failed(d *appsv1.Deployment) bool {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			return d.Status.ObservedGeneration >= d.Generation
		}
	}
	return false
}

// rolloutState says what a rollout waits for, nothing where it is done.
func rolloutState(ctx context.Context, cs kubernetes.Interface, ns string, d *appsv1.Deployment) string {
	want, st := *d.Spec.Replicas, &d.Status
	if st.ObservedGeneration >= d.Generation && st.UpdatedReplicas >= want && st.AvailableReplicas >= want && st.Replicas <= want {
		return ""
	}
	s := fmt.Sprintf("%d/%d ready", st.AvailableReplicas, want)
	pods, err := cs.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector), Limit: 500, ResourceVersion: "0"})
	if err != nil {
		return s
	}
	counts := map[string]int{}
	var pulls map[types.UID]bool
	for i := range pods.Items {
		p := &pods.Items[i]
		word := podState(p)
		if p.Spec.NodeName != "" && (word == string(corev1.PodPending) || word == "ContainerCreating") {
			if pulls == nil {
				pulls = pulling(ctx, cs, ns)
			}
			if word = "starting"; pulls[p.UID] {
				word = "pulling"
			}
		}
		if word != "Running" {
			counts[word]++
		}
	}
	for _, word := range sortedKeys(counts) {
		s += fmt.Sprintf(", %d %s", counts[word], word)
	}
	return s
}

// pulling returns the pods that began to pull an image and have not got it yet,
// as their events tell.
func pulling(ctx context.Context, cs kubernetes.Interface, ns string) map[types.UID]bool {
	out := map[types.UID]bool{}
	for _, reason := range []string{"Pulling", "Pulled"} {
		events, err := cs.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("reason", reason).String()})
		if err != nil {
			return out // it is only for show
		}
		for i := range events.Items {
			out[events.Items[i].InvolvedObject.UID] = reason == "Pulling"
		}
	}
	return out
}
