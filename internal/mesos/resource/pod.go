package resource

import (
	"math/bits"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// GPU is the resource of Kubernetes that gpus are.
	GPU corev1.ResourceName = "nvidia.com/gpu"
	// customPrefix is before the names of scalars of the operator's own that are no resource of
	// Kubernetes: they are counted in thousandths.
	customPrefix = "scalar.mesos.trireme.dev/"

	mebibyte = 1 << 20
)

// Requests returns what a pod asks of its node for the scalars of the list. Persistent volumes,
// ports and what else is no scalar are not in it.
func (l List) Requests() (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for _, r := range l.Plain() {
		if r.Kind != Scalar {
			continue
		}
		switch r.Name {
		case CPUs:
			out[corev1.ResourceCPU] = *resource.NewMilliQuantity(r.Scalar, resource.DecimalSI)
		case Mem:
			out[corev1.ResourceMemory] = *resource.NewQuantity(Bytes(r.Scalar), resource.BinarySI)
		case Disk:
			if n := l.ownDisk(); n > 0 {
				out[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(Bytes(n), resource.BinarySI)
			}
		case GPUs:
			out[GPU] = *resource.NewQuantity(r.Scalar/Thousand, resource.DecimalSI)
		default:
			name, n, err := custom(r)
			if err != nil {
				return nil, err
			}
			out[name] = *resource.NewQuantity(n, resource.DecimalSI)
		}
	}
	return out, nil
}

// ownDisk returns the disk that is the sandbox's: no volume, no disk beside the node's own.
func (l List) ownDisk() (sum int64) {
	for i := range l {
		if l[i].Name == Disk && l[i].Volume == nil {
			sum += l[i].Scalar
		}
	}
	return sum
}

func custom(r Resource) (corev1.ResourceName, int64, error) {
	name, one := Name(r.Name)
	if bad := validation.IsQualifiedName(string(name)); len(bad) > 0 {
		return "", 0, invalid("%s: name: is no resource that a pod can ask for: %s", r.Name, bad[0])
	}
	if r.Scalar%one != 0 {
		return "", 0, invalid("%s: scalar.value: %g cannot be had: only whole ones", r.Name, Number(r.Scalar))
	}
	return name, r.Scalar / one, nil
}

// Capacity returns what a node gives as unreserved scalars; what is not more than nothing, and
// what nothing of Mesos' speaks of, is left out. It is the inverse of Requests.
func Capacity(has corev1.ResourceList) List {
	var out List
	for name, q := range has {
		if r, ok := Read(name, &q); ok {
			out = out.with(r)
		}
	}
	return out
}

// Read returns an amount of what pods ask for as an unreserved scalar; false: nothing of Mesos'
// speaks of it.
func Read(name corev1.ResourceName, q *resource.Quantity) (Resource, bool) {
	switch own, is := strings.CutPrefix(string(name), customPrefix); {
	case name == corev1.ResourceCPU:
		return Of(CPUs, q.MilliValue()), true
	case name == corev1.ResourceMemory:
		return Of(Mem, Megabytes(q.Value())), true
	case name == corev1.ResourceEphemeralStorage:
		return Of(Disk, Megabytes(q.Value())), true
	case name == GPU:
		return Of(GPUs, q.Value()*Thousand), true
	case is:
		return Of(own, q.Value()), true
	case strings.Contains(string(name), "/"):
		return Of(string(name), q.Value()*Thousand), true
	}
	return Resource{}, false // pods, huge pages
}

// Bytes returns thousandths of MB in bytes, rounded up: who asks gets no less.
func Bytes(thousandths int64) int64 {
	hi, lo := bits.Mul64(uint64(thousandths), mebibyte)
	lo, carry := bits.Add64(lo, Thousand-1, 0)
	n, _ := bits.Div64(hi+carry, lo, Thousand)
	return int64(n)
}

// Megabytes returns bytes in thousandths of MB, rounded down: who gives gives no more.
func Megabytes(n int64) int64 { return n/mebibyte*Thousand + n%mebibyte*Thousand/mebibyte }

// Name returns what pods call a scalar of the name, and how many of its thousandths are one.
func Name(scalar string) (corev1.ResourceName, int64) {
	switch {
	case scalar == GPUs:
		return GPU, Thousand
	case strings.Contains(scalar, "/"):
		return corev1.ResourceName(scalar), Thousand
	}
	return corev1.ResourceName(customPrefix + scalar), 1
}
