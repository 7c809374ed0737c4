package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/runtime"
)

func noFault(context.Context) error { return nil }

// TestPluginAddresses: a pod has the addresses that its sandbox got, in the status, in the
// container and for the network before a container starts; another sandbox has others; an
// agent that starts knows them before it tells the network anything.
func TestPluginAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, root: t.TempDir(), plugins: noFault}
		var early string
		r.fake = runtime.NewFake(runtime.FakeConfig{
			Addresses: func(cfg *runtime.SandboxConfig) []netip.Addr {
				return []netip.Addr{netip.AddrFrom4([4]byte{10, 22, 0, byte(cfg.Attempt)}), netip.MustParseAddr(fmt.Sprintf("fd00::%d", cfg.Attempt+1))}
			},
			Behave: func(*runtime.ContainerConfig) runtime.FakeBehaviour {
				r.mu.Lock()
				early = r.told["u-a"]
				r.mu.Unlock()
				return runtime.FakeBehaviour{}
			},
		})
		r.start()
		defer func() { r.stop() }()
		p := pod("a", func(p *corev1.Pod) {
			p.Status.PodIP = ""
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "IPS", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}}}}
		})
		r.full(p)
		check := func(ip, ips string) {
			t.Helper()
			st := r.status(p.UID)
			if st.PodIP != ip || len(st.PodIPs) != 2 || st.PodIPs[0].IP+","+st.PodIPs[1].IP != ips {
				t.Errorf("the status says %q %v, want %s", st.PodIP, st.PodIPs, ips)
			}
			if early != ip {
				t.Errorf("a container started while the network knew %q, want %s", early, ip)
			}
		}
		check("10.22.0.0", "10.22.0.0,fd00::1")
		if env := r.fake.Config(p.UID, "c").Env; len(env) == 0 || env[len(env)-1].Value != "10.22.0.0,fd00::1" {
			t.Errorf("the container's environment: %v", env)
		}

		list, err := r.fake.List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("sandboxes %v, %v", list, err)
		}
		r.fake.KillSandbox(list[0].ID)
		time.Sleep(30 * time.Second)
		check("10.22.0.1", "10.22.0.1,fd00::2")

		r.stop()
		r.told = nil
		r.start()
		if r.full(p); r.told[p.UID] != "10.22.0.1" {
			t.Errorf("after a restart the network knows %q", r.told[p.UID])
		}
		check("10.22.0.1", "10.22.0.1,fd00::2")
		r.delta(deleted(p, 0))
		if !r.gone(p.UID) || r.agent.given.get(p.UID) != nil {
			t.Errorf("gone: %t, still known: %v", r.gone(p.UID), r.agent.given.get(p.UID))
		}
	})
}

// TestNoRulesNoContainer: while the network cannot make a pod's rules, nothing of it runs.
func TestNoRulesNoContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, root: t.TempDir(), plugins: noFault, fake: runtime.NewFake(runtime.FakeConfig{
			Addresses: func(*runtime.SandboxConfig) []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.22.0.1")} },
		})}
		r.start()
		defer func() { r.stop() }()
		r.mu.Lock()
		r.refuses = errors.New("no rules today")
		r.mu.Unlock()
		p := pod("a")
		r.full(p)
		if r.count("FailedCreatePodSandBox") == 0 || r.fake.Calls("StartContainer") > 0 {
			t.Errorf("%d events, %d containers", r.count("FailedCreatePodSandBox"), r.fake.Calls("StartContainer"))
		}
		if list, err := r.fake.List(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("sandboxes are left: %v, %v", list, err)
		}
		r.mu.Lock()
		r.refuses = nil
		r.mu.Unlock()
		time.Sleep(30 * time.Second)
		if st := r.status(p.UID); st.Phase != corev1.PodRunning || st.PodIP != "10.22.0.1" {
			t.Errorf("the pod is %s at %q", st.Phase, st.PodIP)
		}
	})
}
