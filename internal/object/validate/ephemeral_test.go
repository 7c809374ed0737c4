package validate

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEphemeralUpdate(t *testing.T) {
	debugger := func(change func(*corev1.EphemeralContainer)) corev1.EphemeralContainer {
		e := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debugger", Image: "i", ImagePullPolicy: corev1.PullAlways, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		}}
		if change != nil {
			change(&e)
		}
		return e
	}
	for name, tt := range map[string]struct {
		old, next []corev1.EphemeralContainer
		mirror    bool
		want      string
	}{
		"added":          {nil, []corev1.EphemeralContainer{debugger(nil)}, false, ""},
		"with a target":  {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) { e.TargetContainerName = "c" })}, false, ""},
		"kept":           {[]corev1.EphemeralContainer{debugger(nil)}, []corev1.EphemeralContainer{debugger(nil)}, false, ""},
		"removed":        {[]corev1.EphemeralContainer{debugger(nil)}, nil, false, "may not be removed"},
		"changed":        {[]corev1.EphemeralContainer{debugger(nil)}, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) { e.Image = "j" })}, false, "may not be changed"},
		"a taken name":   {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) { e.Name = "c" })}, false, "ephemeralContainers[0].name: Duplicate"},
		"twice":          {nil, []corev1.EphemeralContainer{debugger(nil), debugger(nil)}, false, "ephemeralContainers[1].name: Duplicate"},
		"no such target": {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) { e.TargetContainerName = "x" })}, false, "targetContainerName: Not found"},
		"ports": {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) {
			e.Ports = []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}}
		})}, false, "ports: Forbidden"},
		"a probe": {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) { e.LivenessProbe = &corev1.Probe{} })}, false, "livenessProbe: Forbidden"},
		"a sub path": {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) {
			e.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: "s"}}
		})}, false, "subPath: Forbidden"},
		"restart rules": {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) {
			e.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart}}
		})}, false, "restartPolicyRules: Forbidden"},
		"a restart policy": {nil, []corev1.EphemeralContainer{debugger(func(e *corev1.EphemeralContainer) {
			e.RestartPolicy = new(corev1.ContainerRestartPolicyNever)
		})}, false, "restartPolicy: Forbidden"},
		"a static pod": {nil, []corev1.EphemeralContainer{debugger(nil)}, true, "static pods"},
	} {
		old := &corev1.Pod{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c"}}, EphemeralContainers: tt.old,
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		}}
		if tt.mirror {
			old.ObjectMeta = metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}
		}
		next := old.DeepCopy()
		next.Spec.EphemeralContainers = tt.next
		got := ""
		if err := EphemeralUpdate(next, old).ToAggregate(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestTheMainResourceLeavesEphemeralContainersAlone(t *testing.T) {
	old := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	next := old.DeepCopy()
	next.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "d"}}}
	if errs := podUpdate(next, old); len(errs) == 0 {
		t.Error("a pod's update may add ephemeral containers")
	}
	if errs := pod(next); len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), "cannot be set on create") {
		t.Errorf("at creation: %v", errs)
	}
}
