package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trireme/test/cluster"
)

// sharing puts a file system on which files can share blocks below the host's volumes.
func sharing(t *testing.T, h *cluster.Host) {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.xfs")
	if err != nil {
		t.Skip("the machine has no mkfs.xfs (Debian: xfsprogs)")
	}
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(b), "\txfs\n") {
		t.Skip("the kernel has no XFS")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), filepath.Join(h.Root, "volumes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]string{{"truncate", "-s", "320M", image}, {mkfs, "-q", "-m", "reflink=1", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.CommandContext(t.Context(), cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() { // the loop device goes with the mount
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestSnapshots: a snapshot of a claim of the built-in class, on a node whose file system can
// share blocks, outlives its claim; claims made of it, and of another claim, are on the node
// where that is. On a file system that cannot, the snapshot says so, and what to do.
func TestSnapshots(t *testing.T) {
	hosts := ownMachines(t, 2)
	h, other := hosts[0], hosts[1]
	sharing(t, h)
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	join(t, h, other)
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Trireme(t.Context(), "image", "import", tar); err != nil { // on both
		t.Fatal(err)
	}
	k := newClient(t, h)
	k.want("local", "get", "volumesnapshotclass", "-o", "jsonpath={.items[*].metadata.name}")
	k.apply(snapshotClaim("data", "") + snapshotPod("data", h.Name) + snapshotClaim("plain", "") + snapshotPod("plain", other.Name))
	k.must("wait", "--for=condition=Ready", "pod/data", "pod/plain", "--timeout=90s")
	k.sh("data", "echo then > /data/f; chmod 640 /data/f; chown 12:34 /data/f; ln /data/f /data/same; ln -s /etc/passwd /data/out")
	k.apply(snapshotOf("then", "data") + snapshotOf("refused", "plain"))
	k.must("wait", "--for=jsonpath={.status.readyToUse}=true", "volumesnapshot/then", "--timeout=60s")
	if out := k.must("get", "volumesnapshot", "then", "-o", "jsonpath={.status.restoreSize} {.spec.volumeSnapshotClassName} {.status.creationTime}"); !strings.HasPrefix(out, "64Mi local 20") {
		t.Errorf("the snapshot says %q", out)
	}
	magic := unix.Statfs_t{}
	if err := unix.Statfs(other.Root, &magic); err != nil {
		t.Fatal(err)
	}
	if magic.Type == unix.EXT4_SUPER_MAGIC {
		await(t, h, 60*time.Second, "the snapshot on ext4 is refused", func() error {
			if out := k.must("get", "volumesnapshot", "refused", "-o", "jsonpath={.status.readyToUse} {.status.error.message}"); !strings.HasPrefix(out, "false") || !strings.Contains(out, "(ext4) cannot share blocks") || !strings.Contains(out, "reflink=1") {
				return fmt.Errorf("%w: %s", errNotYet, out)
			}
			return nil
		})
	}
	k.sh("data", "echo later > /data/f; sync")
	k.apply(snapshotClaim("restored", "dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: then}, ") + snapshotClaim("cloned", "dataSource: {kind: PersistentVolumeClaim, name: data}, "))
	k.must("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/restored", "pvc/cloned", "--timeout=60s") // without a pod
	k.apply(snapshotPod("restored", "") + snapshotPod("cloned", ""))
	k.must("wait", "--for=condition=Ready", "pod/restored", "pod/cloned", "--timeout=90s")
	if out := k.sh("restored", "cat /data/f /data/same; stat -c '%u:%g %a %h' /data/f; readlink /data/out"); out != "then\nthen\n12:34 640 2\n/etc/passwd" {
		t.Errorf("the pod of the claim of the snapshot reads %q", out)
	}
	if out := k.sh("cloned", "cat /data/f"); out != "later" {
		t.Errorf("the pod of the claim of a claim reads %q", out)
	}
	k.want(h.Name+" "+h.Name, "get", "pods", "restored", "cloned", "-o", "jsonpath={.items[*].spec.nodeName}")

	volume := k.must("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	k.must("delete", "pod/data", "pvc/data", "--timeout=60s")
	k.must("wait", "--for=delete", "pv/"+volume, "--timeout=60s")
	k.want("true", "get", "volumesnapshot", "then", "-o", "jsonpath={.status.readyToUse}")
	k.apply(snapshotClaim("again", "dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: then}, ") + snapshotPod("again", ""))
	k.must("wait", "--for=condition=Ready", "pod/again", "--timeout=90s")
	k.want("then", "exec", "again", "--", "cat", "/data/f")

	k.must("delete", "volumesnapshots", "--all", "--timeout=60s")
	k.want("", "get", "volumesnapshotcontents", "-o", "name")
	if left, err := os.ReadDir(filepath.Join(h.Root, "volumes/.snapshots")); err != nil || len(left) > 0 {
		t.Errorf("left of the snapshot: %v, %v", left, err)
	}
	k.want("then", "exec", "again", "--", "cat", "/data/f")
	if out, err := k.run(context.Background(), "", "delete", "pods,pvc", "--all", "--timeout=60s"); err != nil {
		t.Errorf("deleting the claims: %v: %s", err, out)
	}
}

// snapshotClaim is a claim of the default class; source is a field of its spec, or empty.
func snapshotClaim(name, source string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec: {%saccessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---`, name, source)
}

// snapshotPod is a pod of the claim of its name, on a host where one is named.
func snapshotPod(name, host string) string {
	on := ""
	if host != "" {
		on = ", kubernetes.io/hostname: " + host
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  nodeSelector: {kubernetes.io/os: linux%[2]s}
  terminationGracePeriodSeconds: 0
  volumes: [{name: data, persistentVolumeClaim: {claimName: %[1]s}}]
  containers: [{name: c, image: "trireme.local/busybox:1", command: [sleep, "1000"], volumeMounts: [{name: data, mountPath: /data}]}]
---`, name, on)
}

// snapshotOf is a snapshot of a claim that names no class.
func snapshotOf(name, claim string) string {
	return fmt.Sprintf(`
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: %s}
spec: {source: {persistentVolumeClaimName: %s}}
---`, name, claim)
}
