package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestNFS: a node without the mount helper says which package it lacks; with one, the
// helper is asked for what the volume says, and its own words reach the user.
func TestNFS(t *testing.T) {
	if installed("mount.nfs") {
		t.Skip("this machine has an NFS client")
	}
	bin, m := t.TempDir(), &Manager{root: t.TempDir()}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	src := &corev1.NFSVolumeSource{Server: "fd00::1", Path: "/exports/a", ReadOnly: true}
	if _, err := m.nfs(pod, "v", src, nil); err == nil || !strings.Contains(err.Error(), "mounting [fd00::1]:/exports/a: this node has no program mount.nfs: install nfs-common") {
		t.Errorf("without a helper: %v", err)
	}
	for name, script := range map[string]string{"mount.nfs": "", "mount": `echo "$@: no route"; exit 32`} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	want := fmt.Sprintf("-t nfs -o vers=4.2,ro -- [fd00::1]:/exports/a %s: no route", filepath.Join(m.root, "pods/u/volumes/kubernetes.io~nfs/v"))
	if _, err := m.nfs(pod, "v", src, []string{"vers=4.2"}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a helper that fails: %v, want %s", err, want)
	}
}
