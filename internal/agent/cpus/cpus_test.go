package cpus

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

func pod(uid, cpu string, guaranteed bool) *corev1.Pod {
	p := &corev1.Pod{}
	p.UID = types.UID(uid)
	l := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Gi")}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: l, Limits: l}}}
	if !guaranteed {
		p.Spec.Containers[0].Resources.Limits = nil
	}
	return p
}

func TestExclusive(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "agent", "cpus"), All: []int{0, 1, 2, 3, 4, 5}, Reserved: 1}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	take := func(p *corev1.Pod, changed bool, has, shared string) {
		t.Helper()
		got, err := m.Take(p)
		if err != nil || got != changed || m.Of(p.UID, "c") != has || m.Of("nobody", "c") != shared {
			t.Errorf("pod %s: changed %v, has %q, shared %q, %v", p.UID, got, m.Of(p.UID, "c"), m.Of("nobody", "c"), err)
		}
	}
	take(pod("burstable", "2", false), false, "0-5", "0-5")
	take(pod("half", "1500m", true), false, "0-5", "0-5")
	take(pod("a", "2", true), true, "1-2", "0,3-5")
	take(pod("a", "2", true), false, "1-2", "0,3-5")
	take(pod("b", "1", true), true, "3", "0,4-5")
	if _, err := m.Take(pod("c", "3", true)); err == nil || !strings.Contains(err.Error(), "requested=3, available=2") {
		t.Errorf("more than there are: %v", err)
	}
	if changed, err := m.Release("a"); !changed || err != nil || m.Of("nobody", "c") != "0-2,4-5" {
		t.Errorf("released: %v %v, shared %q", changed, err, m.Of("nobody", "c"))
	}
	if m, err = Open(cfg); err != nil || m.Of("b", "c") != "3" || !m.Exclusive("b") {
		t.Errorf("the next agent: %v, %q", err, m.Of("b", "c"))
	}
	if err := m.Keep(func(types.UID) bool { return false }); err != nil || m.Of("b", "c") != "0-5" {
		t.Errorf("none is kept: %v, %q", err, m.Of("b", "c"))
	}
	for _, n := range []int{0, 7} {
		cfg.Reserved = n
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "reserve some cpu") {
			t.Errorf("%d reserved: %v", n, err)
		}
	}
	cfg.Reserved = 1
	if err := os.WriteFile(cfg.Path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil {
		t.Error("a broken file was taken")
	}
	var none *Manager
	if changed, err := none.Take(pod("a", "1", true)); changed || err != nil || none.Of("a", "c") != "" {
		t.Error("the policy none gives something")
	}
}

func TestLists(t *testing.T) {
	for _, s := range []string{"0", "0-3", "0-1,4,6-7"} {
		set, err := Parse(s + "\n")
		slices.Reverse(set)
		if err != nil || List(set) != s {
			t.Errorf("%s: %v, %v", s, set, err)
		}
	}
	if _, err := Parse("0-x"); err == nil {
		t.Error("taken")
	}
}
