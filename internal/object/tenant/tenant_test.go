package tenant

import "testing"

func TestDefinition(t *testing.T) {
	d, err := Definition()
	if err != nil || d.Name != Tenants.Resource+"."+Group.Group || d.Spec.Names.Kind != Kind.Kind {
		t.Error(d, err)
	}
}
