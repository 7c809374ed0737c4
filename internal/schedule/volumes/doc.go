// Package volumes says which nodes the claims of a pod leave it, and binds those that wait for a node: by the
// topology of volumes that are there or may be made, by how many volumes of a driver a node takes, by the room on
// its disk, and by claims that one pod at a time may use.
//
// It is part of the scheduler's loop, is pure and keeps no index of its own: a Node is what the cell counts, an Asks is
// read for each class from the tables PersistentVolumeClaims, PersistentVolumes, StorageClasses, CSIDrivers and
// CSIStorageCapacities, and read again when Touched names one of its claims.
//
// How to debug: `trireme why POD`; the script volumes.txtar of the scheduler.
package volumes
