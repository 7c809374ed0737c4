package gateway_test

import (
	"testing"

	"trireme/internal/object/gateway"
)

// TestDefinitions: the kinds are there, and what somebody else installed is kept.
func TestDefinitions(t *testing.T) {
	all, err := gateway.Definitions.Definitions()
	if err != nil || len(all) != 6 {
		t.Fatalf("%d definitions, %v", len(all), err)
	}
	for _, d := range all {
		if gateway.Definitions.Keeps(d) {
			t.Errorf("%s, which we wrote, is kept as another's", d.Name)
		}
		for annotation, value := range map[string]string{"bundle-version": "v9.0.0", "channel": "experimental", "": ""} {
			theirs := d.DeepCopy()
			if theirs.Annotations["gateway.networking.k8s.io/"+annotation] = value; annotation == "" {
				delete(theirs.Annotations, "trireme.dev/bundle-version")
			}
			if !gateway.Definitions.Keeps(theirs) {
				t.Errorf("%s, which somebody installed with %s %q, is not kept", d.Name, annotation, value)
			}
		}
	}
}
