// Package snapshot brings snapshots and their contents together (Kubernetes, "Volume
// Snapshots"), as external-snapshotter's controller does, for volumes of the class local:
// those of the driver trireme.dev/local. Everything of other drivers is left to theirs.
//
//	who                        writes
//	this loop                  VolumeSnapshot: all of status, finalizers, spec.volumeSnapshotClassName where it is empty
//	                           VolumeSnapshotContent: spec, finalizers, annotations
//	                           PersistentVolumeClaim: the finalizer pvc-as-source-protection
//	dispatch, from the node    VolumeSnapshotContent: status; its finalizer trireme.dev/local-data once the data is gone
//	orchestrate/volume Local   PersistentVolume of a claim that has a source: annotation trireme.dev/made-of
//
//	VolumeSnapshot ─► VolumeSnapshotContent ─► node: copy ─► content's status ─► snapshot's status
//
// A snapshot that is deleted waits for claims whose volumes are still to be made of it;
// its content, with the policy Delete, for the node that has the data, or to have left the
// cluster with it. A claim that is deleted waits for its snapshots that are being made.
//
// Errors of the node are in status.error of both, and it tries again. The loop writes none
// over another's: where external-snapshotter runs too, its controller sees our snapshots,
// takes the same steps by the same names, and may have said something first.
//
// It is not for copying (agent/snapshot), nor for volumes (orchestrate/volume).
//
// How to debug: kubectl get volumesnapshot,volumesnapshotcontent -o yaml; testdata/*.txtar.
package snapshot
