package dataplane

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/tunnel"
	"trireme/internal/object"
	"trireme/internal/object/route"
)

// seal is this node's part in the encryption of the overlay. It is on or off as the
// node's own Node says; where that says nothing, as it was, over restarts too.
type seal struct {
	on      bool
	keys    *tunnel.Keys // nil: none were needed yet
	process *tunnel.Tunnel
	offered atomic.Pointer[string] // the key that the Node should show; nil: none
	failed  chan error             // for Run: this machine cannot
}

// DefaultKeyLife is how long a node's key of the overlay is used.
const DefaultKeyLife = 24 * time.Hour

func tunnelDir(root string) string { return filepath.Join(root, "tunnel") }

func newSeal(cfg *Config, links *link.Links) seal {
	return seal{
		on: tunnel.Kept(tunnelDir(cfg.Root)), failed: make(chan error, 1),
		process: tunnel.New(tunnel.Config{
			Dir: tunnelDir(cfg.Root), Binary: cfg.Tunnel, Link: links.Tunnel(), Within: links.Do, Log: cfg.Log,
		}),
	}
}

// Annotations are what this node says of itself: its key, where the overlay is encrypted;
// the ports that ingress cannot open; who chooses its pods' addresses. An empty one takes
// back what it said before.
func (d *Dataplane) Annotations() map[string]string {
	out := map[string]string{route.ClosedAnnotation: "", object.AddressesAnnotation: ""}
	if d.byPlugins() {
		out[object.AddressesAnnotation] = object.AddressesByPlugins
	}
	if says := d.front.says.Load(); says != nil {
		out[route.ClosedAnnotation] = *says
	}
	if key := d.seal.offered.Load(); key != nil {
		out[object.OverlayKeyAnnotation] = *key
	}
	return out
}

// applySeal encrypts the overlay, or does so no more, before it is touched otherwise.
func (d *Dataplane) applySeal(w *dirty) error {
	own, was := d.nodes[d.cfg.Node], d.seal.on
	if own != nil {
		switch own.Annotations[object.OverlayAnnotation] {
		case object.OverlayEncrypted:
			d.seal.on = true
		case object.OverlayClear:
			d.seal.on = false
		}
	}
	if d.seal.on != was {
		d.cfg.Log.Info("the overlay changes", "encrypted", d.seal.on)
		d.remake(w)
	}
	if !d.seal.on {
		if !was {
			return nil
		}
		return d.unseal()
	}
	if err := link.CheckTunnel(); err != nil {
		select {
		case d.seal.failed <- err:
		default:
		}
		return err
	}
	if err := d.links.Seal(d.cfg.NodeIPs[0]); err != nil {
		return fmt.Errorf("sealing the overlay: %w", err)
	}
	return d.settleKey(own)
}

// remake has everything that depends on the size of packets, or on the way of the
// overlay, made anew: pods' links are as large as they were until they are.
func (d *Dataplane) remake(w *dirty) {
	for _, s := range d.stacks {
		s.subnet, s.built = netip.Prefix{}, false
	}
	d.tenants.close()
	w.tenants = true
}

func (d *Dataplane) unseal() error {
	d.seal.process.Set(nil)
	d.seal.keys = nil
	d.seal.offered.Store(nil)
	if err := d.links.Unseal(); err != nil {
		return err
	}
	return os.RemoveAll(tunnelDir(d.cfg.Root))
}

// settleKey brings the key in use in line with the one that the node's Node shows.
func (d *Dataplane) settleKey(own *corev1.Node) (err error) {
	if d.seal.keys == nil {
		if d.seal.keys, err = tunnel.OpenKeys(tunnelDir(d.cfg.Root)); err != nil {
			return err
		}
	}
	if own == nil {
		return nil
	}
	shown := tunnel.PublicKey(own.Annotations[object.OverlayKeyAnnotation])
	if err := d.seal.keys.Settle(shown); err != nil {
		return err
	}
	if at, err := time.Parse(time.RFC3339, own.Annotations[object.OverlayRotateAnnotation]); err == nil {
		if err := d.seal.keys.Renew(at); err != nil {
			return err
		}
	}
	d.offer(shown)
	return nil
}

// offer has the node's Node show the key that it should.
func (d *Dataplane) offer(shown tunnel.PublicKey) {
	offered := d.seal.keys.Offered()
	text := string(offered)
	d.seal.offered.Store(&text)
	if offered != shown && d.cfg.Announce != nil {
		d.cfg.Announce()
	}
}

// tellTunnel tells the process of the other nodes. Of two that show the same key or have
// the same address the older one counts.
func (d *Dataplane) tellTunnel() {
	if !d.seal.on || d.seal.keys == nil {
		return
	}
	nodes := slices.SortedFunc(maps.Values(d.nodes), func(a, b *corev1.Node) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	state, taken := &tunnel.State{Private: d.seal.keys.Private(), Peers: map[tunnel.PublicKey]netip.Addr{}}, map[netip.Addr]bool{}
	for _, n := range nodes {
		key := tunnel.PublicKey(n.Annotations[object.OverlayKeyAnnotation])
		p, known := d.peers[n.Name]
		if _, twice := state.Peers[key]; !known || twice || taken[p.Address] || !key.Valid() {
			continue
		}
		state.Peers[key], taken[p.Address] = p.Address, true
	}
	d.seal.process.Set(state)
}

// keyLook is how often the age of the key is looked at.
const keyLook = time.Minute

// runSeal watches the tunnel's process and the age of the key.
func (d *Dataplane) runSeal(ctx context.Context) error {
	tick := time.NewTicker(keyLook)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case err := <-d.seal.failed:
			return err
		case <-ctx.Done():
			return nil
		}
		if err := d.renewKey(); err != nil {
			d.cfg.Log.Error("renewing the key of the overlay", "err", err)
		}
	}
}

func (d *Dataplane) renewKey() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := d.nodes[d.cfg.Node]
	if !d.seal.on || d.seal.keys == nil || own == nil {
		return nil
	}
	if err := d.seal.keys.Renew(time.Now().Add(-d.cfg.KeyLife)); err != nil {
		return err
	}
	d.offer(tunnel.PublicKey(own.Annotations[object.OverlayKeyAnnotation]))
	return nil
}
