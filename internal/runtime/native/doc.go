// Package native is the runtime that runs containers itself, beside the one that
// asks a CRI server: images come from containerd through runtime/cri, which
// hands out the folders of an image's unpacked layers; everything else is done
// here. A container costs one run of crun or runc, and no call of containerd.
//
//	<Root>/native/sandboxes/ID/sandbox.json   what was asked for
//	<Root>/native/sandboxes/ID/ns/{net,ipc,uts}  namespaces, held by bind mounts: no process of the sandbox's own
//	<Root>/native/sandboxes/ID/{shm,hostname,resolv.conf}
//	<Root>/native/containers/ID/container.json   what was asked for
//	<Root>/native/containers/ID/{upper,work,rootfs}  the writable layer; the overlay over the image's layers
//	<Root>/native/containers/ID/...           what package shim lists
//
// A sandbox whose containers share processes has one container more, of the
// pause image and with the sandbox's ID, which holds the PID namespace.
//
// Containers are children of one shim a node (package shim), which Run starts
// and starts again. What exists is kept in memory and in the files above; New
// reads them, so a restarted agent adopts what runs. State moves one way only,
// Created, Running, Exited, and is what the shim's files say.
//
// It needs root, overlayfs, and Linux 5.11 or newer. CRI's runtime handlers
// beside the default one, SELinux and AppArmor profiles are refused or ignored
// as our containerd does with its configuration.
//
// A Runtime may be used by any number of goroutines. Goroutines are its own
// only in Run and during calls.
//
// To debug: <Root>/native/shim.log; crun --root <Root>/native/runtime list.
package native
