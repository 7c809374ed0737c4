package validate_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"trireme/internal/object/defaults"
	"trireme/internal/object/validate"
	"trireme/internal/store"
)

// TestRuleFaults checks which field is named for what is wrong with the kinds
// that hold the cluster's rules.
func TestRuleFaults(t *testing.T) {
	for _, c := range []struct {
		o        store.Object
		in, want string
	}{
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"pods":"3","requests.cpu":"250m","count/widgets.example.com":"1","gold.storageclass.storage.k8s.io/requests.storage":"1Gi","requests.example.com/gpu":"1","requests.hugepages-2Mi":"2Mi"}}}`, ""},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"pods":"-1"}}}`, "spec.hard[pods]"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"pods":"1500m"}}}`, "spec.hard[pods]"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"fruit":"1"}}}`, "spec.hard[fruit]"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"a b":"1"}}}`, "spec.hard[a b]"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"pods":"1"},"scopes":["BestEffort","NotBestEffort"]}}`, "spec.scopes"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"requests.cpu":"1"},"scopes":["BestEffort"]}}`, "spec.scopes[0]"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"services":"1"},"scopes":["Terminating"]}}`, "spec.scopes[0]"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"pods":"1"},"scopes":["Tall"]}}`, "spec.scopes[0]"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"pods":"1"},"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In"}]}}}`, "spec.scopeSelector.matchExpressions[0].values"},
		{&corev1.ResourceQuota{}, `{"spec":{"hard":{"pods":"1"},"scopeSelector":{"matchExpressions":[{"scopeName":"Terminating","operator":"In","values":["a"]}]}}}`, "spec.scopeSelector.matchExpressions[0].operator"},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"Container","min":{"cpu":"1"},"max":{"cpu":"2"}}]}}`, ""},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"Container","min":{"cpu":"3"},"max":{"cpu":"2"}}]}}`, "spec.limits[0].min[cpu]"},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"Container","default":{"cpu":"3"},"max":{"cpu":"2"}}]}}`, "spec.limits[0].defaultRequest[cpu] spec.limits[0].default[cpu]"},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"Pod","default":{"cpu":"3"}}]}}`, "spec.limits[0].default"},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"Pod"},{"type":"Pod"}]}}`, "spec.limits[1].type"},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"Fruit"}]}}`, "spec.limits[0].type"},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"PersistentVolumeClaim"}]}}`, "spec.limits[0].limits"},
		{&corev1.LimitRange{}, `{"spec":{"limits":[{"type":"Pod","maxLimitRequestRatio":{"cpu":"500m"}}]}}`, "spec.limits[0].maxLimitRequestRatio[cpu]"},
		{&schedulingv1.PriorityClass{}, `{"value":1000000000}`, ""},
		{&schedulingv1.PriorityClass{}, `{"value":1000000001}`, "value"},
		{&schedulingv1.PriorityClass{}, `{"preemptionPolicy":"Maybe"}`, "preemptionPolicy"},
		{&nodev1.RuntimeClass{}, `{"handler":"runc"}`, ""},
		{&nodev1.RuntimeClass{}, `{"handler":"Run C","scheduling":{"tolerations":[{"key":"a b"}]}}`, "handler scheduling.tolerations[0].key"},
	} {
		if got := faults(t, c.o, c.in); got != c.want {
			t.Errorf("%T %s: fields %q, want %q", c.o, c.in, got, c.want)
		}
	}
}

// TestSystemClasses: names that begin with system- are the system's.
func TestSystemClasses(t *testing.T) {
	for in, bad := range map[string]bool{
		`{"metadata":{"name":"system-mine"},"value":1}`:                      true,
		`{"metadata":{"name":"system-node-critical"},"value":1}`:             true,
		`{"metadata":{"name":"system-node-critical"},"value":2000001000}`:    false,
		`{"metadata":{"name":"system-cluster-critical"},"value":2000000000}`: false,
		`{"metadata":{"name":"mine"},"value":-5,"globalDefault":true}`:       false,
	} {
		c := &schedulingv1.PriorityClass{}
		if err := json.Unmarshal([]byte(in), c); err != nil {
			t.Fatal(err)
		}
		defaults.Object(c)
		if errs := validate.Object(c); (len(errs) > 0) != bad {
			t.Errorf("%s: %v", in, errs)
		}
	}
}
