// Package volume brings persistent volumes and the claims on them together
// (Kubernetes, "Persistent Volumes").
//
// Binder binds: a claim gets the smallest free volume that fits, the one that a
// user wrote into either side, or, where its class has a provisioner, a note that
// asks for one. It tells in the phase of both how they stand:
//
//	volume: Pending ─► Available ─► Bound ─► Released ─► gone, kept, or Failed
//	claim:  Pending ─► Bound ─► Lost (its volume is gone)
//
// Claims of a class that waits for a first consumer are bound by what the
// scheduler writes: a volume's claimRef, or the claim's selected node.
//
// Protector keeps what is in use: a claim that a pod on a node names, a volume
// that is bound. Ephemeral makes the claims of pods' ephemeral volumes. Local is the
// built-in provisioner: directories on nodes.
//
// Named sees to swarm's volumes with a name: a PersistentVolume of Local's kind for each
// node that has data of one.
//
// Attacher asks for volumes to be attached to nodes, and released (VolumeAttachment).
//
// But for Attacher, which counts who uses what, the loops keep no state: the tables' indexes find what belongs together. They
// are not for mounting (agent), for placing (schedule), or for making volumes
// elsewhere.
//
// How to debug: kubectl describe pvc shows the events; testdata/*.txtar.
package volume
