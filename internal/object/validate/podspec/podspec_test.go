package podspec

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestPod(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{ // part of the fault; empty: none
		{"{containers: [{name: c}]}", ""},
		{"{containers: [{name: c, ports: [{name: a, containerPort: 80}, {name: a, containerPort: 81}]}]}", "ports[1].name: Duplicate"},
		{"{containers: [{name: c, ports: [{containerPort: 80}, {containerPort: 81}]}]}", ""},
		{"{containers: [{name: c, envFrom: [{prefix: A_, configMapRef: {name: x}}]}]}", ""},
		{"{containers: [{name: c, envFrom: [{}]}]}", "envFrom[0]: Invalid"},
		{"{containers: [{name: c, envFrom: [{secretRef: {}}]}]}", "secretRef.name: Required"},
		{"{containers: [{name: c, lifecycle: {preStop: {sleep: {seconds: 5}}, postStart: {exec: {command: [a]}}}}]}", ""},
		{"{containers: [{name: c, lifecycle: {preStop: {}}}]}", "must specify a handler type"},
		{"{containers: [{name: c, lifecycle: {preStop: {exec: {command: [a]}, sleep: {seconds: 1}}}}]}", "more than 1 handler"},
		{"{containers: [{name: c, lifecycle: {postStart: {httpGet: {port: 0, path: /, scheme: HTTP}}}}]}", "httpGet.port: Invalid"},
		{"{containers: [{name: c, terminationMessagePolicy: Never}]}", "terminationMessagePolicy: Unsupported"},
		{"{containers: [{name: c, securityContext: {runAsUser: -1}}]}", "runAsUser: Invalid"},
		{"{containers: [{name: c, securityContext: {privileged: true, allowPrivilegeEscalation: false}}]}", "`privileged` to true"},
		{"{containers: [{name: c, securityContext: {seccompProfile: {type: Localhost}}}]}", "localhostProfile: Required"},
		{"{containers: [{name: c, securityContext: {procMount: Some}}]}", "procMount: Unsupported"},
		{"{containers: [{name: c, restartPolicy: Sometimes}]}", "restartPolicy: Unsupported"},
		{"{containers: [{name: c, restartPolicyRules: [{action: Restart}]}]}", "restartPolicy: Required"},
		{"{containers: [{name: c, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]}]}", ""},
		{"{containers: [{name: c, restartPolicy: Never, restartPolicyRules: [{action: Jump, exitCodes: {operator: In}}]}]}", "action: Unsupported"},
		{"{containers: [{name: c, restartPolicy: Never, restartPolicyRules: [{action: Restart}]}]}", "exitCodes: Required"},
		{"{containers: [{name: c, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: Is}}]}]}", "operator: Unsupported"},
		{"{initContainers: [{name: i, restartPolicy: Always, readinessProbe: {}}]}", ""},
		{"{initContainers: [{name: i, readinessProbe: {}}]}", "initContainers[0].readinessProbe: Forbidden"},
		{"{securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: '1'}, {name: net/ipv4/tcp_syncookies, value: '1'}]}}", ""},
		{"{securityContext: {sysctls: [{name: foo-, value: '1'}]}}", "sysctls[0].name: Invalid"},
		{"{securityContext: {sysctls: [{name: bar.., value: '1'}]}}", "sysctls[0].name: Invalid"},
		{"{securityContext: {sysctls: [{name: a.b, value: '1'}, {name: a.b, value: '2'}]}}", "sysctls[1].name: Duplicate"},
		{"{securityContext: {sysctls: [{value: '1'}]}}", "sysctls[0].name: Required"},
		{"{dnsPolicy: None}", "nameservers: Required"},
		{"{dnsPolicy: None, dnsConfig: {nameservers: [10.0.0.1]}}", ""},
		{"{dnsConfig: {nameservers: [a, 1.1.1.1, 1.1.1.2, 1.1.1.3]}}", "nameservers: Too many"},
		{"{dnsConfig: {options: [{value: x}]}}", "options[0]: Required"},
		{"{serviceAccountName: A_}", "serviceAccountName: Invalid"},
		{"{runtimeClassName: A_}", "runtimeClassName: Invalid"},
		{"{subdomain: a.b}", "subdomain: Invalid"},
		{"{schedulingGroup: {}}", "schedulingGroup.podGroupName: Required"},
		{"{schedulingGroup: {podGroupName: A_b}}", "schedulingGroup.podGroupName: Invalid"},
		{"{schedulingGates: [{name: a}, {name: a}]}", "schedulingGates[1].name: Duplicate"},
		{"{readinessGates: [{conditionType: '/'}]}", "conditionType: Invalid"},
		{"{hostAliases: [{ip: x, hostnames: [a]}]}", "hostAliases[0].ip: Invalid"},
		{"{preemptionPolicy: Maybe}", "preemptionPolicy: Unsupported"},
		{"{hostPID: true, shareProcessNamespace: true}", "cannot both be enabled"},
		{"{hostUsers: false, hostNetwork: true}", "hostNetwork: Forbidden"},
		{"{hostNetwork: true, containers: [{name: c, ports: [{containerPort: 80, hostPort: 81}]}]}", "must match `containerPort`"},
		{"{securityContext: {fsGroup: -1}}", "fsGroup: Invalid"},
		{"{securityContext: {supplementalGroups: [1, -1]}}", "supplementalGroups[1]: Invalid"},
		{"{securityContext: {fsGroupChangePolicy: Now}}", "fsGroupChangePolicy: Unsupported"},
		{"{securityContext: {seccompProfile: {type: Own}}}", "seccompProfile.type: Unsupported"},
	} {
		var s corev1.PodSpec
		if err := yaml.UnmarshalStrict([]byte(tt.yaml), &s); err != nil {
			t.Fatal(tt.yaml, err)
		}
		errs := Pod(&s, nil)
		for i := range s.Containers {
			errs = append(errs, Container(&s.Containers[i], nil)...)
		}
		got := ""
		if err := errs.ToAggregate(); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.yaml, got, tt.want)
		}
	}
}
