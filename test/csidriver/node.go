package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node, MaxVolumesPerNode: 100}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	res := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
	} {
		res.Capabilities = append(res.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{
			Rpc: &csi.NodeServiceCapability_RPC{Type: c},
		}})
	}
	return res, nil
}

// loopFile holds the name of a staged block volume's device, in its staging folder.
const loopFile = "loop"

func (d *driver) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	v, err := d.volume(r.VolumeId)
	if err != nil {
		return nil, err
	}
	if v.Node != d.node || r.PublishContext["attached"] != d.node {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is attached to %q, not to %s", v.ID, v.Node, d.node)
	}
	if !v.Block {
		return &csi.NodeStageVolumeResponse{}, bind(d.array.data(volumes, v.ID), r.StagingTargetPath, 0)
	}
	file := filepath.Join(r.StagingTargetPath, loopFile)
	if _, err := os.Stat(file); err == nil {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	dev, err := attachLoop(d.array.data(volumes, v.ID))
	if err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, os.WriteFile(file, []byte(dev), 0o644)
}

func (d *driver) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	file := filepath.Join(r.StagingTargetPath, loopFile)
	dev, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &csi.NodeUnstageVolumeResponse{}, unmount(r.StagingTargetPath)
	case err != nil:
		return nil, err
	}
	if err := loop(string(dev), unix.LOOP_CLR_FD); err != nil && !errors.Is(err, unix.ENXIO) {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, os.Remove(file)
}

func (d *driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	from := r.StagingTargetPath
	switch {
	case r.VolumeContext["csi.storage.k8s.io/ephemeral"] == "true":
		from = d.array.data("inline", r.VolumeId)
		if err := os.MkdirAll(from, 0o777); err != nil {
			return nil, err
		}
	case r.VolumeCapability.GetBlock() != nil:
		dev, err := os.ReadFile(filepath.Join(from, loopFile))
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(r.TargetPath, os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		return &csi.NodePublishVolumeResponse{}, errors.Join(f.Close(), bind(string(dev), r.TargetPath, 0))
	}
	if err := os.MkdirAll(r.TargetPath, 0o750); err != nil {
		return nil, err
	}
	flags := uintptr(0)
	if r.Readonly {
		flags = unix.MS_RDONLY
	}
	return &csi.NodePublishVolumeResponse{}, bind(from, r.TargetPath, flags)
}

func (d *driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := unmount(r.TargetPath); err != nil {
		return nil, err
	}
	if err := os.Remove(r.TargetPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, d.array.remove("inline", r.VolumeId)
}

// NodeExpandVolume notes beside the volume how far it has grown on its node, and has its
// loop device look at its size again.
func (d *driver) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	v, err := d.volume(r.VolumeId)
	if err != nil {
		return nil, err
	}
	if v.Node != d.node {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is not attached to %s", v.ID, d.node)
	}
	if v.Block {
		dev, err := os.ReadFile(filepath.Join(r.StagingTargetPath, loopFile))
		if err != nil {
			return nil, err
		}
		if err := loop(string(dev), unix.LOOP_SET_CAPACITY); err != nil {
			return nil, err
		}
	}
	file := d.array.path(volumes, v.ID, "grown")
	return &csi.NodeExpandVolumeResponse{CapacityBytes: v.Size}, os.WriteFile(file, []byte(strconv.FormatInt(v.Size, 10)), 0o644)
}

// bind mounts one path at another, once.
func bind(from, to string, flags uintptr) error {
	if mounted(to) {
		return nil
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", from, to, err)
	}
	if flags == 0 {
		return nil
	}
	return unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
}

func unmount(path string) error {
	if !mounted(path) {
		return nil
	}
	return unix.Unmount(path, 0)
}

func mounted(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// attachLoop returns the path of a loop device that shows the file.
func attachLoop(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", fmt.Errorf("finding a free loop device: %w", err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &unix.LoopConfig{Fd: uint32(f.Fd())})
		dev.Close()
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, unix.EBUSY) { // somebody else was faster
			return "", fmt.Errorf("attaching %s to %s: %w", file, path, err)
		}
	}
}

// loop does one thing to a loop device.
func loop(path string, what uint) error {
	dev, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := unix.IoctlSetInt(int(dev.Fd()), what, 0); err != nil {
		return fmt.Errorf("ioctl %#x of %s: %w", what, path, err)
	}
	return nil
}
