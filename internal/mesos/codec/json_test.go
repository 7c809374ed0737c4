package codec

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/mesos/v1/quota"
	"trireme/internal/mesos/v1/scheduler"
)

func TestPrint(t *testing.T) {
	for _, tt := range []struct {
		m    proto.Message
		want string
	}{
		{&mesosv1.Value_Scalar{Value: proto.Float64(4)}, `{"value":4.0}`},
		{&mesosv1.Value_Scalar{Value: proto.Float64(0.001)}, `{"value":0.001}`},
		{&mesosv1.Value_Scalar{Value: proto.Float64(1e22)}, `{"value":1e+22}`},
		{&mesosv1.Value_Scalar{Value: proto.Float64(math.Inf(1))}, `{"value":"Infinity"}`},
		{&mesosv1.Value_Scalar{Value: proto.Float64(math.Inf(-1))}, `{"value":"-Infinity"}`},
		{&mesosv1.TimeInfo{Nanoseconds: proto.Int64(math.MaxInt64)}, `{"nanoseconds":9223372036854775807}`},
		{&mesosv1.TaskID{Value: proto.String("a\"\\\n\x01é\U0001f6a2/<")}, `{"value":"a\"\\\n\u0001\u00e9\ud83d\udea2/<"}`},
		{&mesosv1.TaskID{Value: proto.String("\xff")}, `{"value":"\ufffd"}`},
		// Defaults of optional fields are printed, unless the field is deprecated.
		{&mesosv1.FrameworkInfo{User: proto.String("u"), Name: proto.String("n"), Capabilities: []*mesosv1.FrameworkInfo_Capability{
			{Type: mesosv1.FrameworkInfo_Capability_MULTI_ROLE.Enum()}}},
			`{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false,"capabilities":[{"type":"MULTI_ROLE"}]}`},
		{&quota.QuotaConfig{Role: proto.String("r"), Limits: map[string]*mesosv1.Value_Scalar{
			"mem": {Value: proto.Float64(2)}, "cpus": {Value: proto.Float64(1)}}},
			`{"role":"r","limits":{"cpus":{"value":1.0},"mem":{"value":2.0}}}`},
		{&mesosv1.TaskStatus{TaskId: &mesosv1.TaskID{Value: proto.String("t")}, State: mesosv1.TaskState_TASK_RUNNING.Enum(), Uuid: []byte{0xfb, 0xff}},
			`{"task_id":{"value":"t"},"state":"TASK_RUNNING","uuid":"+/8="}`},
	} {
		got := string(AppendJSON(nil, tt.m))
		if got != tt.want {
			t.Errorf("printed %s\nwant    %s", got, tt.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("printed %s, which is no JSON", got)
		}
	}
}

func TestStoredFormIsTheSameMessageAgain(t *testing.T) {
	constraint := func(s *scheduler.AttributeConstraint_Selector, p *scheduler.AttributeConstraint_Predicate) *scheduler.AttributeConstraint {
		return &scheduler.AttributeConstraint{Selector: s, Predicate: p}
	}
	for _, m := range []proto.Message{offers(3), &scheduler.OfferConstraints{RoleConstraints: map[string]*scheduler.OfferConstraints_RoleConstraints{
		"é": {Groups: []*scheduler.OfferConstraints_RoleConstraints_Group{{AttributeConstraints: []*scheduler.AttributeConstraint{
			constraint(&scheduler.AttributeConstraint_Selector{Selector: &scheduler.AttributeConstraint_Selector_AttributeName{AttributeName: "rack"}},
				&scheduler.AttributeConstraint_Predicate{Predicate: &scheduler.AttributeConstraint_Predicate_TextEquals_{TextEquals: &scheduler.AttributeConstraint_Predicate_TextEquals{Value: proto.String("r1")}}}),
			constraint(&scheduler.AttributeConstraint_Selector{Selector: &scheduler.AttributeConstraint_Selector_PseudoattributeType_{PseudoattributeType: scheduler.AttributeConstraint_Selector_HOSTNAME}},
				&scheduler.AttributeConstraint_Predicate{Predicate: &scheduler.AttributeConstraint_Predicate_Exists_{Exists: &scheduler.AttributeConstraint_Predicate_Exists{}}}),
		}}}},
	}}, &master.Call_DrainAgent{AgentId: &mesosv1.AgentID{Value: proto.String("a")}, MaxGracePeriod: durationpb.New(3), MarkGone: proto.Bool(false)},
		&mesosv1.TaskInfo{Data: []byte{}, Name: proto.String("")}} {
		again := m.ProtoReflect().New().Interface()
		if err := ParseJSON(AppendStored(nil, m), again); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(m, again) {
			t.Errorf("came back as %v\nwant         %v", again, m)
		}
	}
}

func TestParse(t *testing.T) {
	str := proto.String
	for _, tt := range []struct {
		name, text string
		want       proto.Message
	}{
		{"null is unset, unknown keys are ignored", `{"value":"x","nothing":[1,{"a":"\u00e9"}],"other":null}`, &mesosv1.TaskID{Value: str("x")}},
		{"null for a repeated field, a message and an element",
			`{"role":"r","limits":null,"guarantees":{"cpus":null,"mem":{"value":1}}}`,
			&quota.QuotaConfig{Role: str("r"), Guarantees: map[string]*mesosv1.Value_Scalar{"mem": {Value: proto.Float64(1)}}}},
		{"numeric strings", `{"value":" 1.5 "}`, &mesosv1.Value_Scalar{Value: proto.Float64(1.5)}},
		{"infinity", `{"value":"Infinity"}`, &mesosv1.Value_Scalar{Value: proto.Float64(math.Inf(1))}},
		{"an integer as a string and one with a point", `{"begin":"7","end":8.0}`, &mesosv1.Value_Range{Begin: proto.Uint64(7), End: proto.Uint64(8)}},
		{"2^64-1", `{"begin":0,"end":18446744073709551615}`, &mesosv1.Value_Range{Begin: proto.Uint64(0), End: proto.Uint64(math.MaxUint64)}},
		{"bools as strings", `{"shell":"true","value":"sleep 1"}`, &mesosv1.CommandInfo{Shell: proto.Bool(true), Value: str("sleep 1")}},
		{"an unknown name of an optional enum is dropped", `{"type":"NOT_YET_INVENTED"}`, &scheduler.Call{}},
		{"and out of a repeated field, nulls too", `{"name":"n","user":"u","roles":["a",null,"b"],"capabilities":[{"type":"NEW"},null,{"type":"GPU_RESOURCES"}]}`,
			&mesosv1.FrameworkInfo{Name: str("n"), User: str("u"), Roles: []string{"a", "b"}, Capabilities: []*mesosv1.FrameworkInfo_Capability{
				{}, {Type: mesosv1.FrameworkInfo_Capability_GPU_RESOURCES.Enum()}}}},
		{"a lone value is a list of one", `{"name":"n","user":"u","roles":"a"}`, &mesosv1.FrameworkInfo{Name: str("n"), User: str("u"), Roles: []string{"a"}}},
		{"the last of two members counts", `{"name":"n","user":"u","roles":["a"],"roles":["b"],"id":{"value":"1"},"id":{}}`,
			&mesosv1.FrameworkInfo{Name: str("n"), User: str("u"), Roles: []string{"b"}, Id: &mesosv1.FrameworkID{}}},
		{"bytes", `{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"+/8="}`, &scheduler.Call_Acknowledge{
			AgentId: &mesosv1.AgentID{Value: str("a")}, TaskId: &mesosv1.TaskID{Value: str("t")}, Uuid: []byte{0xfb, 0xff}}},
		{"escapes and surrogates", `{"value":"\ud83d\udea2\ud83d\n\/\"\\\u00E9é"}`, &mesosv1.TaskID{Value: str("\U0001f6a2\ufffd\n/\"\\éé")}},
	} {
		got := tt.want.ProtoReflect().New().Interface()
		if err := ParseJSON([]byte(tt.text), got); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if !proto.Equal(got, tt.want) {
			t.Errorf("%s: parsed %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	deep := strings.Repeat(`{"container_id":{"parent":`, 1) + strings.Repeat(`{"parent":`, 300) + "{}" + strings.Repeat("}", 302)
	for _, tt := range []struct {
		m          proto.Message
		text, want string
	}{
		{&mesosv1.TaskID{}, `[]`, "Expecting a JSON object"},
		{&mesosv1.TaskID{}, ``, "syntax error at byte 0: expecting a value"},
		{&mesosv1.TaskID{}, `{"value":"x"} {}`, "syntax error at byte 14: something follows the object"},
		{&mesosv1.TaskID{}, `{"value":"x",}`, "syntax error at byte 13: expecting a string"},
		{&mesosv1.TaskID{}, `{"value":3}`, "Not expecting a JSON number for field 'value'"},
		{&mesosv1.TaskID{}, `{"value":{}}`, "Not expecting a JSON object for field 'value'"},
		{&mesosv1.TaskID{}, `{"value":["x"]}`, "Not expecting a JSON array for field 'value'"},
		{&mesosv1.TaskID{}, `{"value":true}`, "Not expecting a JSON boolean for field 'value'"},
		{&mesosv1.TaskID{}, `{"value":3`, "syntax error at byte 10: no JSON"},
		{&mesosv1.TaskID{}, "{\"value\":\"\n\"}", "syntax error at byte 10: a control character in a string"},
		{&mesosv1.TaskID{}, `{"value":"\u12"}`, "syntax error at byte 11: expecting four hex digits"},
		{&scheduler.Call{}, `{"type":1}`, "Not expecting a JSON number for field 'type'"},
		{&scheduler.Call{}, `{"framework_id":"x"}`, "Not expecting a JSON string for field 'framework_id'"},
		{&mesosv1.Value_Scalar{}, `{"value":01}`, "syntax error at byte 10: expecting , or } to go on after {"},
		{&mesosv1.Value_Scalar{}, `{"value":"1x"}`, "Failed to parse '1x' as a JSON number for field 'value'"},
		{&mesosv1.Value_Scalar{}, `{"value":1e999}`, "Number 1e999 is out of the range of field 'value', a double"},
		{&mesosv1.Value_Range{}, `{"begin":-1}`, "Number -1 is out of the range of field 'begin', a uint64"},
		{&mesosv1.Value_Range{}, `{"begin":"Infinity"}`, "Number +Inf is out of the range of field 'begin', a uint64"},
		{&mesosv1.TimeInfo{}, `{"nanoseconds":1.5}`, "Number 1.5 is out of the range of field 'nanoseconds', a int64"},
		{&mesosv1.Port{}, `{"number":4294967296}`, "Number 4294967296 is out of the range of field 'number', a uint32"},
		{&mesosv1.CommandInfo{}, `{"shell":"yes"}`, "Failed to parse 'yes' as a JSON boolean for field 'shell'"},
		{&mesosv1.CommandInfo{}, `{"shell":1}`, "Not expecting a JSON number for field 'shell'"},
		{&mesosv1.TaskStatus{}, `{"state":"TASK_LATE"}`, "Failed to find enum for 'TASK_LATE'"},
		{&mesosv1.TaskStatus{}, `{"uuid":"*"}`, "Failed to base64 decode bytes field 'uuid': illegal base64 data at input byte 0"},
		{&quota.QuotaConfig{}, `{"limits":[]}`, "Not expecting a JSON array for field 'limits'"},
		{&quota.QuotaConfig{}, `{"limits":{"cpus":1}}`, "Not expecting a JSON number for field 'limits'"},
		{&mesosv1.ContainerStatus{}, deep, "nested too deeply"},
	} {
		err := ParseJSON([]byte(tt.text), tt.m)
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%.60s: %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestMissing(t *testing.T) {
	call := &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(),
		Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: &mesosv1.FrameworkInfo{Name: proto.String("n")}},
		Accept:    &scheduler.Call_Accept{OfferIds: []*mesosv1.OfferID{{Value: proto.String("o")}, {}}},
	}
	got := strings.Join(Missing(call), ", ")
	if want := "subscribe.framework_info.user, accept.offer_ids[1].value"; got != want {
		t.Errorf("missing %s, want %s", got, want)
	}
	limits := &quota.QuotaConfig{Limits: map[string]*mesosv1.Value_Scalar{"cpus": {}}}
	got = strings.Join(Missing(limits), ", ")
	if want := "role, limits[cpus].value"; got != want {
		t.Errorf("missing %s, want %s", got, want)
	}
	if names := Missing(offers(1)); names != nil {
		t.Errorf("a whole message misses %v", names)
	}
}

// TestMapsHaveStringKeys holds what the codec relies on.
func TestMapsHaveStringKeys(t *testing.T) {
	seen := 0
	var look func(ds protoreflect.MessageDescriptors)
	look = func(ds protoreflect.MessageDescriptors) {
		for i := range ds.Len() {
			for j := range ds.Get(i).Fields().Len() {
				if f := ds.Get(i).Fields().Get(j); f.IsMap() {
					seen++
					if f.MapKey().Kind() != protoreflect.StringKind {
						t.Errorf("%s has keys that are no strings", f.FullName())
					}
				}
			}
			look(ds.Get(i).Messages())
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("mesos.v1", func(f protoreflect.FileDescriptor) bool {
		look(f.Messages())
		return true
	})
	if seen == 0 {
		t.Error("no map at all")
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","roles":["a"],"offer_filters":{"a":{"min_allocatable_resources":{"quantities":[{"quantities":{"cpus":{"value":"Infinity"}}}]}}}}}}`))
	f.Add([]byte(`{"type":"ACCEPT","framework_id":{"value":"\ud83d\u00e9"},"accept":{"offer_ids":[{"value":"o"},null],"filters":{"refuse_seconds":"1.5"},"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"data":"AAA="}]}}]}}`))
	f.Add([]byte(`{"update_framework":null,"message":{"data":"+/8="},"acknowledge":{},"x":[{"y":[true,false,null,-1.5e+3]}]}`))
	f.Add(AppendJSON(nil, offers(2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []proto.Message{&scheduler.Call{}, &scheduler.Event{}, &master.Call{}} {
			err := ParseJSON(data, m)
			if err != nil {
				continue
			}
			if !json.Valid(data) {
				t.Fatalf("took %q, which is no JSON", data)
			}
			again := m.ProtoReflect().New().Interface()
			stored := AppendStored(nil, m)
			if err := ParseJSON(stored, again); err != nil || !proto.Equal(m, again) {
				t.Fatalf("%s came back as %v (%v), want %v", stored, again, err, m)
			}
			if !json.Valid(AppendJSON(nil, m)) {
				t.Fatalf("printed no JSON: %s", AppendJSON(nil, m))
			}
			Missing(m)
		}
	})
}
