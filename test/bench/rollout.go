package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"trireme/test/cluster"
)

// rollout measures how many requests fail while ten replicas are replaced, under
// load from a machine that runs none of them.
func rollout(ctx context.Context, c *config) ([]line, error) {
	var l line
	err := hosts(ctx, c, 3, func(ctx context.Context, cl *cluster.Cluster) error {
		if err := cl.Hosts[0].Admit(ctx, cl.Hosts[1:]...); err != nil {
			return err
		}
		cs, err := client(ctx, cl.Hosts[0])
		if err != nil {
			return err
		}
		asks := cl.Hosts[2]
		nodes := cs.CoreV1().Nodes()
		if _, err := nodes.Patch(ctx, asks.Name, types.StrategicMergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{}); err != nil {
			return err
		}
		svc, err := tenReplicas(ctx, cs)
		if err != nil {
			return err
		}
		if err := cl.Hosts[0].Await(ctx, "ten replicas are ready", func() error { return rolledOut(ctx, cs) }); err != nil {
			return err
		}
		loadCtx, stop := context.WithCancel(ctx)
		defer stop()
		done := make(chan cluster.Outcome, 1)
		go func() {
			done <- cluster.Load{From: asks.Place(), URL: "http://" + svc.Spec.ClusterIP + "/", Clients: 16}.Run(loadCtx)
		}()
		began := time.Now()
		image := `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"trireme.local/web:2"}]}}}}`
		if _, err := cs.AppsV1().Deployments("default").Patch(ctx, "web", types.StrategicMergePatchType, []byte(image), metav1.PatchOptions{}); err != nil {
			return err
		}
		if err := cl.Hosts[0].Await(ctx, "ten replicas are new", func() error { return rolledOut(ctx, cs) }); err != nil {
			return err
		}
		took := time.Since(began)
		stop()
		o := <-done
		l = line{"rollout_failed_requests", float64(o.Failed), "requests", map[string]any{
			"requests": o.Requests, "resets": o.Resets, "slowest_ms": ms(o.Slowest), "rollout_s": took.Seconds(), "errors": o.Errors,
		}}
		return nil
	})
	return []line{l}, err
}

// tenReplicas makes a web service of ten replicas that say when they are ready.
func tenReplicas(ctx context.Context, cs kubernetes.Interface) (*corev1.Service, error) {
	n, labels := int32(10), map[string]string{"app": "web"}
	_, err := cs.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "web", Image: webImage, Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
					HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)},
				}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return cs.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
}

// rolledOut returns nil when the Deployment web has only new replicas, all ready.
func rolledOut(ctx context.Context, cs kubernetes.Interface) error {
	d, err := cs.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if s, n := d.Status, *d.Spec.Replicas; s.ObservedGeneration < d.Generation || s.UpdatedReplicas < n || s.Replicas > n || s.AvailableReplicas < n {
		return fmt.Errorf("%d updated, %d available of %d", s.UpdatedReplicas, s.AvailableReplicas, s.Replicas)
	}
	return nil
}

// hosts runs f on n fresh test machines, the first of which is a cluster that the
// others may join.
func hosts(ctx context.Context, c *config, n int, f func(ctx context.Context, cl *cluster.Cluster) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cl, err := cluster.New(ctx, cluster.Config{Hosts: n, Binary: c.binary})
	if err != nil {
		return err
	}
	if err = cl.Hosts[0].Start(); err == nil {
		err = cl.Hosts[0].Ready(ctx)
	}
	if err == nil {
		err = f(ctx, cl)
	}
	if err != nil {
		for _, h := range cl.Hosts {
			err = fmt.Errorf("%w\n%s:\n%s", err, h.Name, h.LogTail(40))
		}
	}
	return errors.Join(err, cl.Close())
}
