package validate

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestResizePolicy(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	for name, tt := range map[string]struct {
		list    []corev1.ContainerResizePolicy
		restart corev1.RestartPolicy
		sidecar bool
		want    string
	}{
		"both":        {[]corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: "NotRequired"}, {ResourceName: "memory", RestartPolicy: "RestartContainer"}}, "Always", false, ""},
		"twice":       {[]corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: "NotRequired"}, {ResourceName: "cpu", RestartPolicy: "NotRequired"}}, "Always", false, "resizePolicy[1]: Duplicate"},
		"disk":        {[]corev1.ContainerResizePolicy{{ResourceName: "ephemeral-storage", RestartPolicy: "NotRequired"}}, "Always", false, "resourceName: Unsupported value"},
		"none":        {[]corev1.ContainerResizePolicy{{ResourceName: "cpu"}}, "Always", false, "restartPolicy: Required"},
		"never":       {[]corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: "RestartContainer"}}, "Never", false, "must be 'NotRequired'"},
		"a sidecar's": {[]corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: "RestartContainer"}}, "Never", true, ""},
	} {
		c := &corev1.Container{Name: "c", Image: "i", ImagePullPolicy: "Always", ResizePolicy: tt.list}
		s := &corev1.PodSpec{RestartPolicy: tt.restart, DNSPolicy: "Default", Containers: []corev1.Container{*c}}
		if tt.sidecar {
			c.RestartPolicy = &always
			s.InitContainers, s.Containers = []corev1.Container{*c}, []corev1.Container{{Name: "main", Image: "i", ImagePullPolicy: "Always"}}
		}
		got := ""
		if err := podSpec(s, nil).ToAggregate(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestHugePages(t *testing.T) {
	for name, tt := range map[string]struct{ request, limit, memory, want string }{
		"as it should":   {"2Mi", "2Mi", "1Gi", ""},
		"no limit":       {"2Mi", "", "1Gi", "must be equal to hugepages-2Mi limit"},
		"a larger limit": {"2Mi", "4Mi", "1Gi", "must be equal to hugepages-2Mi limit"},
		"nothing else":   {"2Mi", "2Mi", "", "HugePages require cpu or memory"},
	} {
		r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
		set := func(l corev1.ResourceList, name corev1.ResourceName, s string) {
			if s != "" {
				l[name] = resource.MustParse(s)
			}
		}
		set(r.Requests, "hugepages-2Mi", tt.request)
		set(r.Limits, "hugepages-2Mi", tt.limit)
		set(r.Limits, "memory", tt.memory)
		got := ""
		if err := Resources(&r, nil).ToAggregate(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
