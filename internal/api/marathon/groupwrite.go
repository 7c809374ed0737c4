package marathon

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

// What a group keeps of what it was: so many versions, and no more than this in bytes.
const (
	groupVersionsMax = 10
	groupBytesMax    = 512 << 10
)

// writeGroups makes the groups what is wanted.
func (c *call) writeGroups(st *state) error {
	groups := c.custom().Resource(marathon.Groups)
	for _, id := range slices.Sorted(maps.Keys(st.had)) {
		if st.groups[id] != nil {
			continue
		}
		if err := groups.Delete(c.Context(), marathon.Name(id), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fromKubernetes(err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(st.groups)) {
		want, had := st.groups[id], st.had[id]
		if had == nil {
			if err := c.create(marathon.Groups, "", marathon.Name(id), map[string]any{"spec": want}); err != nil {
				return err
			}
			continue
		}
		if reflect.DeepEqual(&had.Spec, want) {
			continue
		}
		row, ok := tables.CustomObjects.Row(c.door.store.Snapshot(), tables.MarathonKey(marathon.Groups, object.KeyOf(had)))
		if !ok {
			return noGroup(id)
		}
		u := row.Object().DeepCopy()
		parts, err := unstructuredOf(marathon.Groups, map[string]any{"spec": want, "versions": st.history(had)})
		if err != nil {
			return err
		}
		u.Object["spec"], u.Object["versions"] = parts.Object["spec"], parts.Object["versions"]
		if _, err := groups.Update(c.Context(), u, metav1.UpdateOptions{FieldManager: manager}); err != nil {
			return fromKubernetes(err)
		}
	}
	return nil
}

// history returns what the group was before, with what it has been until now.
func (st *state) history(had *marathon.Group) []marathon.GroupVersionState {
	now := marathon.GroupVersionState{Version: had.Spec.Version}
	for _, id := range slices.Sorted(maps.Keys(st.apps)) {
		if marathon.Within(id, had.Spec.ID) {
			now.Apps = append(now.Apps, &st.apps[id].Spec)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(st.had)) {
		if marathon.Within(id, had.Spec.ID) {
			now.Groups = append(now.Groups, st.had[id].Spec)
		}
	}
	kept, bytes := []marathon.GroupVersionState{}, 0
	for _, v := range append([]marathon.GroupVersionState{now}, had.Versions...) {
		b, err := json.Marshal(v)
		if bytes += len(b); err != nil || bytes > groupBytesMax || len(kept) == groupVersionsMax {
			break
		}
		kept = append(kept, v)
	}
	return kept
}
