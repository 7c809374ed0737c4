package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClaims: a stateful set whose pods keep what they write: on the built-in
// class, which makes and removes directories, and on a volume made by hand.
func TestClaims(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	if out := k.must("get", "storageclass,servicecidr", "--no-headers"); !strings.Contains(out, "local (default)") || !strings.Contains(out, "servicecidr.networking.k8s.io/kubernetes") {
		t.Errorf("a new cluster has %s", out)
	}
	hand := filepath.Join(h.Root, "hand")
	if err := os.MkdirAll(hand, 0o777); err != nil {
		t.Fatal(err)
	}
	k.apply(fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: hand-%[1]s}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  claimRef: {namespace: %[1]s, name: hand-db-0}
  local: {path: %[2]s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[3]s]}]}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: %[4]s
        command: ["sh", "-c", "sleep 1000"]
        volumeMounts: [{name: data, mountPath: /data}, {name: hand, mountPath: /hand}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
  - metadata: {name: hand}
    spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 1Gi}}}
`, k.namespace, hand, h.Name, busybox))
	t.Cleanup(func() {
		if out, err := k.run(context.Background(), "", "delete", "pv", "hand-"+k.namespace, "--timeout=30s"); err != nil {
			t.Errorf("deleting the volume: %v: %s", err, out)
		}
	})
	k.must("rollout", "status", "statefulset/db", "--timeout=90s")
	k.sh("db-0", "echo kept > /data/f; echo mine > /hand/f")
	first := k.must("get", "pod", "db-0", "-o", "jsonpath={.metadata.uid}")
	k.must("delete", "pod", "db-0")
	await(t, h, 60*time.Second, "another db-0", func() error {
		if uid, err := k.run(t.Context(), "", "get", "pod", "db-0", "-o", "jsonpath={.metadata.uid}"); err != nil || uid == first {
			return errNotYet
		}
		return nil
	})
	k.ready("db-0")
	if out := k.sh("db-0", "cat /data/f /hand/f"); out != "kept\nmine" {
		t.Errorf("the next pod reads %q", out)
	}
	if b, err := os.ReadFile(filepath.Join(hand, "f")); err != nil || string(b) != "mine\n" {
		t.Errorf("the volume made by hand holds %q: %v", b, err)
	}
	volume := k.must("get", "pvc", "data-db-0", "-o", "jsonpath={.spec.volumeName}")
	dir := filepath.Join(h.Root, "volumes", volume)
	if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(b) != "kept\n" {
		t.Errorf("the built-in class's volume holds %q: %v", b, err)
	}
	// No claim gets more than the disk has.
	k.must("patch", "pvc", "data-db-0", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"1Pi"}}}}`)
	k.apply(fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: huge}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Pi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: huge}
spec:
  volumes: [{name: v, persistentVolumeClaim: {claimName: huge}}]
  containers: [{name: c, image: %s, volumeMounts: [{name: v, mountPath: /v}]}]
`, busybox))
	await(t, h, 30*time.Second, "the disk is said to be too small", func() error {
		if out := k.must("get", "events"); !strings.Contains(out, "left for volumes on its disk") || !strings.Contains(out, "did not have enough free storage") {
			return errNotYet
		}
		return nil
	})
	k.want("1Gi", "get", "pvc", "data-db-0", "-o", "jsonpath={.status.capacity.storage}")
	k.must("delete", "pod/huge", "pvc/huge", "--timeout=30s")
	// A claim in use stays until its pod has gone.
	k.must("delete", "pvc", "data-db-0", "--wait=false")
	if out := k.must("get", "pvc", "data-db-0", "--no-headers"); !strings.Contains(out, "Terminating") {
		t.Errorf("the claim in use is %s", out)
	}
	k.must("delete", "statefulset", "db")
	k.must("delete", "pvc", "hand-db-0", "--timeout=60s")
	k.must("wait", "--for=delete", "pvc/data-db-0", "pv/"+volume, "--timeout=60s")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data of the deleted claim is still there (%v)", err)
	}
	if out := k.must("get", "pv", "hand-"+k.namespace, "-o", "jsonpath={.status.phase}"); out != "Released" {
		t.Errorf("the volume made by hand is %s", out)
	}
}
