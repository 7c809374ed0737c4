package registry

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
)

// FuzzImage: any object is read as an Image or refused.
func FuzzImage(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a"},"spec":{"reference":"web:1","digest":"sha256:00","source":"n"}}`))
	f.Add([]byte(`{"spec":[],"status":{"sizeBytes":"x"}}`))
	f.Fuzz(func(_ *testing.T, in []byte) {
		u := &unstructured.Unstructured{}
		if json.Unmarshal(in, &u.Object) == nil && u.Object != nil {
			_, _ = decode(u) // an error is as good
		}
	})
}

// FuzzName: a reference has a whole form that stands for itself, and a name that an
// object may have.
func FuzzName(f *testing.F) {
	for _, s := range []string{"web", "web:1", "a.b/c@sha256:0000000000000000000000000000000000000000000000000000000000000000", "UPPER", "-", "a//b", "localhost:5000/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		whole, name, err := Name(ref)
		if err != nil {
			return
		}
		if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
			t.Errorf("%q: name %q: %v", ref, name, faults)
		}
		if again, same, err := Name(whole); err != nil || again != whole || same != name {
			t.Errorf("%q is %q, which is %q, %v", ref, whole, again, err)
		}
	})
}
