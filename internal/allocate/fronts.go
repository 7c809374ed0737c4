package allocate

import (
	"fmt"
	"net/netip"
	"reflect"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/network"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// setService takes in what a core Service wants to be on networks, and returns those that
// it is on, wants to be on, or was on before.
func (l *networks) setService(tx *store.Tx, key object.Key) (look []object.Key) {
	wishes := map[object.Key]network.Wish{}
	if svc, ok := tables.Services.Get(tx, key); ok && svc.DeletionTimestamp == nil && svc.Annotations[network.FrontsAnnotation] != "" {
		var err error
		if wishes, err = network.Wishes(svc); err != nil {
			tell.Once(tx, tables.Services, svc, tell.Event{From: "allocate", Type: corev1.EventTypeWarning, Reason: "NetworkInvalid", Message: err.Error()})
		}
	}
	for _, n := range l.services[key] {
		delete(l.tenant(n).wishes, key)
		look = append(look, n)
	}
	delete(l.services, key)
	for _, n := range object.SortedKeys(wishes) {
		l.tenant(n).wishes[key] = wishes[n]
		l.services[key] = append(l.services[key], n)
		look = append(look, n)
	}
	return look
}

// frontOwner is who has the addresses of a service's front: no pod is called so.
func frontOwner(service object.Key) object.Key {
	return object.Key{Namespace: service.Namespace, Name: "service/" + service.Name}
}

// serveFronts brings a network's fronts in line with what services want to be on it.
func (l *networks) serveFronts(tx *store.Tx, key object.Key) {
	t := l.of[key]
	for _, svc := range object.SortedKeys(t.fronts) {
		if _, wanted := t.wishes[svc]; !wanted || t.object == nil {
			t.freeFront(svc)
			delete(t.fronts, svc)
			tables.NetworkMembers.Delete(tx, object.Key{Namespace: network.ID(key), Name: network.FrontName(svc)})
		}
	}
	for _, svc := range object.SortedKeys(t.wishes) {
		at := object.Key{Namespace: network.ID(key), Name: network.FrontName(svc)}
		old, there := tables.NetworkMembers.Get(tx, at)
		if !there && tables.NetworkMembers.Removed(tx, at) {
			continue // in the next transaction
		}
		have, had := t.fronts[svc]
		next, why := t.front(key, svc, have)
		if why != nil {
			if o, ok := tables.Services.Get(tx, svc); ok {
				tell.Once(tx, tables.Services, o, tell.Event{From: "allocate", Type: corev1.EventTypeWarning, Reason: why.reason, Message: why.message})
			}
			continue
		}
		if had && reflect.DeepEqual(have, next) {
			continue
		}
		row := next.Row(key)
		if there {
			row.ResourceVersion, row.UID, row.CreationTimestamp = old.ResourceVersion, old.UID, old.CreationTimestamp
		}
		tables.NetworkMembers.Put(tx, row)
		t.fronts[svc] = next
	}
}

func (t *tenant) freeFront(svc object.Key) {
	for _, a := range t.fronts[svc].Addresses {
		if t.used[a] == frontOwner(svc) {
			delete(t.used, a)
		}
	}
}

// front returns what a service is to be on the network: under the addresses that it has,
// where it wants any.
func (t *tenant) front(key, svc object.Key, have network.Front) (network.Front, *fault) {
	if why := t.refuses(key, svc.Namespace); why != nil {
		return have, why
	}
	wish := t.wishes[svc]
	next := network.Front{Service: svc, Names: wish.Names, Addresses: have.Addresses}
	switch {
	case !wish.Virtual:
		t.freeFront(svc)
		next.Addresses = nil
	case len(have.Addresses) == 0:
		var got []netip.Addr
		for _, p := range t.pools {
			a, ok := t.free(p)
			if !ok {
				return have, exhausted(key, p)
			}
			got = append(got, a)
		}
		for _, a := range got {
			t.used[a] = frontOwner(svc)
		}
		next.Addresses = got
	}
	return next, nil
}

func exhausted(key object.Key, p network.Pool) *fault {
	return &fault{"NetworkExhausted", fmt.Sprintf("every address of %s, network %s, is taken: remove pods, or make a larger network", p.Range, key)}
}
