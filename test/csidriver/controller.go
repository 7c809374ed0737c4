package main

import (
	"context"
	"os"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	res := &csi.ControllerGetCapabilitiesResponse{}
	for _, c := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME, csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME, csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
	} {
		res.Capabilities = append(res.Capabilities, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{
			Rpc: &csi.ControllerServiceCapability_RPC{Type: c},
		}})
	}
	return res, nil
}

func (d *driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	v := &disk{ID: r.Name, Size: r.CapacityRange.GetRequiredBytes(), Block: r.VolumeCapabilities[0].GetBlock() != nil}
	if have, err := d.array.get(volumes, v.ID); err != nil || have != nil {
		return d.made(have, r), err
	}
	from := ""
	if id := r.VolumeContentSource.GetSnapshot().GetSnapshotId(); id != "" {
		snap, err := d.array.get(snapshots, id)
		switch {
		case err != nil:
			return nil, err
		case snap == nil:
			return nil, status.Errorf(codes.NotFound, "no snapshot %s", id)
		case snap.Block != v.Block || snap.Size > v.Size:
			return nil, status.Errorf(codes.InvalidArgument, "a volume of snapshot %s has %d bytes at least, and the same mode", id, snap.Size)
		}
		from = d.array.data(snapshots, id)
	}
	if err := d.array.fill(volumes, v, from); err != nil {
		return nil, err
	}
	return d.made(v, r), d.array.put(volumes, v)
}

func (d *driver) made(v *disk, r *csi.CreateVolumeRequest) *csi.CreateVolumeResponse {
	if v == nil {
		return nil
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: v.ID, CapacityBytes: v.Size, ContentSource: r.VolumeContentSource}}
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	v, err := d.array.get(volumes, r.VolumeId)
	if err != nil {
		return nil, err
	}
	if v != nil && v.Node != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is attached to %s", v.ID, v.Node)
	}
	return &csi.DeleteVolumeResponse{}, d.array.remove(volumes, r.VolumeId)
}

// volume returns the volume of the name, or says that there is none.
func (d *driver) volume(id string) (*disk, error) {
	v, err := d.array.get(volumes, id)
	if err == nil && v == nil {
		err = status.Errorf(codes.NotFound, "no volume %s", id)
	}
	return v, err
}

func (d *driver) ControllerPublishVolume(_ context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	v, err := d.volume(r.VolumeId)
	if err != nil {
		return nil, err
	}
	if v.Node != "" && v.Node != r.NodeId {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is attached to %s already", v.ID, v.Node)
	}
	v.Node = r.NodeId
	return &csi.ControllerPublishVolumeResponse{PublishContext: map[string]string{"attached": v.Node}}, d.array.put(volumes, v)
}

func (d *driver) ControllerUnpublishVolume(_ context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	v, err := d.array.get(volumes, r.VolumeId)
	if err != nil || v == nil || r.NodeId != "" && v.Node != r.NodeId {
		return &csi.ControllerUnpublishVolumeResponse{}, err
	}
	v.Node = ""
	return &csi.ControllerUnpublishVolumeResponse{}, d.array.put(volumes, v)
}

func (d *driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if _, err := d.volume(r.VolumeId); err != nil {
		return nil, err
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.VolumeCapabilities}}, nil
}

func (d *driver) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	v, err := d.volume(r.VolumeId)
	if err != nil {
		return nil, err
	}
	v.Size = max(v.Size, r.CapacityRange.GetRequiredBytes())
	if v.Block {
		if err := os.Truncate(d.array.data(volumes, v.ID), v.Size); err != nil {
			return nil, err
		}
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.Size, NodeExpansionRequired: true}, d.array.put(volumes, v)
}

func (d *driver) CreateSnapshot(_ context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	have, err := d.array.get(snapshots, r.Name)
	if err != nil {
		return nil, err
	}
	if have == nil {
		v, err := d.volume(r.SourceVolumeId)
		if err != nil {
			return nil, err
		}
		have = &disk{ID: r.Name, Size: v.Size, Block: v.Block, Of: v.ID}
		if err := d.array.fill(snapshots, have, d.array.data(volumes, v.ID)); err != nil {
			return nil, err
		}
		if err := d.array.put(snapshots, have); err != nil {
			return nil, err
		}
	}
	made, err := os.Stat(d.array.path(snapshots, have.ID, "disk.json"))
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{
		SnapshotId: have.ID, SourceVolumeId: have.Of, SizeBytes: have.Size, ReadyToUse: true, CreationTime: timestamppb.New(made.ModTime()),
	}}, nil
}

func (d *driver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if strings.Contains(r.SnapshotId, "/") {
		return nil, status.Errorf(codes.InvalidArgument, "%s is no snapshot", r.SnapshotId)
	}
	return &csi.DeleteSnapshotResponse{}, d.array.remove(snapshots, r.SnapshotId)
}
