package validate_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object/defaults"
	"trireme/internal/object/validate"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// FuzzObject decodes any JSON as every kind. Defaulting must
// be idempotent, validation must not panic, change the object or answer
// differently the second time.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"metadata":{"name":"../x"},"spec":{"replicas":-1}}`,
		`{"spec":{"containers":[{"name":"a","image":"i","resources":{"limits":{"cpu":"-1","memory":"9e99"}},"livenessProbe":{"httpGet":{"port":0}}}]}}`,
		`{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/../x"}},{"name":"v","projected":{"sources":[{},null]}}]}}`,
		`{"spec":{"type":"LoadBalancer","ports":[{"port":70000,"targetPort":"x"}],"sessionAffinity":"ClientIP"}}`,
		`{"spec":{"type":"ExternalName","externalName":"a..b","clusterIP":"None"}}`,
		`{"spec":{"strategy":{"type":"Recreate","rollingUpdate":{"maxSurge":"200%"}},"selector":{"matchExpressions":[{"key":"a","operator":"?"}]}}}`,
		`{"spec":{"strategy":{"rollingUpdate":{"maxSurge":"x","maxUnavailable":-1}}}}`,
		`{"addressType":"IPv4","endpoints":[{}],"ports":[{"port":-1}]}`,
		`{"subsets":[{"ports":[{}]}],"data":{"../k":"AA=="}}`,
		`{"spec":{"rules":[{"host":"*","http":{"paths":[{"path":"//","backend":{}}]}}],"tls":[{"hosts":[""]}]}}`,
		`{"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"::/0","except":["x"]}}],"ports":[{"port":"x","endPort":-1}]}]}}`,
		`{"spec":{"cidrs":["10.0.0.1/33"],"parentRef":{}},"handler":"x","overhead":{"podFixed":{"cpu":"-1"}}}`,
		`{"spec":{"capacity":{"storage":"-1"},"hostPath":{"path":"/.."},"local":{},"nodeAffinity":{},"accessModes":["x"]}}`,
		`{"provisioner":"//","parameters":{"":""},"volumeBindingMode":"x","capacity":"-1","nodeTopology":{}}`,
		`{"spec":{"drivers":[{"topologyKeys":["a","a"]}],"source":{"inlineVolumeSpec":{}},"tokenRequests":[{},{}]}}`,
		`{"spec":{"devices":{"requests":[{"firstAvailable":[{}]},{"exactly":{}}],"constraints":[{}],"config":[{}]}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, table := range tables.All() {
			o := table.New()
			if json.Unmarshal(in, o) != nil {
				continue
			}
			once(t, o)
		}
	})
}

func once(t *testing.T, o runtime.Object) {
	t.Helper()
	defaults.Object(o)
	first := o.DeepCopyObject()
	defaults.Object(o)
	if a, b := encode(t, first), encode(t, o); a != b {
		t.Fatalf("%T: defaulting twice differs: %s", o, cmp.Diff(a, b))
	}
	was := validate.Object(o.(store.Object))
	again := validate.Object(o.(store.Object))
	if a, b := len(was), len(again); a != b {
		t.Fatalf("%T: %d faults, then %d", o, a, b)
	}
	if a, b := encode(t, first), encode(t, o); a != b {
		t.Fatalf("%T: validation changed the object: %s", o, cmp.Diff(a, b))
	}
	validate.Update(o.(store.Object), first.(store.Object))
	validate.Status(o)
	validate.StatusUpdate(o, first)
	if p, ok := o.(*corev1.Pod); ok {
		validate.EphemeralUpdate(p, first.(*corev1.Pod))
	}
}

func encode(t *testing.T, o runtime.Object) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
