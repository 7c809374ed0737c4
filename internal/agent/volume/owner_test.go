package volume

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// TestOwn: files are given to whom the pod's annotation says, and to nobody by one that
// cannot be read.
func TestOwn(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":"7:8"}`:          "",
		`{"b":"7:8"}`:          `no file "b"`,
		`{"a":"bob:8"}`:        "write UID:GID",
		`{"a":"-1:8"}`:         "write UID:GID",
		`{"a":"4294967295:0"}`: "write UID:GID",
		`["a"]`:                "not of the form",
	} {
		files, pod := map[string]file{"a": {}}, &corev1.Pod{}
		pod.Annotations = map[string]string{object.FileOwnersAnnotation("v"): text}
		err := own(files, pod, "v")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if f := files["a"]; err == nil && (*f.uid != 7 || *f.gid != 8) {
			t.Errorf("%s: %d:%d", text, *f.uid, *f.gid)
		}
		if err := own(files, pod, "other"); err != nil {
			t.Errorf("%s of another volume: %v", text, err)
		}
	}
}
