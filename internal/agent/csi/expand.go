package csi

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"trireme/internal/wire"
)

// ErrCannotExpand says that a volume is to grow on its node and the driver there cannot
// do that.
var ErrCannotExpand = errors.New("the driver cannot expand volumes on nodes (NodeGetCapabilities names no EXPAND_VOLUME)")

// ErrInfeasible says that a driver will not make a volume so large here, however often it is
// asked: the claim's status says so, and the next try is for who changes the claim.
var ErrInfeasible = errors.New("the driver cannot give the volume that size on this node")

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
	case corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimNodeResizeInfeasible:
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
	p.d.refuse(p.PV.Name, nil)
	if _, err := p.driver.node.NodeExpandVolume(ctx, req); err != nil {
		if infeasible(err) {
			err = fmt.Errorf("%w: %w", ErrInfeasible, err)
			p.d.refuse(p.PV.Name, &wire.Infeasible{Bytes: size, Why: err.Error()})
		}
		return fmt.Errorf("driver %s: NodeExpandVolume: %w", p.rec.Driver, err)
	}
	p.rec.Size, p.expanded = size, true
	return nil
}

// infeasible reports whether a driver's answer is the same however often it is asked (as
// kubelets see it: csi_plugin's expander).
func infeasible(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound:
		return true
	}
	return false
}

// refuse notes that a driver will not give a volume a size, nil: that this is to be seen.
func (d *Drivers) refuse(volume string, r *wire.Infeasible) {
	d.mu.Lock()
	had := d.refused[volume] != nil
	if d.refused[volume] = r; r == nil {
		delete(d.refused, volume)
	}
	d.mu.Unlock()
	if had || r != nil {
		d.cfg.Grown()
	}
}

// Infeasible returns the sizes that drivers will not give volumes here, by the names of their
// PersistentVolumes. What it returns stays as it is.
func (d *Drivers) Infeasible() map[string]*wire.Infeasible {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.refused)
}

// Republishes reports whether a driver wants to be called again and again on volumes that are
// published (API reference, CSIDriverSpec.requiresRepublish).
func (d *Drivers) Republishes(driver string) bool {
	o, ok := d.cfg.Objects.Driver(driver)
	return ok && republishes(o)
}

func republishes(o *storagev1.CSIDriver) bool {
	return o != nil && o.Spec.RequiresRepublish != nil && *o.Spec.RequiresRepublish
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
