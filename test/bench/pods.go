package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/test/cluster"
)

// restsAfter is when a manager that started many pods has come to rest: it tells nodes,
// counts and compacts for a while, and gives memory back when it is quiet.
const restsAfter = 45 * time.Second

// manyPods measures the manager with n running pods of a usual size: its memory
// when it has come to rest, and how long a list of all of them takes.
func manyPods(n int) func(context.Context, *config) ([]line, error) {
	return func(ctx context.Context, c *config) ([]line, error) {
		var lines []line
		err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
			var err error
			lines, err = manyPodsOn(ctx, c, h, n)
			return err
		})
		return lines, err
	}
}

func manyPodsOn(ctx context.Context, c *config, h *cluster.Host, n int) ([]line, error) {
	nodes := n / 100
	cs, stop, err := hollowNodes(ctx, c, h, nodes)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := post(ctx, cs, "fleet", n, usualPod()); err != nil {
		return nil, err
	}
	if err := h.Await(ctx, fmt.Sprintf("%d pods run", n), func() error { return allRun(ctx, cs, n) }); err != nil {
		return nil, err
	}
	var lines []line
	if n <= 10_000 {
		l, err := runLoad(ctx, c, h, load{Verb: "list", Clients: 1, Seconds: 4, HTTP: 2})
		if err != nil {
			return nil, err
		}
		lines = append(lines, line{fmt.Sprintf("list_%dk_pods_ms", n/1000), l["p50_ms"].(float64), "ms", l})
	}
	select {
	case <-time.After(restsAfter):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	mem, err := memory(h.Pid())
	if err != nil {
		return nil, err
	}
	if err := c.profile(ctx, h, fmt.Sprintf("rss_%dk", n/1000), "heap"); err != nil {
		return nil, err
	}
	return append(lines, line{fmt.Sprintf("rss_%dk_pods_mb", n/1000), mem["VmRSS"], "MB", map[string]any{
		"nodes": nodes, "pods": n, "anonymous_mb": mem["RssAnon"], "peak_mb": mem["VmHWM"], "idle_s": restsAfter.Seconds(),
	}}), nil
}

// usualPod is a pod as people write them: 3 KiB encoded once it runs.
func usualPod() corev1.PodSpec {
	var env []corev1.EnvVar
	for i := range 15 {
		env = append(env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", i), Value: "some-value-of-usual-length"})
	}
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}}
	return corev1.PodSpec{
		Containers: []corev1.Container{{
			Name: "c", Image: "trireme.local/web:1", Env: env, ReadinessProbe: probe, LivenessProbe: probe,
			Ports:        []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}},
			VolumeMounts: []corev1.VolumeMount{{Name: "settings", MountPath: "/etc/settings"}, {Name: "scratch", MountPath: "/tmp"}},
		}},
		Volumes: []corev1.Volume{
			{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
		TerminationGracePeriodSeconds: new(int64),
		Tolerations:                   []corev1.Toleration{{Key: "spot", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
		SecurityContext:               &corev1.PodSecurityContext{RunAsNonRoot: new(bool)},
	}
}
