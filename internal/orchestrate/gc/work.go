package gc

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// workOff does for the owner's dependents what its state asks for, and reports
// whether that is done; false: there is more, or it waits for dependents to go.
func (l *Loop) workOff(tx *store.Tx, o owner) (done bool) {
	have, ok := o.get(tx)
	switch {
	case !ok:
		return l.collect(tx, o)
	case have.GetDeletionTimestamp() == nil:
		return true
	}
	switch policyOf(have) {
	case metav1.DeletePropagationOrphan:
		return l.orphan(tx, o, have)
	case metav1.DeletePropagationForeground:
		return l.foreground(tx, o, have)
	}
	return true
}

// collect deletes the dependents of an owner that is gone, those apart that have
// another.
func (l *Loop) collect(tx *store.Tx, o owner) (done bool) {
	for _, t := range l.tables {
		var todo []object.Key
		for row := range t.By(tx, tables.OwnerIndex, string(o.uid)) {
			if !reap.Deleting(row) {
				todo = append(todo, row.Key())
			}
		}
		for _, key := range todo {
			if l.budget <= 0 {
				return false
			}
			l.dependent(tx, place{t, key})
		}
	}
	l.forget(o)
	return true
}

// dependent decides one object by all its owners: it lives as long as one of
// them does and is rid of the others.
func (l *Loop) dependent(tx *store.Tx, p place) {
	o, ok := p.table.Get(tx, p.key)
	if !ok {
		return
	}
	var keep []metav1.OwnerReference
	waiting := false
	for _, ref := range o.GetOwnerReferences() {
		gone, waits := l.state(tx, o, ref)
		waiting = waiting || waits
		if !gone && !waits {
			keep = append(keep, ref)
		}
	}
	switch {
	case len(keep) == len(o.GetOwnerReferences()):
		return
	case len(keep) > 0:
		next := o.DeepCopyObject().(store.Object)
		next.SetOwnerReferences(keep)
		p.table.PutAt(tx, p.key, next)
		l.budget--
		return
	}
	policy := policyOf(o)
	if policy == "" {
		policy = metav1.DeletePropagationBackground
		if some, waits := l.dependents(tx, o.GetUID()); waiting && some {
			policy = metav1.DeletePropagationForeground
			if waits {
				l.unblock(tx, p, o)
			}
		}
	}
	if reap.Delete(tx, p.table, p.key, policy) {
		l.budget--
	}
}

// state says of one owner of o whether it is gone, or waits for its dependents
// to go. What cannot be looked up is neither.
func (l *Loop) state(tx *store.Tx, o store.Object, ref metav1.OwnerReference) (gone, waits bool) {
	p, ok := l.find(tx, o, ref)
	if !ok {
		return false, false
	}
	have, ok := owner{ref.UID, p}.get(tx)
	if !ok {
		return true, false
	}
	return false, have.GetDeletionTimestamp() != nil && policyOf(have) == metav1.DeletePropagationForeground
}

// dependents reports whether an object names uid as an owner, and whether one of
// those waits for dependents of its own to go.
func (l *Loop) dependents(tx *store.Tx, uid types.UID) (some, waits bool) {
	for _, t := range l.tables {
		for row := range t.By(tx, tables.OwnerIndex, string(uid)) {
			some = true
			if reap.Deleting(row) && policyOf(row.Object()) == metav1.DeletePropagationForeground {
				return true, true
			}
		}
	}
	return some, false
}

// unblock lets the owners of o go before it: o will wait for a dependent that
// waits too, and where that is a circle, it has to be open somewhere.
func (l *Loop) unblock(tx *store.Tx, p place, o store.Object) {
	next := o.DeepCopyObject().(store.Object)
	refs := next.GetOwnerReferences()
	for i := range refs {
		refs[i].BlockOwnerDeletion = nil
	}
	next.SetOwnerReferences(refs)
	p.table.PutAt(tx, p.key, next)
	l.budget--
}

// foreground deletes the dependents of a marked owner and lets it go when none
// that blocks is left.
func (l *Loop) foreground(tx *store.Tx, o owner, have store.Object) (done bool) {
	blocked := false
	for _, t := range l.tables {
		var todo []object.Key
		for row := range t.By(tx, tables.OwnerIndex, string(o.uid)) {
			switch {
			case !reap.Deleting(row):
				todo = append(todo, row.Key())
			case !blocked:
				blocked = blocks(row.Object(), o.uid)
			}
		}
		for _, key := range todo {
			if l.budget <= 0 {
				return false
			}
			l.dependent(tx, place{t, key})
			if d, still := t.Get(tx, key); still {
				blocked = blocked || blocks(d, o.uid)
			}
		}
	}
	if blocked {
		return false // it is looked at again when a dependent goes
	}
	l.release(tx, o, have, metav1.FinalizerDeleteDependents)
	return true
}

func blocks(dependent metav1.Object, uid types.UID) bool {
	return dependent.GetUID() != uid && slices.ContainsFunc(dependent.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return r.UID == uid && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

// orphan takes the owner out of its dependents and lets it go.
func (l *Loop) orphan(tx *store.Tx, o owner, have store.Object) (done bool) {
	for _, t := range l.tables {
		var todo []object.Key
		for row := range t.By(tx, tables.OwnerIndex, string(o.uid)) {
			todo = append(todo, row.Key())
		}
		for _, key := range todo {
			if l.budget <= 0 {
				return false
			}
			d, _ := t.Get(tx, key)
			next := d.DeepCopyObject().(store.Object)
			next.SetOwnerReferences(slices.DeleteFunc(next.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == o.uid }))
			t.PutAt(tx, key, next)
			l.budget--
		}
	}
	l.release(tx, o, have, metav1.FinalizerOrphanDependents)
	return true
}

// release drops a finalizer, and the row with the last one.
func (l *Loop) release(tx *store.Tx, o owner, have store.Object, finalizer string) {
	next := have.DeepCopyObject().(store.Object)
	next.SetFinalizers(object.Without(next.GetFinalizers(), finalizer))
	l.budget--
	if object.Released(next) {
		o.table.Delete(tx, o.key)
		return
	}
	o.table.PutAt(tx, o.key, next)
}
