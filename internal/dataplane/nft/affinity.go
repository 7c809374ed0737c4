package nft

import (
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"trireme/internal/dataplane/balance"
)

// clientsMax bounds what a stranger with many addresses can make the kernel keep; who
// finds no room is led by its hash.
const clientsMax = 1 << 16

// memory makes a map one that rules write to.
func memory(s *nftables.Set) *nftables.Set {
	s.Dynamic, s.HasTimeout, s.Size = true, true, clientsMax
	return s
}

// remember leads a client to where it was before, if that still answers; else to the
// backend of its hash, which is the same on every node.
func (t *Table) remember(c *nftables.Chain, s balance.Shape) {
	port := one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: t.regAtProto}, load(expr.PayloadBaseTransportHeader, 2, 2, t.regAtPort))
	dnat := t.destinationNAT(t.regPicked, t.regPickedTo)
	write := func(m *nftables.Set, client, op uint32) expr.Any {
		return &expr.Dynset{
			SrcRegKey: client, SrcRegData: t.regPicked, SetName: m.Name, SetID: m.ID,
			Operation: op, Timeout: time.Duration(s.Stick) * time.Second,
		}
	}
	for _, f := range []struct {
		load                     []expr.Any
		client, front            uint32
		clients, valid, backends *nftables.Set
	}{
		{one(t.source(t.regWho), t.destination(t.regAt)), t.regWho, t.regAt, t.maps.vipClients, t.maps.vipSticky, t.maps.vipBackends},
		{one(t.source(t.regAt)), t.regAt, t.regAtProto, t.maps.portClients, t.maps.portSticky, t.maps.portBackends},
	} {
		at := rule(f.load, port)
		known := one(lookup(f.clients, f.client, t.regPicked),
			&expr.Lookup{SourceRegister: f.front, SetName: f.valid.Name, SetID: f.valid.ID}, write(f.clients, f.client, unix.NFT_DYNSET_OP_UPDATE))
		picked := rule(at, t.byHash(s.Size, f.client), one(lookup(f.backends, f.front, t.regPicked)))
		keep := one(write(f.clients, f.client, opDelete), write(f.clients, f.client, unix.NFT_DYNSET_OP_UPDATE))
		t.add(c, rule(at, known, dnat))
		t.add(c, rule(picked, keep, dnat))
		t.add(c, rule(picked, dnat)) // no room
	}
}

// opDelete is NFT_DYNSET_OP_DELETE: an update does not change where a client is led.
const opDelete = 2

// byHash picks a number below n from the client's address.
func (t *Table) byHash(n int, client uint32) []expr.Any {
	if n == 1 { // the kernel wants a modulus above one
		return one(&expr.Immediate{Register: t.regPicked, Data: native(0)})
	}
	return one(&expr.Hash{
		SourceRegister: client, DestRegister: t.regPicked, Length: 4 * t.words, Modulus: uint32(n), Seed: hashSeed, Type: expr.HashTypeJenkins,
	})
}

func (t *Table) sticky(c *balance.Changes) []edit {
	vips, ports := edit{set: t.maps.vipSticky}, edit{set: t.maps.portSticky}
	for s, v := range c.Sticky {
		e := &ports
		if s.Front.Addr.IsValid() {
			e = &vips
		}
		el := nftables.SetElement{Key: append(append(frontKey(s.Front), s.Backend.Addr().AsSlice()...), portKey(s.Backend.Port())...)}
		if v.Old {
			e.del = append(e.del, el)
		}
		if v.New {
			e.add = append(e.add, el)
		}
	}
	return []edit{vips, ports}
}
