package columns_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"trireme/internal/api/kube/columns"
	"trireme/internal/tables"
)

// TestCells checks a line of kubectl's for an object of each kind, "|" between
// cells, against what Kubernetes shows.
func TestCells(t *testing.T) {
	for _, c := range []struct{ kind, object, want string }{
		{"PersistentVolume", "{spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce, ReadOnlyMany], persistentVolumeReclaimPolicy: Retain, storageClassName: c, volumeMode: Block, claimRef: {namespace: n1, name: p}}, status: {phase: Bound}}",
			"a|1Gi|RWO,ROX|Retain|Bound|n1/p|c|<unset>||<unknown>|Block"},
		{"PersistentVolume", "{metadata: {deletionTimestamp: '2030-01-01T00:00:00Z'}, status: {phase: Bound}}", "a||||Terminating|||<unset>||<unknown>|<unset>"},
		{"PersistentVolumeClaim", "{spec: {volumeName: v, storageClassName: c, volumeMode: Filesystem}, status: {phase: Bound, capacity: {storage: 2Gi}, accessModes: [ReadWriteOncePod]}}",
			"a|Bound|v|2Gi|RWOP|c|<unset>|<unknown>|Filesystem"},
		{"PersistentVolumeClaim", "{status: {phase: Pending, capacity: {storage: 2Gi}}}", "a|Pending|||||<unset>|<unknown>|<unset>"},
		{"StorageClass", "{metadata: {annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}, provisioner: p, allowVolumeExpansion: true}",
			"a (default)|p|Delete|Immediate|true|<unknown>"},
		{"VolumeAttachment", "{spec: {attacher: d, nodeName: n1, source: {persistentVolumeName: v}}, status: {attached: true}}", "a|d|v|n1|true|<unknown>"},
		{"VolumeAttributesClass", "{driverName: d}", "a|d|<unknown>"},
		{"CSIDriver", "{spec: {attachRequired: false, volumeLifecycleModes: [Persistent, Ephemeral]}}", "a|false|false|false|<unset>|false|Persistent,Ephemeral|<unknown>"},
		{"CSINode", "{spec: {drivers: [{name: d, nodeID: n1, topologyKeys: []}]}}", "a|1|<unknown>"},
		{"CSIStorageCapacity", "{storageClassName: c, capacity: 1Gi}", "a|c|1Gi|<unknown>"},
		{"Ingress", "{spec: {ingressClassName: c, tls: [{}], rules: [{host: a.x}, {host: b.x}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: h}]}}}",
			"a|c|a.x,b.x|192.0.2.1,h|80, 443|<unknown>"},
		{"Ingress", "{spec: {rules: [{}]}}", "a|<none>|*||80|<unknown>"},
		{"IngressClass", "{spec: {controller: x/y, parameters: {apiGroup: g, kind: K, name: p}}}", "a|x/y|K.g/p|<unknown>"},
		{"NetworkPolicy", "{spec: {podSelector: {matchLabels: {app: web}}}}", "a|app=web|<unknown>"},
		{"NetworkPolicy", "{spec: {podSelector: {}}}", "a|<none>|<unknown>"},
		{"ServiceCIDR", "{spec: {cidrs: [10.0.0.0/8]}}", "a|10.0.0.0/8|<unknown>"},
		{"IPAddress", "{spec: {parentRef: {resource: services, namespace: default, name: s}}}", "a|services/default/s|<unknown>"},
		{"Lease", "{spec: {holderIdentity: me}}", "a|me|<unknown>"},
		{"ResourceQuota", "{status: {hard: {pods: '3', limits.cpu: '2'}, used: {pods: '1', limits.cpu: 500m}}}", "a|pods: 1/3|limits.cpu: 500m/2|<unknown>"},
		{"PriorityClass", "{value: 7, globalDefault: true, preemptionPolicy: Never}", "a|7|true|<unknown>|Never"},
		{"MutatingWebhookConfiguration", "{webhooks: [{}, {}]}", "a|2|<unknown>"},
		{"ValidatingAdmissionPolicy", "{spec: {validations: [{}], paramKind: {apiVersion: v1, kind: ConfigMap}}}", "a|1|v1/ConfigMap|<unknown>"},
		{"ValidatingAdmissionPolicyBinding", "{spec: {policyName: p, paramRef: {name: b, namespace: 'n'}}}", "a|p|n/b|<unknown>"},
		{"MutatingAdmissionPolicyBinding", "{spec: {policyName: p}}", "a|p|<unset>|<unknown>"},
		{"RuntimeClass", "{handler: runc}", "a|runc|<unknown>"},
		{"ResourceClaim", "{status: {allocation: {}, reservedFor: [{resource: pods, name: p, uid: u}]}}", "a|allocated,reserved|<unknown>"},
		{"ResourceSlice", "{spec: {driver: d, nodeName: n1, pool: {name: p}}}", "a|n1|d|p|<unknown>"},
	} {
		if got := line(t, c.kind, c.object); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.kind, c.object, got, c.want)
		}
	}
}

func line(t *testing.T, kind, object string) string {
	t.Helper()
	for _, table := range tables.All() {
		if table.GVK().Kind != kind {
			continue
		}
		o := table.New()
		if err := yaml.UnmarshalStrict([]byte(object), o); err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		o.SetName("a")
		k, ok := columns.Of(table.ID())
		if !ok {
			t.Fatalf("no columns for %s", table.ID())
		}
		cells := k.Cells(runtime.Object(o))
		if len(cells) != len(k.Names) {
			t.Fatalf("%s: %d cells for %d columns", kind, len(cells), len(k.Names))
		}
		out := []string{columns.Name(metav1.Object(o))}
		for _, c := range cells {
			out = append(out, fmt.Sprint(c))
		}
		return strings.Join(out, "|")
	}
	t.Fatalf("no kind %s", kind)
	return ""
}
