// Package snapshot keeps a node's snapshots of volumes of the class local, and makes
// volumes of them: copies that share their blocks with what they are of (reflink,
// ioctl_ficlonerange(2)).
//
//	DIR/VOLUME                     a volume
//	DIR/.snapshots/NAME/data       what a volume was
//	DIR/.snapshots/NAME/made.json  when, and how large the volume was to be
//	DIR/.snapshots/.…              half made or half removed: goes at the next start
//
// Each file is copied as it is at one instant, but not all at the same one. A copy has
// its owners, modes, times, extended attributes, hard links, holes, symbolic links and
// devices. What is mounted within a volume is not a part of it. Nothing is read by its
// path, and no symbolic link is followed: pods write there while it is copied.
//
// A Keeper makes what it is told of, one thing at a time, and says what became of it. Only
// what has reached the disk has its name. It is not for deciding what there is to be
// (orchestrate/snapshot), nor for mounting volumes (agent/volume).
//
// How to debug: kubectl get volumesnapshotcontent NAME -o yaml has the error; the agent's
// log; ls -A DIR/.snapshots.
package snapshot
