package history

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object"
)

// FuzzTemplate: whatever a revision's data holds, it has a template, and one that is
// written is read back.
func FuzzTemplate(f *testing.F) {
	f.Add([]byte(`{"spec":{"template":{"$patch":"replace","spec":{"containers":[{"name":"c"}]}}}}`))
	f.Add([]byte(`{"spec":7}`))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(raw []byte) string {
			b := &Book{decoded: map[object.Key]decoded{}}
			return string(encode(b.Template(&appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: raw}})))
		}
		once := read(in)
		if again := read([]byte(once)); again != once {
			t.Errorf("%s, then %s", once, again)
		}
	})
}
