package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

const (
	hastenFirst = 200 * time.Millisecond
	hastenLast  = 4 * time.Second // then WireGuard's own repetition is as good
)

// hasten repeats handshakes with peers that have had none, soon after each time that
// the device was told something. WireGuard repeats one after 5 s (RekeyTimeout), also
// where both sides began at the same moment, as they do when both learn of a key: each
// then answers the other's handshake and has forgotten its own. A random wait before
// the next one breaks the tie.
func hasten(ctx context.Context, d *device.Device, told <-chan struct{}) {
	var wait time.Duration
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		select {
		case <-told:
			wait = hastenFirst
		case <-t.C:
			if wait *= 2; !begin(d) || wait > hastenLast {
				continue // until it is told something
			}
		case <-ctx.Done():
			return
		}
		t.Reset(wait/2 + rand.N(wait))
	}
}

// begin begins a handshake with every peer that has had none, and reports whether there
// are any.
func begin(d *device.Device) (any bool) {
	state, err := d.IpcGet()
	if err != nil {
		return true // it is asked again
	}
	var key device.NoisePublicKey
	for line := range strings.Lines(state) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case name == "public_key":
			if err := key.FromHex(value); err != nil {
				return true
			}
		case name == "last_handshake_time_nsec" && value == "0":
			if p := d.LookupPeer(key); p != nil {
				any = true
				p.ExpireCurrentKeypairs() // also allows one at once
				_ = p.SendHandshakeInitiation(false)
			}
		}
	}
	return any
}
