package csi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// Unpublish takes away what drivers published for the pod, and unstages what no
// other pod uses. After an error the volumes that are left stay as they are.
func (d *Drivers) Unpublish(uid types.UID) error {
	records, err := d.records(uid)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range records {
		if err := d.unpublish(r); err != nil {
			errs = append(errs, fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", r.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Drivers) unpublish(r *record) error {
	defer d.hold(r.volume())()
	one, err := d.driver(r.Driver)
	if err != nil {
		return err
	}
	ctx, cancel := d.call()
	defer cancel()
	if _, err := one.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{
		VolumeId: r.Handle, TargetPath: d.cfg.Home.There(r.target()),
	}); err != nil {
		return fmt.Errorf("driver %s: NodeUnpublishVolume: %w", r.Driver, err)
	}
	if mounted(r.target()) {
		return fmt.Errorf("driver %s unpublished the volume, but it is still mounted at %s", r.Driver, r.target())
	}
	// Remove, and never RemoveAll: what a driver left there is not ours.
	if err := os.Remove(r.target()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	used, err := d.usedByOthers(r)
	if err != nil {
		return err
	}
	if r.Staging != "" && !used {
		if _, err := one.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{
			VolumeId: r.Handle, StagingTargetPath: d.cfg.Home.There(r.Staging),
		}); err != nil {
			return fmt.Errorf("driver %s: NodeUnstageVolume: %w", r.Driver, err)
		}
		if mounted(r.Staging) {
			return fmt.Errorf("driver %s unstaged the volume, but it is still mounted at %s", r.Driver, r.Staging)
		}
		made := []string{r.Staging}
		if r.Device == "" {
			made = append(made, filepath.Dir(r.Staging))
		}
		for _, dir := range made {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if r.Device != "" {
		if err := os.Remove(filepath.Dir(r.Device)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	d.refuse(r.Name, nil)
	if err := os.RemoveAll(r.dir); err != nil { // holds the record alone
		return err
	}
	if r.Attached {
		d.cfg.Used()
	}
	return nil
}

// usedByOthers reports whether another pod of this node has the volume.
func (d *Drivers) usedByOthers(r *record) (bool, error) {
	all, err := d.records(everyPod)
	if err != nil {
		return false, err
	}
	for _, o := range all {
		if o.dir != r.dir && o.volume() == r.volume() {
			return true, nil
		}
	}
	return false, nil
}
