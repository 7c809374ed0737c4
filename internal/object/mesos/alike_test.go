package mesos

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/defaults"
)

// other returns the launch of the same task with other ids, on another agent.
func other(l *Launch) *Launch {
	t := proto.Clone(l.Tasks[0]).(*mesosv1.TaskInfo)
	t.Name, t.TaskId, t.AgentId = proto.String("$(n)"), &mesosv1.TaskID{Value: proto.String("$(u) \"2\"")}, &mesosv1.AgentID{Value: proto.String("s2")}
	return &Launch{Framework: l.Framework, Role: l.Role, Agent: "s2", Tasks: []*mesosv1.TaskInfo{t}}
}

// TestLikeIsThePod: a Pod that is made from another's is the one that is made anew.
func TestLikeIsThePod(t *testing.T) {
	for name, rest := range map[string]string{
		"no image": `,"command":{"value":"x"}`,
		"image":    `,"command":{"value":"x","environment":{"variables":[{"name":"A","value":"$(B)"}]},"uris":[{"value":"http://a/b"}]},"container":{"type":"DOCKER","docker":{"image":"i","network":"BRIDGE","port_mappings":[{"host_port":31001,"container_port":80}]}}`,
		"checked":  `,"command":{"value":"x"},"health_check":{"type":"HTTP","http":{"port":31000,"path":"/h"}},"labels":{"labels":[{"key":"a","value":"b"}]},"limits":{"mem":{"value":"Infinity"},"cpus":{"value":2}},"max_completion_time":{"nanoseconds":5000000000}`,
	} {
		first, err := launchOf(head + rest + "}")
		if err != nil {
			t.Fatal(name, err)
		}
		second := other(first)
		if first.Alike() == "" || first.Alike() != second.Alike() {
			t.Fatalf("%s: %q and %q are not alike", name, first.Alike(), second.Alike())
		}
		pod, err := first.Pod()
		if err != nil {
			t.Fatal(name, err)
		}
		defaults.Pod(pod)
		was := pod.DeepCopy()
		got, err := second.Like(pod)
		if err != nil {
			t.Fatal(name, err)
		}
		want, err := second.Pod()
		if err != nil {
			t.Fatal(name, err)
		}
		defaults.Pod(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -made anew +like another: %s", name, d)
		}
		got.Annotations["x"], got.Spec.Containers[0].Env[0].Value = "y", "z"
		if d := cmp.Diff(was, pod); d != "" {
			t.Errorf("%s: the Pod it was made from changed: %s", name, d)
		}
	}
}

// TestNotAlike: whatever a task says beside its name and ids makes a Pod of its own, and so do
// ids that its Pod shows elsewhere.
func TestNotAlike(t *testing.T) {
	base, err := launchOf(head + `,"command":{"value":"x"}}`)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{"name": true, "task_id": true, "agent_id": true}
	fields := base.Tasks[0].ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		l := other(base)
		m := l.Tasks[0].ProtoReflect()
		switch {
		case f.IsList():
			m.Mutable(f).List().AppendMutable()
		case f.IsMap():
			m.Mutable(f).Map().Mutable(protoreflect.ValueOfString("k").MapKey())
		case f.Kind() == protoreflect.MessageKind && m.Has(f):
			m.Clear(f)
		case f.Kind() == protoreflect.MessageKind:
			m.Mutable(f)
		case f.Kind() == protoreflect.BytesKind:
			m.Set(f, protoreflect.ValueOfBytes([]byte("d")))
		default:
			m.Set(f, protoreflect.ValueOfString("v"))
		}
		if alike := l.Alike() == base.Alike(); alike != ids[string(f.Name())] {
			t.Errorf("with another %s launches are alike: %t", f.Name(), alike)
		}
	}
	for name, rest := range map[string]string{
		"variable": `,"command":{"value":"x","environment":{"variables":[{"name":"MESOS_TASK_ID","value":"mine"}]}}`,
		"volume":   `,"command":{"value":"x"},"resources":[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"persistence":{"id":"p"},"volume":{"mode":"RW","container_path":"p"}}}]`,
	} {
		l, err := launchOf(`{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"s"}` + rest + "}")
		if err != nil || l.Alike() != "" {
			t.Errorf("%s: %v, %q", name, err, l.Alike())
		}
	}
	group := *base
	group.Executor = &mesosv1.ExecutorInfo{}
	if group.Alike() != "" {
		t.Error("a launch with an executor is like another")
	}
}
