package volumes

import (
	"iter"
	"maps"
	"slices"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Users counts the pods with a node that name a claim, by its key.
type Users map[string]int

// Take counts a pod in.
func (u Users) Take(claims []string) {
	for _, k := range claims {
		u[k]++
	}
}

// Free counts a pod out.
func (u Users) Free(claims []string) {
	for _, k := range claims {
		if u[k]--; u[k] == 0 {
			delete(u, k)
		}
	}
}

// Touched yields the pods whose claims were let go by other pods, or are of claims, volumes or classes that changed: what
// they ask has to be read again. A pod may come twice.
func Touched(tx *store.Tx, freed []string) iter.Seq[object.Key] {
	claims := map[string]bool{}
	waiting := func(class string) {
		for row := range tables.PersistentVolumeClaims.By(tx, tables.ClaimsWaiting, class) {
			claims[row.Key().String()] = true
		}
	}
	for _, key := range freed {
		claims[key] = true
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		claims[key.String()] = true
	}
	for key := range tables.PersistentVolumes.Changed(tx) {
		for row := range tables.PersistentVolumeClaims.By(tx, tables.ClaimsByVolume, key.Name) {
			claims[row.Key().String()] = true
		}
		if pv, ok := tables.PersistentVolumes.Get(tx, key); ok && pv.Spec.ClaimRef == nil {
			waiting(claim.VolumeClass(pv))
		}
	}
	for key := range tables.StorageClasses.Changed(tx) {
		waiting(key.Name)
	}
	for key := range tables.CSIStorageCapacities.Changed(tx) {
		if c, ok := tables.CSIStorageCapacities.Get(tx, key); ok {
			waiting(c.StorageClassName)
		}
	}
	return func(yield func(object.Key) bool) {
		for _, key := range slices.Sorted(maps.Keys(claims)) {
			for row := range tables.Pods.By(tx, tables.PodsByClaim, key) {
				if !yield(row.Key()) {
					return
				}
			}
		}
	}
}
