package resize

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestUpdate(t *testing.T) {
	list := func(words ...string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for i := 0; i < len(words); i += 2 {
			l[corev1.ResourceName(words[i])] = resource.MustParse(words[i+1])
		}
		return l
	}
	always := corev1.ContainerRestartPolicyAlways
	old := func() *corev1.Pod {
		ask := corev1.ResourceRequirements{Requests: list("cpu", "1", "memory", "1Gi", "ephemeral-storage", "1Gi"), Limits: list("cpu", "2")}
		return &corev1.Pod{Spec: corev1.PodSpec{
			Containers:     []corev1.Container{{Name: "c", Resources: *ask.DeepCopy()}},
			InitContainers: []corev1.Container{{Name: "init", Resources: *ask.DeepCopy()}, {Name: "side", RestartPolicy: &always, Resources: *ask.DeepCopy()}},
		}}
	}
	for name, tt := range map[string]struct {
		change func(next, old *corev1.Pod)
		want   string
	}{
		"nothing":           {func(_, _ *corev1.Pod) {}, ""},
		"more":              {func(p, _ *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = list("cpu", "3") }, ""},
		"a new limit":       {func(p, _ *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = list("cpu", "3", "memory", "2Gi") }, ""},
		"of a sidecar":      {func(p, _ *corev1.Pod) { p.Spec.InitContainers[1].Resources.Limits = list("cpu", "3") }, ""},
		"of an init":        {func(p, _ *corev1.Pod) { p.Spec.InitContainers[0].Resources.Limits = list("cpu", "3") }, "spec.initContainers[0].resources: Forbidden: only the resources of restartable"},
		"below the request": {func(p, _ *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = list("cpu", "500m") }, "must be less than or equal to cpu limit of 500m"},
		"a limit removed":   {func(p, _ *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = nil }, "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"},
		"a request removed": {func(p, _ *corev1.Pod) { delete(p.Spec.Containers[0].Resources.Requests, "cpu") }, "resource requests cannot be removed"},
		"disk": {func(p, _ *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests["ephemeral-storage"] = resource.MustParse("2Gi")
		}, "only cpu and memory resources are mutable"},
		"another resource": {func(p, _ *corev1.Pod) { p.Spec.Containers[0].Resources.Requests["a.com/x"] = resource.MustParse("1") }, "only cpu and memory resources are mutable"},
		"to guaranteed": {func(p, o *corev1.Pod) {
			o.Spec.InitContainers, p.Spec.InitContainers = nil, nil
			p.Spec.Containers[0].Resources.Limits = list("cpu", "1", "memory", "1Gi")
		}, "Pod QOS Class may not change as a result of resizing"},
		"another container":  {func(p, _ *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "more"}) }, "containers may not be added"},
		"a static pod":       {func(_, o *corev1.Pod) { o.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }, "static pods cannot be resized"},
		"pod-level requests": {func(_, o *corev1.Pod) { o.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "5")} }, "pods with pod-level resources cannot be resized"},
	} {
		was := old()
		next := was.DeepCopy()
		tt.change(next, was)
		got := ""
		if err := Update(next, was).ToAggregate(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
