package csi

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
)

// ErrCannotExpand says that a volume is to grow on its node and the driver there cannot
// do that.
var ErrCannotExpand = errors.New("the driver cannot expand volumes on nodes (NodeGetCapabilities names no EXPAND_VOLUME)")

// Expand has the driver make the volume as large here as its PersistentVolume says, and
// reports whether it did. One that is not published yet grows when it is.
func (d *Drivers) Expand(v Volume) (bool, error) {
	p := &publishing{Volume: v, d: d, rec: d.recordOf(v)}
	defer d.hold(p.rec.volume())()
	there, err := load(p.rec.dir)
	if err != nil || there == nil || !there.Done {
		return false, err
	}
	if there.Size == 0 {
		there.Size = said(v.Claim)
	}
	p.rec = there
	if !p.grown() {
		return false, nil
	}
	if p.driver, err = d.driver(p.rec.Driver); err != nil {
		return false, err
	}
	if !p.driver.can[csi.NodeServiceCapability_RPC_EXPAND_VOLUME] {
		return false, fmt.Errorf("driver %s: %w", p.rec.Driver, ErrCannotExpand)
	}
	ctx, cancel := d.call()
	defer cancel()
	if err := p.expand(ctx, p.rec.target()); err != nil {
		return false, err
	}
	if err := p.rec.save(); err != nil {
		return false, err
	}
	d.cfg.Grown()
	return true, nil
}

// said returns the bytes that the claim's status says its volume has; 0: none.
func said(c *corev1.PersistentVolumeClaim) int64 {
	if c == nil {
		return 0
	}
	return c.Status.Capacity.Storage().Value()
}

// grown reports whether the volume has become larger than this node knows it, and
// whoever does that elsewhere has finished (API reference, PersistentVolumeClaimStatus:
// allocatedResourceStatuses).
func (p *publishing) grown() bool {
	if p.PV == nil || p.Claim == nil || p.rec.Size == 0 || p.readOnly() {
		return false
	}
	switch p.Claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] {
	case corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible:
		return false
	}
	return p.PV.Spec.Capacity.Storage().Value() > p.rec.Size
}

// expand has the driver grow what lies at the path, where that is called for and it can.
// The record then has the new size.
func (p *publishing) expand(ctx context.Context, path string) error {
	if !p.grown() || !p.driver.can[csi.NodeServiceCapability_RPC_EXPAND_VOLUME] {
		return nil
	}
	secrets, err := p.secrets(p.PV.Spec.CSI.NodeExpandSecretRef)
	if err != nil {
		return err
	}
	size := p.PV.Spec.Capacity.Storage().Value()
	req := &csi.NodeExpandVolumeRequest{
		VolumeId: p.rec.Handle, VolumePath: p.d.cfg.Home.There(path), VolumeCapability: p.capability(), Secrets: secrets,
		CapacityRange: &csi.CapacityRange{RequiredBytes: size},
	}
	if p.rec.Staging != "" {
		req.StagingTargetPath = p.d.cfg.Home.There(p.rec.Staging)
	}
	if _, err := p.driver.node.NodeExpandVolume(ctx, req); err != nil {
		return fmt.Errorf("driver %s: NodeExpandVolume: %w", p.rec.Driver, err)
	}
	p.rec.Size, p.expanded = size, true
	return nil
}

// Sizes returns the bytes that this node knows each persistent volume of a driver to
// have, by the volume's name.
func (d *Drivers) Sizes() (map[string]int64, error) {
	records, err := d.records(everyPod)
	out := map[string]int64{}
	for _, r := range records {
		if r.Lifecycle == lifecyclePersistent && r.Size > 0 && r.Done {
			out[r.Name] = max(out[r.Name], r.Size)
		}
	}
	return out, err
}
