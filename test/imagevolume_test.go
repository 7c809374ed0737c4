package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestImageVolumes: a pod reads the files of an image beside its own, whole or a part of
// them, and cannot write them. An image that is not there is waited for, and the pod says
// so.
func TestImageVolumes(t *testing.T) {
	k := newClient(t, machine(t))
	pod := func(name, volume string) {
		k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  terminationGracePeriodSeconds: 1\n  volumes: [{name: files, image: {" + volume + "}}]\n" +
			"  containers:\n  - {name: c, image: \"" + busybox + "\", imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"], volumeMounts: [" +
			"{name: files, mountPath: /files}, {name: files, mountPath: /part, subPath: bin}]}\n")
	}
	pod("reader", "reference: \""+busybox+"\", pullPolicy: IfNotPresent")
	k.must("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s")
	run := func(script string) string {
		return strings.TrimSpace(k.sh("reader", script+"; true"))
	}
	if got := run("cmp /bin/busybox /files/bin/busybox && cmp /bin/busybox /part/busybox && echo same"); got != "same" {
		t.Errorf("the image's files: %s", got)
	}
	if got := run("touch /files/new 2>&1; touch /part/new 2>&1"); strings.Count(got, "Read-only file system") != 2 {
		t.Errorf("writing into the image: %s", got)
	}
	pod("waiting", "reference: \"trireme.local/nothing:1\", pullPolicy: Never")
	await(t, k.h, 20*time.Second, "the event of an image that is not there", func() error {
		out := k.must("get", "events", "--field-selector", "involvedObject.name=waiting")
		if !strings.Contains(out, "FailedMount") || !strings.Contains(out, "trireme.local/nothing:1") {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
	none := "apiVersion: v1\nkind: Pod\nmetadata: {name: none}\nspec:\n  volumes: [{name: v, image: {pullPolicy: Always}}]\n  containers: [{name: c, image: i}]\n"
	if out, err := k.run(t.Context(), none, "create", "-f", "-"); err == nil || !strings.Contains(out, "spec.volumes[0].image.reference") {
		t.Errorf("a volume of no image: %v: %s", err, out)
	}
}
