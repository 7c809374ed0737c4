package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInCluster runs a client-go program in pods: one whose account may list, one
// whose account may not, and looks at how the token lies in the pod.
func TestInCluster(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "incluster"), "./testdata/incluster")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs where there is no C library
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k.must("create", "serviceaccount", "reader")
	k.must("create", "role", "reader", "--verb=list", "--resource=configmaps")
	k.must("create", "rolebinding", "reader", "--role=reader", "--serviceaccount="+k.namespace+":reader")
	for _, account := range []string{"reader", "default"} {
		k.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: as-%s}
spec:
  serviceAccountName: %s
  restartPolicy: Never
  containers:
  - {name: c, image: %s, command: [/prog/incluster], volumeMounts: [{name: prog, mountPath: /prog}]}
  volumes: [{name: prog, hostPath: {path: %s}}]
`, account, account, busybox, dir))
	}
	for account, want := range map[string]string{"reader": "config maps: 1", "default": `cannot list resource "configmaps"`} {
		k.must("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/as-"+account, "--timeout=60s")
		out := k.must("logs", "as-"+account)
		if !strings.Contains(out, "I am system:serviceaccount:"+k.namespace+":"+account+" in [as-"+account+"]") || !strings.Contains(out, want) {
			t.Errorf("as %s:\n%s", account, out)
		}
	}
	k.pod("own", "securityContext: {runAsUser: 1000}", "")
	k.ready("own")
	if out := k.sh("own", "ls -lLn /var/run/secrets/kubernetes.io/serviceaccount/token"); !strings.Contains(out, "-rw-------") || !strings.Contains(out, "1000") {
		t.Errorf("the token of a pod with a user: %s", out)
	}
}
