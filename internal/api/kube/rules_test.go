package kube_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/object"
	"trireme/internal/tables"
)

// client returns a client of the door.
func (d *door) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 1e6, 1e6
	return kubernetes.NewForConfigOrDie(config)
}

// step is one call of kubectl and part of what it prints.
type step struct {
	name, stdin, args, want string
	fails                   bool
}

func (d *door) play(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		out, err := d.kubectl(t, s.stdin, strings.Fields(s.args)...)
		if (err != nil) != s.fails || !strings.Contains(out, s.want) {
			t.Errorf("%s: kubectl %s: %v\n%s\nwant %s", s.name, s.args, err, out, s.want)
		}
	}
}

const (
	limits = `
apiVersion: v1
kind: LimitRange
metadata: {name: l}
spec:
  limits:
  - {type: Container, max: {cpu: 500m}, min: {cpu: 50m}, default: {cpu: 200m}, defaultRequest: {cpu: 100m}, maxLimitRequestRatio: {cpu: "4"}}
  - {type: PersistentVolumeClaim, max: {storage: 2Gi}}
`
	pod = `# YAML
{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {%s containers: [{name: c, image: i, resources: {%s}}]}}`
	claim = `# YAML
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s}, spec: {%s accessModes: [ReadWriteOnce], resources: {requests: {storage: %s}}}}`
)

func TestRules(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.play(t, []step{
		{name: "limits", stdin: limits, args: "create -f -", want: "created"},
		{name: "defaults", stdin: fmt.Sprintf(pod, "a", "", ""), args: "create -f -", want: "created"},
		{name: "defaulted", args: "get pod a -o jsonpath={.spec.containers[0].resources}{.status.qosClass}{.metadata.annotations}",
			want: `{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}Burstable{"kubernetes.io/limit-ranger":"LimitRanger plugin set: cpu request for container c; cpu limit for container c"}`},
		{name: "too much", stdin: fmt.Sprintf(pod, "b", "", "limits: {cpu: 600m}"), args: "create -f -", fails: true,
			want: `pods "b" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m`},
		{name: "too little", stdin: fmt.Sprintf(pod, "b", "", "requests: {cpu: 10m}"), args: "create -f -", fails: true, want: "minimum cpu usage per Container is 50m, but request is 10m"},
		{name: "large claim", stdin: fmt.Sprintf(claim, "v", "", "3Gi"), args: "create -f -", fails: true, want: "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"},
		{name: "dry run", stdin: fmt.Sprintf(pod, "b", "", "requests: {cpu: 10m}"), args: "create --dry-run=server -f -", fails: true, want: "minimum cpu usage"},
		{name: "delete limits", args: "delete limits l", want: "deleted"},

		{name: "unknown class", stdin: fmt.Sprintf(pod, "b", "priorityClassName: nope,", ""), args: "create -f -", fails: true, want: "no PriorityClass with name nope was found"},
		{name: "class", args: "create priorityclass high --value=1000 --global-default=true", want: "created"},
		{name: "second default", args: "create priorityclass low --value=1 --global-default=true", fails: true, want: "PriorityClass high is marked as default already"},
		{name: "reserved", args: "create priorityclass system-mine --value=1", fails: true, want: "reserved for system use"},
		{name: "by default", stdin: fmt.Sprintf(pod, "b", "", ""), args: "create -f -", want: "created"},
		{name: "resolved", args: "get pod b -o jsonpath={.spec.priorityClassName}/{.spec.priority}/{.spec.preemptionPolicy}", want: "high/1000/PreemptLowerPriority"},
		{name: "system's", stdin: fmt.Sprintf(pod, "c", "priorityClassName: system-node-critical,", ""), args: "create -f -", want: "created"},
		{name: "its value", args: "get pod c -o jsonpath={.spec.priority}", want: "2000001000"},
		{name: "by hand", stdin: fmt.Sprintf(pod, "e", "priority: 7,", ""), args: "create -f -", fails: true, want: "must not be provided in pod spec"},
		{name: "value stays", args: `patch priorityclass high -p {"value":5}`, fails: true, want: "may not be changed in an update"},

		{name: "no runtime class", stdin: fmt.Sprintf(pod, "e", "runtimeClassName: vm,", ""), args: "create -f -", fails: true, want: `RuntimeClass "vm" not found`},
		{name: "runtime class", args: "create -f -", want: "created",
			stdin: `# YAML
{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: vm}, handler: vm, overhead: {podFixed: {memory: 64Mi}}, scheduling: {nodeSelector: {vm: "yes"}, tolerations: [{key: vm}]}}`},
		{name: "in it", stdin: fmt.Sprintf(pod, "e", "runtimeClassName: vm,", ""), args: "create -f -", want: "created"},
		{name: "its cost", args: "get pod e -o jsonpath={.spec.overhead}{.spec.nodeSelector}{.spec.tolerations[0].key}", want: `{"memory":"64Mi"}{"vm":"yes"}vm`},

		{name: "storage class", args: "create -f -", want: "created",
			stdin: `# YAML
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: gold, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}, provisioner: p}`},
		{name: "no class named", stdin: fmt.Sprintf(claim, "v", "", "1Gi"), args: "create -f -", want: "created"},
		{name: "no class wanted", stdin: fmt.Sprintf(claim, "w", `storageClassName: "",`, "1Gi"), args: "create -f -", want: "created"},
		{name: "default class", args: "get pvc -o jsonpath={.items[*].spec.storageClassName}", want: "gold"},

		{name: "quota", args: "create quota q --hard=pods=5,count/configmaps=1,requests.storage=3Gi", want: "created"},
		{name: "fits", args: "run f --image=i", want: "created"},
		{name: "too many", args: "run g --image=i", fails: true, want: `pods "g" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5`},
		{name: "tried", args: "run g --image=i --dry-run=server", fails: true, want: "exceeded quota: q"},
		{name: "any kind", args: "create cm a", want: "created"},
		{name: "any kind's end", args: "create cm b", fails: true, want: "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"},
		{name: "used", args: "get quota q -o jsonpath={.status.used}", want: `{"count/configmaps":"1","pods":"5","requests.storage":"2Gi"}`},
	})
}

// TestQuotaUnderWriters lets many writers at once at a quota that has room for a
// few of them.
func TestQuotaUnderWriters(t *testing.T) {
	d := serve(t)
	c := d.client(t)
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("7"), "secrets": resource.MustParse("0")}}}
	if _, err := c.CoreV1().ResourceQuotas("default").Create(t.Context(), q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 64 {
		wg.Go(func() {
			_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}}, metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if !strings.Contains(err.Error(), "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=7, limited: count/configmaps=7") {
				t.Errorf("refused for another reason: %v", err)
			}
		})
	}
	wg.Wait()
	if have := tables.ConfigMaps.Len(d.store.Head()); made != 7 || have != 7 {
		t.Errorf("%d creations were allowed, %d rows stand; the quota has room for 7", made, have)
	}
	got, _ := tables.ResourceQuotas.Get(d.store.Head(), object.Key{Namespace: "default", Name: "q"})
	if used := got.Status.Used["count/configmaps"]; used.Value() != 7 {
		t.Errorf("used is %s, want 7", used.String())
	}
}

// TestQuotaUnderChurn: with control loops and users who make and delete at the same time,
// no quota is ever exceeded, and none says that less than nothing is used.
func TestQuotaUnderChurn(t *testing.T) {
	d := serve(t)
	d.control(t)
	c := d.client(t)
	hard := corev1.ResourceList{
		"pods": resource.MustParse("7"), "count/replicasets.apps": resource.MustParse("3"), "count/configmaps": resource.MustParse("4"),
	}
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	if _, err := c.CoreV1().ResourceQuotas("default").Create(t.Context(), q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w, err := c.CoreV1().ResourceQuotas("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan int)
	go func() {
		n := 0
		for e := range w.ResultChan() {
			o, ok := e.Object.(*corev1.ResourceQuota)
			if !ok {
				continue
			}
			n++
			for name, used := range o.Status.Used {
				if most := hard[name]; used.Sign() < 0 || used.Cmp(most) > 0 {
					t.Errorf("%s of %s are used: %s", used.String(), most.String(), name)
				}
			}
		}
		seen <- n
	}()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for round := range 6 {
				name := fmt.Sprintf("c%d-%d", i, round)
				_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
				if err == nil {
					err = c.CoreV1().ConfigMaps("default").Delete(t.Context(), name, metav1.DeleteOptions{})
				} else if strings.Contains(err.Error(), "exceeded quota") {
					err = nil
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 5 {
		wg.Go(func() {
			labels := map[string]string{"app": fmt.Sprint("w", i)}
			o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: labels["app"]}}
			o.Spec.Replicas, o.Spec.Selector = new(int32(4)), &metav1.LabelSelector{MatchLabels: labels}
			o.Spec.Template.Labels = labels
			o.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
			for range 4 {
				if _, err := c.AppsV1().Deployments("default").Create(t.Context(), o.DeepCopy(), metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
				if err := c.AppsV1().Deployments("default").Delete(t.Context(), o.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.AppsV1().Deployments("default").Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	until(t, "there are as many sets and pods as the quota lets in", func() bool {
		s := d.store.Snapshot()
		got, _ := tables.ResourceQuotas.Get(s, object.Key{Namespace: "default", Name: "q"})
		sets, pods := got.Status.Used["count/replicasets.apps"], got.Status.Used["pods"]
		return sets.Value() == 3 && pods.Value() == 7 && tables.ReplicaSets.Len(s) == 3 && tables.Pods.Len(s) == 7
	})
	w.Stop()
	if n := <-seen; n < 10 {
		t.Errorf("the quota was seen to change %d times", n)
	}
}
