// Package snapshot is what is true of snapshots of volumes (snapshot.storage.k8s.io)
// wherever they are looked at: the names and finalizers by which the snapshot-controller and
// csi-snapshotter of kubernetes-csi/external-snapshotter know each other, and where a
// snapshot of the driver trireme.dev/local lies.
//
//	volumeHandle    NODE/PERSISTENTVOLUME
//	snapshotHandle  NODE/snapshot-UID of the VolumeSnapshot
//
// Definitions are the kinds themselves, as the module external-snapshotter/client has them.
//
// It is pure. Who makes contents for snapshots is orchestrate/snapshot, who copies is
// agent/snapshot.
package snapshot

//go:generate go run ../../../hack/crds definitions_gen.json.gz github.com/kubernetes-csi/external-snapshotter/client/v8 config/crd/snapshot.storage.k8s.io_volumesnapshotclasses.yaml config/crd/snapshot.storage.k8s.io_volumesnapshotcontents.yaml config/crd/snapshot.storage.k8s.io_volumesnapshots.yaml
