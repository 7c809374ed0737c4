package validate_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"trireme/internal/object/defaults"
	"trireme/internal/object/validate"
	"trireme/internal/store"
)

// faults decodes and defaults an object and returns the fields it is refused
// for, sorted, each once.
func faults(t *testing.T, o store.Object, in string) string {
	t.Helper()
	if err := json.Unmarshal([]byte(in), o); err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	o.SetName("x")
	switch o.(type) {
	case *corev1.Node, *schedulingv1.PriorityClass, *nodev1.RuntimeClass:
	default:
		o.SetNamespace("default")
	}
	defaults.Object(o)
	var all []string
	for _, e := range validate.Object(o) {
		all = append(all, e.Field)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// TestPodFaults checks which field is named for what is wrong with a pod.
func TestPodFaults(t *testing.T) {
	for _, c := range []struct{ spec, container, want string }{
		{``, ``, ""},
		{`"restartPolicy":"Sometimes"`, ``, "spec.restartPolicy"},
		{`"volumes":[{"name":"V_"}]`, ``, "spec.volumes[0].name"},
		{`"volumes":[{"name":"v"},{"name":"v"}]`, ``, "spec.volumes[1].name"},
		{`"volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/a"}}]`, ``, "spec.volumes[0]"},
		{`"volumes":[{"name":"v","hostPath":{"path":"/a/../b"}}]`, ``, "spec.volumes[0].hostPath.path"},
		{`"volumes":[{"name":"v","hostPath":{"path":"/a..b"}}]`, ``, ""},
		{`"volumes":[{"name":"v","hostPath":{"path":"a"}}]`, ``, "spec.volumes[0].hostPath.path"},
		{`"volumes":[{"name":"v","secret":{"secretName":"s","items":[{"key":"k","path":"../p"}]}}]`, ``, "spec.volumes[0].secret.items[0].path"},
		{`"volumes":[{"name":"v","configMap":{"name":"c","items":[{"key":"k","path":"/p"}]}}]`, ``, "spec.volumes[0].configMap.items[0].path"},
		{`"volumes":[{"name":"v","configMap":{"name":"c","defaultMode":512}}]`, ``, "spec.volumes[0].configMap.defaultMode"},
		{`"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"s","items":[{"key":"k","path":"a/../../p"}]}}]}}]`, ``, "spec.volumes[0].projected.sources[0].secret.items[0].path"},
		{`"volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"../t"}}]}}]`, ``, "spec.volumes[0].projected.sources[0].serviceAccountToken.path"},
		{`"volumes":[{"name":"v","downwardAPI":{"items":[{"path":"..","fieldRef":{"fieldPath":"metadata.name"}}]}}]`, ``, "spec.volumes[0].downwardAPI.items[0].path"},
		{`"volumes":[{"name":"v","emptyDir":{"sizeLimit":"-1"}}]`, ``, "spec.volumes[0].emptyDir.sizeLimit"},
		{`"volumes":[{"name":"v"}]`, `"volumeMounts":[{"name":"w","mountPath":"/m"}]`, "spec.containers[0].volumeMounts[0].name"},
		{`"volumes":[{"name":"v"}]`, `"volumeDevices":[{"name":"w","devicePath":"/dev/a"}]`, "spec.containers[0].volumeDevices[0].name"},
		{`"volumes":[{"name":"v"}]`, `"volumeDevices":[{"name":"v","devicePath":"/dev/../a"}]`, "spec.containers[0].volumeDevices[0].devicePath"},
		{`"volumes":[{"name":"v"}]`, `"volumeMounts":[{"name":"v","mountPath":"/m"}],"volumeDevices":[{"name":"v","devicePath":"/m"}]`,
			"spec.containers[0].volumeDevices[0].devicePath spec.containers[0].volumeDevices[0].name"},
		{`"volumes":[{"name":"v"}]`, `"volumeMounts":[{"name":"v","mountPath":"/m","subPathExpr":"../x"}]`, "spec.containers[0].volumeMounts[0].subPathExpr"},
		{``, `"env":[{"name":"A=B"}]`, "spec.containers[0].env[0].name"},
		{``, `"env":[{"name":"A","valueFrom":{}}]`, "spec.containers[0].env[0].valueFrom"},
		{``, `"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"../k"}}}]`, "spec.containers[0].env[0].valueFrom.secretKeyRef.key"},
		{``, `"resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}}`, "spec.containers[0].resources.requests[cpu]"},
		{``, `"livenessProbe":{}`, "spec.containers[0].livenessProbe"},
		{``, `"readinessProbe":{"tcpSocket":{"port":0}}`, "spec.containers[0].readinessProbe.tcpSocket.port"},
		{`"tolerations":[{"key":"a b"}]`, ``, "spec.tolerations[0].key"},
		{`"tolerations":[{"key":"a","effect":"NoSchedule","tolerationSeconds":3}]`, ``, "spec.tolerations[0].effect"},
		{`"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Gt","values":["x"]}]}]}}}`, ``,
			"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]"},
		{`"affinity":{"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":101,"podAffinityTerm":{"topologyKey":"a"}}]}}`, ``,
			"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight"},
		{`"affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchLabels":{"a":"b"}}}]}}`, ``,
			"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey"},
		{`"topologySpreadConstraints":[{"maxSkew":0,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule"}]`, ``, "spec.topologySpreadConstraints[0].maxSkew"},
	} {
		spec, container := `"containers":[{"name":"c","image":"i"`, c.container
		if container != "" {
			spec += "," + container
		}
		spec += "}]"
		if c.spec != "" {
			spec += "," + c.spec
		}
		if got := faults(t, &corev1.Pod{}, `{"spec":{`+spec+`}}`); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.spec, c.container, got, c.want)
		}
	}
}

// TestFaults checks which field is named for what is wrong with other kinds.
func TestFaults(t *testing.T) {
	const template = `"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	for _, c := range []struct {
		o        store.Object
		in, want string
	}{
		{&appsv1.Deployment{}, `{"spec":{` + template + `}}`, ""},
		{&appsv1.Deployment{}, `{"spec":{` + template + `,"replicas":-1}}`, "spec.replicas"},
		{&appsv1.Deployment{}, `{"spec":{` + template + `,"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":0}}}}`, "spec.strategy.rollingUpdate.maxUnavailable"},
		{&appsv1.Deployment{}, `{"spec":{` + template + `,"strategy":{"rollingUpdate":{"maxSurge":"25"}}}}`, "spec.strategy.rollingUpdate.maxSurge"},
		{&appsv1.Deployment{}, `{"spec":{` + strings.Replace(template, `"a":"b"}},"spec"`, `"a":"c"}},"spec"`, 1) + `}}`, "spec.template.metadata.labels"},
		{&appsv1.StatefulSet{}, `{"spec":{` + template + `}}`, ""},
		{&appsv1.StatefulSet{}, `{"spec":{` + strings.Replace(template, `"image":"i"`, `"image":"i","volumeMounts":[{"name":"data","mountPath":"/d"}]`, 1) + `,"volumeClaimTemplates":[{"metadata":{"name":"data"}}]}}`, ""},
		{&appsv1.StatefulSet{}, `{"spec":{` + template + `,"replicas":-1,"minReadySeconds":-1,"ordinals":{"start":-1},"revisionHistoryLimit":-1,"podManagementPolicy":"Random"}}`,
			"spec.minReadySeconds spec.ordinals.start spec.podManagementPolicy spec.replicas spec.revisionHistoryLimit"},
		{&appsv1.StatefulSet{}, `{"spec":{` + template + `,"updateStrategy":{"type":"OnDelete","rollingUpdate":{}}}}`, "spec.updateStrategy.rollingUpdate"},
		{&appsv1.StatefulSet{}, `{"spec":{` + template + `,"updateStrategy":{"rollingUpdate":{"partition":-1,"maxUnavailable":0}}}}`,
			"spec.updateStrategy.rollingUpdate.maxUnavailable spec.updateStrategy.rollingUpdate.partition"},
		{&appsv1.StatefulSet{}, `{"spec":{` + template + `,"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Keep"}}}`, "spec.persistentVolumeClaimRetentionPolicy.whenScaled"},
		{&appsv1.StatefulSet{}, `{"spec":{` + strings.Replace(template, `"spec":{`, `"spec":{"restartPolicy":"Never","activeDeadlineSeconds":3,`, 1) + `}}`,
			"spec.template.spec.activeDeadlineSeconds spec.template.spec.restartPolicy"},
		{&appsv1.DaemonSet{}, `{"spec":{` + template + `}}`, ""},
		{&appsv1.DaemonSet{}, `{"spec":{` + template + `,"updateStrategy":{"type":"OnDelete"}}}`, ""},
		{&appsv1.DaemonSet{}, `{"spec":{` + template + `,"updateStrategy":{"rollingUpdate":{"maxSurge":1}}}}`, "spec.updateStrategy.rollingUpdate.maxSurge"},
		{&appsv1.DaemonSet{}, `{"spec":{` + template + `,"updateStrategy":{"rollingUpdate":{"maxUnavailable":0}}}}`, "spec.updateStrategy.rollingUpdate.maxUnavailable"},
		{&appsv1.DaemonSet{}, `{"spec":{` + template + `,"updateStrategy":{"rollingUpdate":{"maxUnavailable":"101%"}}}}`, "spec.updateStrategy.rollingUpdate.maxUnavailable"},
		{&appsv1.DaemonSet{}, `{"spec":{` + strings.Replace(template, `{"matchLabels":{"a":"b"}}`, `{}`, 1) + `}}`, "spec.selector"},
		{&corev1.ReplicationController{}, `{"spec":{` + strings.Replace(template, `"selector":{"matchLabels":{"a":"b"}},`, ``, 1) + `}}`, ""},
		{&corev1.ReplicationController{}, `{"spec":{` + strings.Replace(template, `{"matchLabels":{"a":"b"}}`, `{"a":"c"}`, 1) + `}}`, "spec.template.metadata.labels"},
		{&corev1.ReplicationController{}, `{"spec":{"selector":{"a":"c"}}}`, "spec.template"},
		{&appsv1.ControllerRevision{}, `{"revision":-1}`, "data revision"},
		{&corev1.PodTemplate{}, `{"template":{"spec":{"restartPolicy":"Never"}}}`, "template.spec.containers"},
		{&corev1.Service{}, `{"spec":{"ports":[{"port":80}]}}`, ""},
		{&corev1.Service{}, `{"spec":{}}`, "spec.ports"},
		{&corev1.Service{}, `{"spec":{"ports":[{"port":0,"targetPort":1}]}}`, "spec.ports[0].port"},
		{&corev1.Service{}, `{"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":80}]}}`, "spec.ports[0].nodePort"},
		{&corev1.Service{}, `{"spec":{"clusterIP":"1.2.3","ports":[{"port":80}]}}`, "spec.clusterIPs[0]"},
		{&corev1.ConfigMap{}, `{"data":{"../k":"v"}}`, "data[../k]"},
		{&corev1.Secret{}, `{"type":"kubernetes.io/tls"}`, "data[tls.crt] data[tls.key]"},
		{&corev1.Node{}, `{"spec":{"podCIDR":"10.0.0.0","taints":[{"key":"a","effect":"Never"}]}}`, "spec.podCIDR spec.taints[0].effect"},
		{&corev1.Endpoints{}, `{"subsets":[{"addresses":[{"ip":"a"}],"ports":[{"port":70000}]}]}`, "subsets[0].addresses[0].ip subsets[0].ports[0].port"},
		{&discoveryv1.EndpointSlice{}, `{"addressType":"IPv4","endpoints":[{"addresses":["::1"]}],"ports":[{"port":0}]}`, "endpoints[0].addresses[0] ports[0].port"},
		{&discoveryv1.EndpointSlice{}, `{"addressType":"IPv4","endpoints":[{"addresses":["10.1.2.3"]}],"ports":[{"name":"http","port":80}]}`, ""},
		{&corev1.Event{}, `{"involvedObject":{"namespace":"default"}}`, ""},
		{&corev1.Event{}, `{"involvedObject":{"namespace":"other"}}`, "involvedObject.namespace"},
	} {
		if got := faults(t, c.o, c.in); got != c.want {
			t.Errorf("%T %s: %q, want %q", c.o, c.in, got, c.want)
		}
	}
}

// TestWorkloadUpdates checks what an update may not change.
func TestWorkloadUpdates(t *testing.T) {
	const template = `"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	for _, c := range []struct {
		old, next      store.Object
		in, then, want string
	}{
		{&appsv1.StatefulSet{}, &appsv1.StatefulSet{}, `{"spec":{` + template + `}}`,
			`{"spec":{` + strings.Replace(template, `"i"`, `"j"`, 1) + `,"replicas":4,"minReadySeconds":1,"ordinals":{"start":1},"revisionHistoryLimit":2,
			 "updateStrategy":{"type":"OnDelete"},"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete"}}}`, ""},
		{&appsv1.StatefulSet{}, &appsv1.StatefulSet{}, `{"spec":{` + template + `}}`, `{"spec":{` + template + `,"serviceName":"s"}}`,
			"spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', " +
				"'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"},
		{&appsv1.DaemonSet{}, &appsv1.DaemonSet{}, `{"spec":{` + template + `}}`, `{"spec":{` + strings.ReplaceAll(template, `"b"`, `"c"`) + `}}`, "spec.selector: Invalid value"},
		{&appsv1.ControllerRevision{}, &appsv1.ControllerRevision{}, `{"data":{"a":1}}`, `{"data":{"a":2}}`, "data: Invalid value"},
	} {
		for o, in := range map[store.Object]string{c.old: c.in, c.next: c.then} {
			if got := faults(t, o, in); got != "" {
				t.Fatalf("%s: %s", in, got)
			}
			o.SetResourceVersion("1")
		}
		got := ""
		for _, e := range validate.Update(c.next, c.old) {
			got += e.Error()
		}
		if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%T: %q, want %q", c.next, got, c.want)
		}
	}
}
