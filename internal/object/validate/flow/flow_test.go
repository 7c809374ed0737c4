package flow

import (
	"strings"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

const (
	schemaHead = "metadata: {name: s}\nspec: {matchingPrecedence: 5, priorityLevelConfiguration: {name: l}, "
	levelHead  = "metadata: {name: l}\nspec: {type: Limited, limited: {limitResponse: "
)

func TestObject(t *testing.T) {
	for _, c := range []struct {
		o          runtime.Object
		yaml, want string // part of the faults; empty: none
	}{
		{&flowcontrolv1.FlowSchema{}, schemaHead + "rules: [{subjects: [{kind: User, user: {name: jane}}], resourceRules: [{verbs: ['*'], apiGroups: [''], resources: [pods], namespaces: ['*']}]}]}", ""},
		{&flowcontrolv1.FlowSchema{}, schemaHead + "rules: [{subjects: [{kind: Group, group: {name: g}}], nonResourceRules: [{verbs: [get], nonResourceURLs: [/healthz, /a/*]}]}]}", ""},
		{&flowcontrolv1.FlowSchema{}, "metadata: {name: s}\nspec: {matchingPrecedence: 1, priorityLevelConfiguration: {name: l}}", "only the schema named 'exempt'"},
		{&flowcontrolv1.FlowSchema{}, "metadata: {name: s}\nspec: {matchingPrecedence: 10001}", "spec.priorityLevelConfiguration.name: Required"},
		{&flowcontrolv1.FlowSchema{}, schemaHead + "distinguisherMethod: {type: ByMood}}", "spec.distinguisherMethod.type: Unsupported"},
		{&flowcontrolv1.FlowSchema{}, schemaHead + "rules: [{subjects: [{kind: User, group: {name: g}}]}]}", "spec.rules[0].subjects[0].group: Forbidden"},
		{&flowcontrolv1.FlowSchema{}, schemaHead + "rules: [{subjects: [{kind: User, user: {name: u}}]}]}", "at least one of resourceRules"},
		{&flowcontrolv1.FlowSchema{}, schemaHead + "rules: [{subjects: [{kind: User, user: {name: u}}], resourceRules: [{verbs: ['*', get], apiGroups: [], resources: [pods]}]}]}", "spec.rules[0].resourceRules[0].apiGroups: Required"},
		{&flowcontrolv1.FlowSchema{}, schemaHead + "rules: [{subjects: [{kind: User, user: {name: u}}], nonResourceRules: [{verbs: [get], nonResourceURLs: ['/a*']}]}]}", "nonResourceURLs[0]: Invalid"},
		{&flowcontrolv1.PriorityLevelConfiguration{}, levelHead + "{type: Reject}}}", ""},
		{&flowcontrolv1.PriorityLevelConfiguration{}, levelHead + "{type: Queue, queuing: {queues: 64, handSize: 8, queueLengthLimit: 50}}}}", ""},
		{&flowcontrolv1.PriorityLevelConfiguration{}, levelHead + "{type: Queue}}}", "spec.limited.limitResponse.queuing: Required"},
		{&flowcontrolv1.PriorityLevelConfiguration{}, levelHead + "{type: Queue, queuing: {queues: 1000000, handSize: 8, queueLengthLimit: 1}}}}", "60 bits"},
		{&flowcontrolv1.PriorityLevelConfiguration{}, levelHead + "{type: Queue, queuing: {queues: 4, handSize: 8, queueLengthLimit: 1}}}}", "handSize: Invalid"},
		{&flowcontrolv1.PriorityLevelConfiguration{}, levelHead + "{type: Reject}, lendablePercent: 101, borrowingLimitPercent: -1}}", "spec.limited.borrowingLimitPercent: Invalid"},
		{&flowcontrolv1.PriorityLevelConfiguration{}, "metadata: {name: l}\nspec: {type: Exempt, limited: {}}", "spec.limited: Forbidden"},
		{&flowcontrolv1.PriorityLevelConfiguration{}, "metadata: {name: l}\nspec: {type: Free}", "spec.type: Unsupported"},
	} {
		if err := yaml.UnmarshalStrict([]byte(c.yaml), c.o); err != nil {
			t.Fatal(err)
		}
		errs, known := Object(c.o)
		var got string
		if err := errs.ToAggregate(); err != nil {
			got = err.Error()
		}
		if !known || c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", c.yaml, got, c.want)
		}
	}
}

func FuzzObject(f *testing.F) {
	f.Add(true, []byte(schemaHead+"rules: [{subjects: [{kind: User}], nonResourceRules: [{nonResourceURLs: ['*/']}]}]}"))
	f.Add(false, []byte(levelHead+"{type: Queue, queuing: {queues: -1, handSize: 9}}}}"))
	f.Fuzz(func(t *testing.T, schema bool, data []byte) {
		var o runtime.Object = &flowcontrolv1.PriorityLevelConfiguration{}
		if schema {
			o = &flowcontrolv1.FlowSchema{}
		}
		if yaml.Unmarshal(data, o) != nil {
			return
		}
		before := o.DeepCopyObject()
		a, _ := Object(o)
		b, _ := Object(before)
		if len(a) != len(b) {
			t.Error("two answers about one object")
		}
	})
}
