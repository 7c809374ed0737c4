package tables

import (
	"iter"

	"trireme/internal/object"
	"trireme/internal/object/manager"
	"trireme/internal/store"
)

// ManagerKey returns where the Manager of the name is in CustomObjects.
func ManagerKey(name string) object.Key {
	return CustomPlace{Group: manager.Group.Group, Plural: manager.Managers.Resource, Key: object.Key{Name: name}}.CustomKey()
}

// Managers yields the Managers that can be read, in order of their names.
func Managers(r store.Reader) iter.Seq[*manager.Manager] {
	return func(yield func(*manager.Manager) bool) {
		for row := range CustomObjects.RowsFrom(r, ManagerKey("").String(), "") {
			if m, ok := ReadCustom[manager.Manager](r, row.Key()); ok && !yield(m) {
				return
			}
		}
	}
}

// PutManager writes a Manager.
func PutManager(tx *store.Tx, m *manager.Manager) error {
	u, err := Unstructured(manager.Kind, m)
	if err != nil {
		return err
	}
	CustomObjects.PutAt(tx, ManagerKey(m.Name), u)
	return nil
}
