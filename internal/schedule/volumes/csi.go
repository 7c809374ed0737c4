package volumes

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// The words of Kubernetes' plug-ins NodeVolumeLimits and VolumeBinding.
const (
	tooMany = "node(s) exceed max volume count"
	noRoom  = "node(s) did not have enough free storage"
)

// Served is a volume of a CSI driver.
type Served struct{ driver, handle string }

// ServedOf returns the volumes of CSI drivers behind the claims that are bound.
func ServedOf(r store.Reader, claims []string) (out []Served) {
	for _, key := range claims {
		c, ok := tables.PersistentVolumeClaims.Get(r, object.ParseKey(key))
		if !ok || c.Spec.VolumeName == "" {
			continue
		}
		if v, ok := tables.PersistentVolumes.Get(r, object.Key{Name: c.Spec.VolumeName}); ok && v.Spec.CSI != nil {
			out = append(out, Served{v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle})
		}
	}
	return out
}

// Node is what a node has of volumes. The zero value has none and may have any.
type Node struct {
	served map[Served]int // of CSI drivers, and the pods that have each
	limits map[string]int // of these, by driver; one that is missing has none
	stored int64          // bytes on its disk
}

// Blank reports whether nothing is known of the node but what its pods have.
func (n *Node) Blank() bool { return len(n.limits) == 0 && n.stored == 0 }

// SetLimits takes in how many volumes of each driver the node may have; nil: any.
func (n *Node) SetLimits(row *storagev1.CSINode) {
	n.limits = nil
	if row == nil {
		return
	}
	for _, d := range row.Spec.Drivers {
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			if n.limits == nil {
				n.limits = map[string]int{}
			}
			n.limits[d.Name] = int(*d.Allocatable.Count)
		}
	}
}

// exceeds reports whether the node would have more volumes of a driver than it may.
func (v *Asks) exceeds(n *Node, picks []*corev1.PersistentVolume) bool {
	if len(n.limits) == 0 {
		return false
	}
	more := map[string]map[string]bool{}
	add := func(driver, handle string) {
		if n.served[Served{driver, handle}] > 0 {
			return // counts already
		}
		if more[driver] == nil {
			more[driver] = map[string]bool{}
		}
		more[driver][handle] = true
	}
	for _, pv := range v.bound {
		if pv.Spec.CSI != nil {
			add(pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle)
		}
	}
	for i, pv := range picks {
		switch {
		case pv == nil:
			add(v.wishes[i].class.Provisioner, "made for "+v.wishes[i].claim.Name)
		case pv.Spec.CSI != nil:
			add(pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle)
		}
	}
	has := map[string]int{}
	for s := range n.served {
		has[s.driver]++
	}
	for driver, handles := range more {
		if limit, ok := n.limits[driver]; ok && has[driver]+len(handles) > limit {
			return true
		}
	}
	return false
}

// Count counts a pod's volumes in (sign 1) or out (sign -1).
func (n *Node) Count(list []Served, sign int) {
	for _, s := range list {
		if n.served == nil {
			n.served = map[Served]int{}
		}
		if n.served[s] += sign; n.served[s] <= 0 {
			delete(n.served, s)
		}
	}
}

// capacities returns what the class's driver says of its free room, and whether it says
// anything (API reference, CSIStorageCapacity).
func capacities(r store.Reader, class *storagev1.StorageClass) (out []*storagev1.CSIStorageCapacity, says bool) {
	d, ok := tables.CSIDrivers.Get(r, object.Key{Name: class.Provisioner})
	if !ok || d.Spec.StorageCapacity == nil || !*d.Spec.StorageCapacity {
		return nil, false
	}
	for row := range tables.CSIStorageCapacities.By(r, tables.CapacitiesByClass, class.Name) {
		out = append(out, row.Object())
	}
	return out, true
}

// hasRoom reports whether a volume for the claim can be made for the node.
func (w *wish) hasRoom(n *corev1.Node) bool {
	if !w.tracked {
		return true
	}
	want := w.claim.Spec.Resources.Requests[corev1.ResourceStorage]
	for _, c := range w.room {
		most := c.MaximumVolumeSize
		if most == nil {
			most = c.Capacity
		}
		if most == nil || most.Cmp(want) < 0 || c.NodeTopology == nil {
			continue
		}
		if sel, err := metav1.LabelSelectorAsSelector(c.NodeTopology); err == nil && sel.Matches(labels.Set(n.Labels)) {
			return true
		}
	}
	return false
}
