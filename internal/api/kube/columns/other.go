package columns

import (
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/store"
)

var otherKinds = map[store.TableID]Kind{
	"leases": {
		[]string{"Holder", "Age"},
		func(o runtime.Object) []any {
			l := o.(*coordinationv1.Lease)
			return []any{deref(l.Spec.HolderIdentity), Age(l)}
		},
	},
	"runtimeclasses": {
		[]string{"Handler", "Age"},
		func(o runtime.Object) []any {
			r := o.(*nodev1.RuntimeClass)
			return []any{r.Handler, Age(r)}
		},
	},
	"resourceclaims": {
		[]string{"State", "Age"},
		func(o runtime.Object) []any {
			c := o.(*resourcev1.ResourceClaim)
			return []any{claimState(c), Age(c)}
		},
	},
	"resourceslices": {
		[]string{"Node", "Driver", "Pool", "Age"},
		func(o runtime.Object) []any {
			s := o.(*resourcev1.ResourceSlice)
			return []any{or(deref(s.Spec.NodeName), "<unset>"), s.Spec.Driver, s.Spec.Pool.Name, Age(s)}
		},
	},
}

func claimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	if c.Status.Allocation == nil {
		if c.DeletionTimestamp == nil {
			states = append(states, "pending")
		}
	} else {
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	}
	return strings.Join(states, ",")
}
