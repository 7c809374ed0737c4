package assigned

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/wire"
)

func service(i int, ip string) wire.Item {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("s", i)}, Spec: corev1.ServiceSpec{ClusterIP: ip}}
	return wire.Item{Table: "services", Key: object.KeyOf(s), Object: s}
}

func pod(name string) wire.Item {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	return wire.Item{Table: "pods", Key: object.KeyOf(p), Object: p}
}

// kept reads the file and says what it holds.
func kept(t *testing.T, path string) map[string]string {
	t.Helper()
	all, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, it := range all {
		switch o := it.Object.(type) {
		case *corev1.Service:
			out[it.Key.String()] = o.Spec.ClusterIP
		case *corev1.Pod:
			out[it.Key.String()] = string(o.Status.Phase)
		}
	}
	return out
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestSave: what changed, went and came is in the file, a change adds little to it,
// it does not grow for ever, and what was cut off while it was written is left out.
func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent", "assignments")
	o, status := New(), (*corev1.PodStatus)(nil)
	save := func() {
		t.Helper()
		if err := o.Save(path, func(*corev1.Pod) *corev1.PodStatus { return status }); err != nil {
			t.Fatal(err)
		}
	}
	all, want := []wire.Item{pod("p")}, map[string]string{"ns/p": "Pending"}
	for i := range 1000 {
		all = append(all, service(i, "10.0.0.1"))
		want[fmt.Sprint("ns/s", i)] = "10.0.0.1"
	}
	o.Apply(true, all)
	save()
	if diff := cmp.Diff(want, kept(t, path)); diff != "" {
		t.Fatalf("all (-want +got):\n%s", diff)
	}
	whole := size(t, path)

	status = &corev1.PodStatus{Phase: corev1.PodRunning}
	o.Apply(false, []wire.Item{service(3, "10.0.0.2"), service(1000, "10.0.0.3"), {Table: "services", Key: object.Key{Namespace: "ns", Name: "s4"}, Deleted: true}})
	save()
	want["ns/s3"], want["ns/s1000"], want["ns/p"] = "10.0.0.2", "10.0.0.3", "Running"
	delete(want, "ns/s4")
	if diff := cmp.Diff(want, kept(t, path)); diff != "" {
		t.Fatalf("changes (-want +got):\n%s", diff)
	}
	now := size(t, path)
	if now == whole || now > whole+1000 {
		t.Errorf("four rows of a thousand: the file had %d bytes and has %d", whole, now)
	}
	if save(); size(t, path) != now {
		t.Errorf("nothing changed, but the file grew by %d bytes", size(t, path)-now)
	}

	o.Apply(false, []wire.Item{service(5, "10.0.0.4")})
	save()
	if err := os.Truncate(path, size(t, path)-1); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, kept(t, path)); diff != "" {
		t.Fatalf("a batch that was cut off (-want +got):\n%s", diff)
	}
	want["ns/s5"] = "10.0.0.4"

	long := strings.Repeat("x", 20_000)
	for i := range 300 {
		o.Apply(false, []wire.Item{service(6, fmt.Sprint(long, i))})
		save()
		if size(t, path) > 2*whole+2*appendedMax {
			t.Fatalf("after %d changes the file has %d bytes, all of it was %d", i, size(t, path), whole)
		}
	}
	want["ns/s6"] = long + "299"
	if diff := cmp.Diff(want, kept(t, path)); diff != "" {
		t.Fatalf("after many changes (-want +got):\n%s", diff)
	}
}

// TestSaveAfterFailure: what could not be written is written with the next Save.
func TestSaveAfterFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "assignments")
	none := func(*corev1.Pod) *corev1.PodStatus { return nil }
	o := New()
	o.Apply(true, []wire.Item{service(1, "10.0.0.1"), service(2, "10.0.0.1"), service(3, "10.0.0.1")})
	if err := o.Save(path, none); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // an append has nothing to append to
		t.Fatal(err)
	}
	o.Apply(false, []wire.Item{service(1, "10.0.0.2")})
	if err := o.Save(path, none); err == nil {
		t.Fatal("Save did not notice that its file has gone")
	}
	if err := o.Save(path, none); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"ns/s1": "10.0.0.2", "ns/s2": "10.0.0.1", "ns/s3": "10.0.0.1"}
	if diff := cmp.Diff(want, kept(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
