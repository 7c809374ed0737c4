package swarm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

func extra(labels map[string]string) *Service {
	s := &Service{}
	s.Spec.Name, s.Spec.Labels = "web", labels
	s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "web:1", Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/data"}}}
	return s
}

// TestExtras checks what the labels of a service make of a task's pod.
func TestExtras(t *testing.T) {
	s := extra(map[string]string{
		DependsOnLabel: "db=service_healthy, cache?", PrivilegedLabel: "true", PIDLabel: "host", IPCLabel: "host",
		DevicesLabel: "/dev/fuse,/dev/sda:/dev/disk:r", ResourcesLabel: "nvidia.com/gpu=2",
		InitLabel:    `[{"Image":"web:1","Args":["chown"],"Mounts":[{"Type":"tmpfs","Target":"/scratch"}]}]`,
		PreStopLabel: `["drain"]`, PostStartLabel: `["warm"]`,
	})
	got, err := s.Template(Task{Slot: "1"})
	if err != nil {
		t.Fatal(err)
	}
	p, c := got.Spec, got.Spec.Containers[0]
	if diff := cmp.Diff([]corev1.PodSchedulingGate{{Name: "depends-on.trireme.dev/cache"}, {Name: "depends-on.trireme.dev/db"}}, p.SchedulingGates); diff != "" {
		t.Errorf("gates (-want +got):\n%s", diff)
	}
	if !*c.SecurityContext.Privileged || !p.HostPID || !p.HostIPC || c.Lifecycle.PreStop.Exec.Command[0] != "drain" || c.Lifecycle.PostStart.Exec.Command[0] != "warm" {
		t.Errorf("the pod is %+v", p)
	}
	if n := c.Resources.Limits["nvidia.com/gpu"]; n.Value() != 2 {
		t.Errorf("it may use %s GPUs", n.String())
	}
	if diff := cmp.Diff(map[string]string{"device-0": "rwm", "device-1": "r"}, object.Devices(&corev1.Pod{ObjectMeta: got.ObjectMeta, Spec: p})); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	var at []string
	for _, m := range p.InitContainers[0].VolumeMounts {
		at = append(at, m.Name+":"+m.MountPath)
	}
	if diff := cmp.Diff([]string{"init-0-mount-0:/scratch", "mount-0:/data"}, at[:2]); diff != "" {
		t.Errorf("mounts of the init container (-want +got):\n%s", diff)
	}
	if s.Generation() == extra(nil).Generation() {
		t.Error("labels that change the pod do not make tasks new")
	}
	if s := extra(map[string]string{"other": "x"}); s.Generation() != extra(nil).Generation() {
		t.Error("a label of the user's makes tasks new")
	}
}

// TestExtrasNameWhatIsWrong checks that each label's error names it and says how it is
// written.
func TestExtrasNameWhatIsWrong(t *testing.T) {
	for label, bad := range map[string]string{
		DependsOnLabel: "db=ready", PrivilegedLabel: "yes", PIDLabel: "container:x", IPCLabel: "shareable", DevicesLabel: "fuse",
		ResourcesLabel: "gpu=1", InitLabel: "chown", PreStopLabel: "drain", PostStartLabel: "[]",
		PublishAddressLabel: "eth0", KeepClientLabel: "yes", "trireme.dev/privilege": "true",
	} {
		err := extra(map[string]string{label: bad}).Check()
		if err == nil || !strings.Contains(err.Error(), label) {
			t.Errorf("%s: %s: %v; want an error that names it", label, bad, err)
		}
	}
}
