package test

import (
	"strings"
	"testing"
)

// TestUnsafeSysctls: a pod has the settings that are safe and those that its node
// allows; with others it fails before anything of it runs.
func TestUnsafeSysctls(t *testing.T) {
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h, "--allowed-unsafe-sysctls", "kernel.msg*,net.core.somaxconn,net.ipv4.conf.eth0.*"); err != nil {
		t.Fatal(err)
	}
	k := newClient(t, h)
	pod := func(name, sysctls string) {
		k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  securityContext: {sysctls: [" + sysctls + "]}\n" +
			"  containers: [{name: c, image: \"" + busybox + "\", imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"]}]\n")
	}
	pod("allowed", "{name: kernel.shm_rmid_forced, value: '1'}, {name: kernel.msgmax, value: '4321'}, {name: net/core/somaxconn, value: '321'}, {name: net.ipv4.conf.eth0.log_martians, value: '1'}")
	k.must("wait", "--for=condition=Ready", "pod/allowed", "--timeout=60s")
	out := k.must("exec", "allowed", "--", "cat", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/kernel/msgmax", "/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/conf/eth0/log_martians")
	if got := strings.Join(strings.Fields(out), " "); got != "1 4321 321 1" {
		t.Errorf("the settings in the pod: %s", got)
	}
	pod("refused", "{name: net.core.somaxconn, value: '321'}, {name: kernel.sem, value: '1 1 1 1'}")
	k.must("wait", "--for=jsonpath={.status.phase}=Failed", "pod/refused", "--timeout=30s")
	got := k.must("get", "pod", "refused", "-o", "jsonpath={.status.reason}: {.status.message}")
	if want := `SysctlForbidden: forbidden sysctl: "kernel.sem" not allowlisted`; got != want {
		t.Errorf("the refused pod: %s, want %s", got, want)
	}
	k.must("delete", "pod", "--all", "--grace-period=1")
}
