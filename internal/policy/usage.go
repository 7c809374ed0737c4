package policy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	resourcehelper "k8s.io/component-helpers/resource"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	classSuffix  = ".storageclass.storage.k8s.io/"
	deviceSuffix = ".deviceclass.resource.k8s.io/devices"
	requests     = corev1.DefaultResourceRequestsPrefix
)

// legacyCounts are the names that some kinds' counts had before count/.
var legacyCounts = map[schema.GroupResource]corev1.ResourceName{
	{Resource: "configmaps"}:             corev1.ResourceConfigMaps,
	{Resource: "resourcequotas"}:         corev1.ResourceQuotas,
	{Resource: "replicationcontrollers"}: corev1.ResourceReplicationControllers,
	{Resource: "secrets"}:                corev1.ResourceSecrets,
}

// GroupResource returns the name that quotas count a table's rows by.
func GroupResource[T store.Object, H any](t *store.Table[T, H]) schema.GroupResource {
	return schema.GroupResource{Group: t.GVK().Group, Resource: string(t.ID())}
}

// usageOf returns everything that o takes of a quota, under every name a quota
// may limit it by (Kubernetes, "Resource Quotas").
func usageOf(gr schema.GroupResource, o store.Object) corev1.ResourceList {
	u := corev1.ResourceList{"count/" + corev1.ResourceName(gr.String()): count(1)}
	if name, ok := legacyCounts[gr]; ok {
		u[name] = count(1)
	}
	switch o := o.(type) {
	case *corev1.Pod:
		podUsage(u, o)
	case *corev1.Service:
		serviceUsage(u, o)
	case *corev1.PersistentVolumeClaim:
		claimUsage(u, o)
	case *resourcev1.ResourceClaim:
		deviceUsage(u, o)
	}
	return u
}

func count(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// podUsage counts a pod that has not ended.
func podUsage(u corev1.ResourceList, p *corev1.Pod) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return
	}
	opts := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	compute(u, resourcehelper.PodRequests(p, opts), resourcehelper.PodLimits(p, opts))
}

// compute adds what requests and limits are called in quotas. Extended resources
// cannot be overcommitted, so only their requests count.
func compute(u, asked, limits corev1.ResourceList) {
	u[corev1.ResourcePods] = count(1)
	for name, q := range asked {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage,
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			u[name] = q
		}
		u[requests+name] = q
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := limits[name]; ok {
			u["limits."+name] = q
		}
	}
}

func serviceUsage(u corev1.ResourceList, s *corev1.Service) {
	u[corev1.ResourceServices] = count(1)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		u[corev1.ResourceServicesNodePorts] = count(len(s.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		u[corev1.ResourceServicesLoadBalancers] = count(1)
		ports := len(s.Spec.Ports)
		if a := s.Spec.AllocateLoadBalancerNodePorts; a != nil && !*a {
			ports = 0
			for _, p := range s.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
		u[corev1.ResourceServicesNodePorts] = count(ports)
	}
}

func claimUsage(u corev1.ResourceList, c *corev1.PersistentVolumeClaim) {
	class := corev1.ResourceName(c.Annotations[claimClassBeta])
	if class == "" && c.Spec.StorageClassName != nil {
		class = corev1.ResourceName(*c.Spec.StorageClassName)
	}
	u[corev1.ResourcePersistentVolumeClaims] = count(1)
	if class != "" {
		u[class+classSuffix+corev1.ResourcePersistentVolumeClaims] = count(1)
	}
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return
	}
	if given, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(size) > 0 {
		size = given
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	u[corev1.ResourceRequestsStorage] = size
	if class != "" {
		u[class+classSuffix+corev1.ResourceRequestsStorage] = size
	}
}

// deviceUsage counts the devices that a claim may take at most, by class.
func deviceUsage(u corev1.ResourceList, c *resourcev1.ResourceClaim) {
	sum := map[string]int64{}
	most := func(mode resourcev1.DeviceAllocationMode, n int64) int64 {
		if mode == resourcev1.DeviceAllocationModeAll {
			return resourcev1.AllocationResultsMaxSize
		}
		return max(n, 1)
	}
	for _, r := range c.Spec.Devices.Requests {
		if r.Exactly != nil {
			sum[r.Exactly.DeviceClassName] += most(r.Exactly.AllocationMode, r.Exactly.Count)
		}
		peak := map[string]int64{}
		for _, s := range r.FirstAvailable {
			peak[s.DeviceClassName] = max(peak[s.DeviceClassName], most(s.AllocationMode, s.Count))
		}
		for class, n := range peak {
			sum[class] += n
		}
	}
	for class, n := range sum {
		u[corev1.ResourceName(class)+deviceSuffix] = count(int(n))
	}
}

// Concerns reports whether the quota may limit rows of gr.
func Concerns(q *corev1.ResourceQuotaSpec, gr schema.GroupResource) bool {
	for name := range q.Hard {
		if limits(string(name), gr) {
			return true
		}
	}
	return false
}

func limits(name string, gr schema.GroupResource) bool {
	if what, ok := strings.CutPrefix(name, "count/"); ok {
		return what == gr.String()
	}
	if legacy, ok := legacyCounts[gr]; ok {
		return name == string(legacy)
	}
	claims := strings.Contains(name, classSuffix) || name == string(corev1.ResourceRequestsStorage) || name == string(corev1.ResourcePersistentVolumeClaims)
	switch gr {
	case schema.GroupResource{Resource: "services"}:
		return strings.HasPrefix(name, "services")
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return claims
	case schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}:
		return strings.HasSuffix(name, deviceSuffix)
	case schema.GroupResource{Resource: "pods"}:
		switch {
		case name == "pods", name == "cpu", name == "memory", name == "ephemeral-storage", strings.HasPrefix(name, "hugepages-"),
			strings.HasPrefix(name, "limits."):
			return true
		}
		return strings.HasPrefix(name, requests) && !claims
	}
	return false
}

// Measure returns what o takes of the quota: nothing where the quota's scopes
// leave it out. Only names that the quota limits are in it.
func Measure(q *corev1.ResourceQuotaSpec, gr schema.GroupResource, o store.Object) corev1.ResourceList {
	if !Concerns(q, gr) || !inScope(q, o) {
		return nil
	}
	var used corev1.ResourceList
	for name, n := range usageOf(gr, o) {
		if _, ok := q.Hard[name]; ok {
			if used == nil {
				used = corev1.ResourceList{}
			}
			used[name] = n
		}
	}
	return used
}

// Used returns what the rows of the quota's namespace take of it.
func Used(r store.Reader, namespace string, q *corev1.ResourceQuotaSpec) corev1.ResourceList {
	sum := Zero(q)
	for _, t := range tables.All() {
		gr := GroupResource(t)
		if !t.Namespaced() || !Concerns(q, gr) {
			continue
		}
		for o := range t.In(r, namespace) {
			Add(sum, Measure(q, gr, o), 1)
		}
	}
	for row := range tables.CustomObjects.By(r, tables.CustomByNamespace, namespace) {
		if gr := CustomResource(row.Key()); Concerns(q, gr) {
			Add(sum, Measure(q, gr, row.Object()), 1)
		}
	}
	return sum
}

// CustomResource returns the name that quotas count a custom object by, of its
// row's key.
func CustomResource(key object.Key) schema.GroupResource {
	p := tables.ParseCustomKey(key)
	return schema.GroupResource{Group: p.Group, Resource: p.Plural}
}

// Zero returns a list of nothing used of all that the quota limits.
func Zero(q *corev1.ResourceQuotaSpec) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for name, hard := range q.Hard {
		sum[name] = *resource.NewQuantity(0, hard.Format)
	}
	return sum
}

// Add adds sign times what each entry of list says to sum.
func Add(sum, list corev1.ResourceList, sign int) {
	for name, q := range list {
		have := sum[name]
		if sign < 0 {
			have.Sub(q)
		} else {
			have.Add(q)
		}
		sum[name] = have
	}
}
