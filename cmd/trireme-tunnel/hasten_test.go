package main

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// slowBind delivers packets after a while: what both sides send at the same time crosses.
type slowBind struct{ conn.Bind }

func (b slowBind) Send(bufs [][]byte, to conn.Endpoint) error {
	var sent [][]byte
	for _, p := range bufs {
		sent = append(sent, bytes.Clone(p))
	}
	time.AfterFunc(10*time.Millisecond, func() { _ = b.Bind.Send(sent, to) })
	return nil
}

// TestHasten: two nodes that learn of each other's key at the same moment talk soon.
func TestHasten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		binds := bindtest.NewChannelBinds()
		var (
			devices [2]*device.Device
			tuns    [2]*tuntest.ChannelTUN
			keys    [2]*ecdh.PrivateKey
			told    [2]chan struct{}
		)
		for i := range 2 {
			key, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{byte(i + 1)}, 32))
			if err != nil {
				t.Fatal(err)
			}
			keys[i], tuns[i], told[i] = key, tuntest.NewChannelTUN(), make(chan struct{}, 1)
			devices[i] = device.NewDevice(tuns[i].TUN(), slowBind{binds[i]}, device.NewLogger(device.LogLevelError, ""))
			go hasten(t.Context(), devices[i], told[i])
		}
		address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }
		for i, d := range devices {
			defer d.Close()
			other := 1 - i
			config := fmt.Sprintf("private_key=%s\npublic_key=%s\nendpoint=127.0.0.1:%d\nallowed_ip=%s/32\n",
				hex.EncodeToString(keys[i].Bytes()), hex.EncodeToString(keys[other].PublicKey().Bytes()), i+1, address(other))
			if err := d.IpcSet(config); err != nil {
				t.Fatal(err)
			}
			if err := d.Up(); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		for i := range 2 {
			tuns[i].Outbound <- tuntest.Ping(address(1-i), address(i))
			told[i] <- struct{}{}
		}
		for i := range 2 {
			<-tuns[i].Inbound
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("they talk after %s", took)
		}
	})
}
