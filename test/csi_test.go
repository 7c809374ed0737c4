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

	"trireme/test/cluster"
)

// csiPrograms builds the driver in test/csidriver and upstream's sidecars, of the module in
// test/software, and returns the folder that they are in.
func csiPrograms(t *testing.T) string {
	t.Helper()
	const from = "github.com/kubernetes-csi/"
	dir := filepath.Dir(software(t, from+"external-provisioner/v6/cmd/csi-provisioner", from+"external-attacher/v4/cmd/csi-attacher", from+"external-resizer/v2/cmd/csi-resizer"))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", dir, "./test/csidriver")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the driver: %v: %s", err, out)
	}
	return dir
}

// TestCSI runs a driver as its maker would ship it, with upstream's sidecars, on two
// nodes: volumes are made, attached, mounted, grown while in use and while not, moved to
// the other node, copied by snapshots, and removed with nothing left.
func TestCSI(t *testing.T) {
	programs := csiPrograms(t)
	c := &csiTest{array: t.TempDir()}
	t.Cleanup(func() { detachLoops(t, c.array) })
	hosts := ownMachines(t, 2)
	h, other := hosts[0], hosts[1]
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
	c.client = k
	k.apply(c.fill(csiDriver, programs))
	k.must("rollout", "status", "daemonset/node", "deployment/controller", "--timeout=90s")
	await(t, h, 30*time.Second, "both nodes tell of the driver", func() error {
		if out := k.must("get", "csinodes", "-o", "jsonpath={.items[*].spec.drivers[*].nodeID}"); len(strings.Fields(out)) != 2 {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})

	k.apply(csiClaims)
	c.pod("first", h)
	k.must("wait", "--for=condition=Ready", "pod/first", "--timeout=60s")
	if out := k.sh("first", "echo kept > /data/f; stat -c '%g %a' /data /data/f; echo raw | dd of=/dev/disk conv=fsync 2>/dev/null; blockdev --getsize64 /dev/disk"); !strings.HasPrefix(out, "3000 2") || !strings.Contains(out, "3000 6") || !strings.HasSuffix(out, "16777216") {
		t.Errorf("in the first pod:\n%s", out)
	}
	c.attached("disk", h.Name)

	// What is in use grows where it is.
	c.grow("files", "2Gi")
	c.grow("disk", "32Mi")
	if out := k.sh("first", "blockdev --getsize64 /dev/disk; head -n1 /dev/disk"); out != "33554432\nraw" {
		t.Errorf("the device that has grown: %q", out)
	}

	// What nobody uses grows when somebody does, here on the other node.
	k.must("delete", "pod", "first", "--timeout=60s")
	k.must("patch", "pvc", "files", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}`)
	k.must("wait", "--for=condition=FileSystemResizePending", "pvc/files", "--timeout=60s")
	c.pod("second", other)
	k.must("wait", "--for=condition=Ready", "pod/second", "--timeout=60s")
	if out := k.sh("second", "cat /data/f; head -n1 /dev/disk"); out != "kept\nraw" {
		t.Errorf("the pod on the other node reads %q", out)
	}
	c.attached("disk", other.Name)
	k.must("wait", "--for=jsonpath={.status.capacity.storage}=3Gi", "pvc/files", "--timeout=30s")
	k.want("", "get", "pvc", "files", "-o", "jsonpath={.status.conditions[*].type}")

	// Volumes that live as long as their pod.
	k.apply(c.fill(csiEphemeral, programs))
	k.must("wait", "--for=condition=Ready", "pod/short", "--timeout=60s")
	if out := k.sh("short", "echo x > /inline/f; echo x > /own/f; ls /inline /own"); strings.Count(out, "f") != 2 {
		t.Errorf("in the pod of volumes of its own: %s", out)
	}

	if os.Getenv("TRIREME_CSI_SNAPSHOTS") != "" {
		c.snapshots(programs)
	}
	k.must("delete", "pods", "-l", "app notin (controller,node,snapshots)", "--timeout=60s")
	k.must("delete", "pvc", "--all", "--timeout=60s")
	await(t, h, 60*time.Second, "no volume is left", func() error {
		if out := k.must("get", "pv,volumeattachments", "-o", "name"); out != "" {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
	left, err := filepath.Glob(filepath.Join(c.array, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the array: %v, %v", left, err)
	}
}

// csiTest is a cluster with the driver.
type csiTest struct {
	*client
	array string
}

// pod runs a pod of both claims on the host.
func (c *csiTest) pod(name string, h *cluster.Host) {
	c.t.Helper()
	c.apply(fmt.Sprintf(csiPod, name, h.Name))
}

// volume returns the name of the claim's volume, which is the driver's name of it too.
func (c *csiTest) volume(claim string) string {
	c.t.Helper()
	return strings.TrimSpace(c.must("get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}"))
}

// attached checks which nodes the claim's volume is attached to.
func (c *csiTest) attached(claim, want string) {
	c.t.Helper()
	path := fmt.Sprintf("jsonpath={.items[?(@.spec.source.persistentVolumeName==%q)].spec.nodeName}", c.volume(claim))
	c.want(want, "get", "volumeattachments", "-o", path)
}

// grow asks for more of a claim in use and waits until its node has done its part.
func (c *csiTest) grow(claim, size string) {
	c.t.Helper()
	c.must("patch", "pvc", claim, "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"`+size+`"}}}}`)
	c.must("wait", "--for=jsonpath={.status.capacity.storage}="+size, "pvc/"+claim, "--timeout=60s")
	c.want("", "get", "pvc", claim, "-o", "jsonpath={.status.conditions[*].type}")
	if _, err := os.Stat(filepath.Join(c.array, "volumes", c.volume(claim), "grown")); err != nil {
		c.t.Errorf("claim %s has grown without its node: %v", claim, err)
	}
}

// snapshots takes a snapshot of the claim files through the driver and makes a claim of it.
func (c *csiTest) snapshots(programs string) {
	c.t.Helper()
	const from = "github.com/kubernetes-csi/external-snapshotter/"
	software(c.t, from+"v8/cmd/csi-snapshotter", from+"v8/cmd/snapshot-controller")
	cmd := exec.CommandContext(c.t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", from+"client/v8")
	cmd.Dir = "software"
	dir, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("finding the definitions of snapshots: %v", err)
	}
	kinds, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/*.storage.k8s.io_*.yaml"))
	if err != nil || len(kinds) == 0 {
		c.t.Fatalf("the definitions of snapshots: %v, %v", kinds, err)
	}
	for _, f := range kinds {
		c.must("apply", "-f", f)
	}
	c.apply(c.fill(csiSnapshotter, programs))
	c.must("rollout", "status", "deployment/snapshots", "--timeout=90s")
	c.apply(csiSnapshot)
	c.must("wait", "--for=jsonpath={.status.readyToUse}=true", "volumesnapshot/then", "--timeout=90s")
	c.sh("second", "echo later > /data/f; sync")
	c.apply(csiRestored)
	c.must("wait", "--for=condition=Ready", "pod/restored", "--timeout=90s")
	c.want("kept", "exec", "restored", "--", "cat", "/data/f")
	c.must("delete", "volumesnapshot", "then", "--timeout=60s")
}

// fill puts into a manifest where things lie.
func (c *csiTest) fill(manifest, programs string) string {
	return strings.NewReplacer("ARRAY", c.array, "PROGRAMS", programs, "BUSYBOX", busybox).Replace(manifest)
}

// detachLoops frees the loop devices of files below a folder, which a failed test leaves.
func detachLoops(t *testing.T, dir string) {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(b), dir+"/") {
			dev := "/dev/" + strings.Split(f, "/")[3]
			if out, err := exec.CommandContext(context.Background(), "losetup", "-d", dev).CombinedOutput(); err != nil {
				t.Errorf("losetup -d %s: %v: %s", dev, err, out)
			}
		}
	}
}

// csiDriver is the driver in two parts, as drivers are shipped: a controller with its
// sidecars, and a pod on every node.
const csiDriver = `
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: disks.csi.trireme.test}
spec: {attachRequired: true, podInfoOnMount: true, fsGroupPolicy: File, volumeLifecycleModes: [Persistent, Ephemeral]}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: disks}
provisioner: disks.csi.trireme.test
allowVolumeExpansion: true
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: csi}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: csi}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: csi, namespace: testcsi}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: controller}
spec:
  selector: {matchLabels: {app: controller}}
  template:
    metadata: {labels: {app: controller}}
    spec:
      serviceAccountName: csi
      terminationGracePeriodSeconds: 1
      volumes: [{name: socket, emptyDir: {}}, {name: array, hostPath: {path: "ARRAY"}}, {name: programs, hostPath: {path: "PROGRAMS"}}]
      containers:
      - {name: driver, image: "BUSYBOX", command: [/programs/csidriver, -socket, /csi/csi.sock, -state, /array], volumeMounts: [{name: programs, mountPath: /programs}, {name: socket, mountPath: /csi}, {name: array, mountPath: /array}]}
      - {name: provisioner, image: "BUSYBOX", command: [/programs/csi-provisioner, --csi-address=/csi/csi.sock, --retry-interval-start=200ms, --default-fstype=ext4], volumeMounts: [{name: programs, mountPath: /programs}, {name: socket, mountPath: /csi}]}
      - {name: attacher, image: "BUSYBOX", command: [/programs/csi-attacher, --csi-address=/csi/csi.sock, --retry-interval-start=200ms], volumeMounts: [{name: programs, mountPath: /programs}, {name: socket, mountPath: /csi}]}
      - {name: resizer, image: "BUSYBOX", command: [/programs/csi-resizer, --csi-address=/csi/csi.sock, --retry-interval-start=200ms], volumeMounts: [{name: programs, mountPath: /programs}, {name: socket, mountPath: /csi}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node}
spec:
  selector: {matchLabels: {app: node}}
  template:
    metadata: {labels: {app: node}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes:
      - {name: plugin, hostPath: {path: /var/lib/kubelet/plugins/disks.csi.trireme.test, type: DirectoryOrCreate}}
      - {name: plugins, hostPath: {path: /var/lib/kubelet/plugins, type: DirectoryOrCreate}}
      - {name: registry, hostPath: {path: /var/lib/kubelet/plugins_registry, type: DirectoryOrCreate}}
      - {name: pods, hostPath: {path: /var/lib/kubelet/pods, type: DirectoryOrCreate}}
      - {name: array, hostPath: {path: "ARRAY"}}
      - {name: programs, hostPath: {path: "PROGRAMS"}}
      - {name: dev, hostPath: {path: /dev}}
      containers:
      - name: driver
        image: "BUSYBOX"
        securityContext: {privileged: true}
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        command: [/programs/csidriver, -node, $(NODE), -state, /array, -socket, /csi/csi.sock, -registry, /registry/disks.csi.trireme.test-reg.sock, -named, /var/lib/kubelet/plugins/disks.csi.trireme.test/csi.sock]
        volumeMounts:
        - {name: programs, mountPath: /programs}
        - {name: plugin, mountPath: /csi}
        - {name: registry, mountPath: /registry}
        - {name: plugins, mountPath: /var/lib/kubelet/plugins, mountPropagation: Bidirectional}
        - {name: pods, mountPath: /var/lib/kubelet/pods, mountPropagation: Bidirectional}
        - {name: array, mountPath: /array}
        - {name: dev, mountPath: /dev}
`

const csiClaims = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files}
spec: {accessModes: [ReadWriteOnce], storageClassName: disks, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: disks, resources: {requests: {storage: 16Mi}}}
`

const csiPod = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  securityContext: {fsGroup: 3000}
  volumes: [{name: files, persistentVolumeClaim: {claimName: files}}, {name: disk, persistentVolumeClaim: {claimName: disk}}]
  containers:
  - name: c
    image: trireme.local/busybox:1
    command: [sleep, "1000"]
    volumeMounts: [{name: files, mountPath: /data}]
    volumeDevices: [{name: disk, devicePath: /dev/disk}]
`

const csiEphemeral = `
apiVersion: v1
kind: Pod
metadata: {name: short}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: inline, csi: {driver: disks.csi.trireme.test}}
  - {name: own, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], storageClassName: disks, resources: {requests: {storage: 1Mi}}}}}}
  containers: [{name: c, image: "trireme.local/busybox:1", command: [sleep, "1000"], volumeMounts: [{name: inline, mountPath: /inline}, {name: own, mountPath: /own}]}]
`

const csiSnapshotter = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: snapshots}
spec:
  selector: {matchLabels: {app: snapshots}}
  template:
    metadata: {labels: {app: snapshots}}
    spec:
      serviceAccountName: csi
      terminationGracePeriodSeconds: 1
      volumes: [{name: socket, emptyDir: {}}, {name: array, hostPath: {path: "ARRAY"}}, {name: programs, hostPath: {path: "PROGRAMS"}}]
      containers:
      - {name: driver, image: "BUSYBOX", command: [/programs/csidriver, -socket, /csi/csi.sock, -state, /array], volumeMounts: [{name: programs, mountPath: /programs}, {name: socket, mountPath: /csi}, {name: array, mountPath: /array}]}
      - {name: snapshotter, image: "BUSYBOX", command: [/programs/csi-snapshotter, --csi-address=/csi/csi.sock], volumeMounts: [{name: programs, mountPath: /programs}, {name: socket, mountPath: /csi}]}
      - {name: controller, image: "BUSYBOX", command: [/programs/snapshot-controller], volumeMounts: [{name: programs, mountPath: /programs}]}
`

const csiSnapshot = `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: disks}
driver: disks.csi.trireme.test
deletionPolicy: Delete
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: then}
spec: {volumeSnapshotClassName: disks, source: {persistentVolumeClaimName: files}}
`

const csiRestored = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: restored}
spec: {accessModes: [ReadWriteOnce], storageClassName: disks, dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: then}, resources: {requests: {storage: 3Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: restored}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: files, persistentVolumeClaim: {claimName: restored}}]
  containers: [{name: c, image: "trireme.local/busybox:1", command: [sleep, "1000"], volumeMounts: [{name: files, mountPath: /data}]}]
`
