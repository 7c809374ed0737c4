package defaults

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// deviceKinds lists the kinds that deviceObject defaults.
func deviceKinds() []runtime.Object {
	return []runtime.Object{&resourcev1.ResourceClaim{}, &resourcev1.ResourceClaimTemplate{}}
}

// deviceObject defaults the claims of devices.
func deviceObject(o runtime.Object) {
	switch o := o.(type) {
	case *resourcev1.ResourceClaim:
		deviceClaim(&o.Spec.Devices)
	case *resourcev1.ResourceClaimTemplate:
		deviceClaim(&o.Spec.Spec.Devices)
	}
}

// deviceClaim makes a request that does not say how many devices ask for one.
func deviceClaim(c *resourcev1.DeviceClaim) {
	for i := range c.Requests {
		if r := c.Requests[i].Exactly; r != nil {
			deviceCount(&r.AllocationMode, &r.Count)
		}
		for j := range c.Requests[i].FirstAvailable {
			r := &c.Requests[i].FirstAvailable[j]
			deviceCount(&r.AllocationMode, &r.Count)
		}
	}
}

func deviceCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	or(mode, resourcev1.DeviceAllocationModeExactCount)
	if *mode == resourcev1.DeviceAllocationModeExactCount {
		or(count, 1)
	}
}
