package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

type fakeObjects struct {
	secrets  map[string]*corev1.Secret
	configs  map[string]*corev1.ConfigMap
	services map[string][]*corev1.Service
}

func (f fakeObjects) Secret(k object.Key) (*corev1.Secret, bool) {
	s, ok := f.secrets[k.Name]
	return s, ok
}
func (f fakeObjects) ConfigMap(k object.Key) (*corev1.ConfigMap, bool) {
	c, ok := f.configs[k.Name]
	return c, ok
}
func (fakeObjects) TrustBundles() []*certificatesv1.ClusterTrustBundle { return nil }
func (f fakeObjects) Services(ns string) []*corev1.Service             { return f.services[ns] }

func service(name, ip string, port int32) *corev1.Service {
	s := &corev1.Service{}
	s.Name, s.Spec.ClusterIP, s.Spec.Ports = name, ip, []corev1.ServicePort{{Name: "web", Port: port, Protocol: corev1.ProtocolTCP}}
	return s
}

func node() *Node {
	return &Node{Name: "n1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ClusterDNS: "10.96.0.10", Domain: "cluster.local",
		Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi")}}
}

func testPod() *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID, p.Labels = "p", "ns", "u1", map[string]string{"app": "web", "b": `q"`}
	p.Status.PodIP, p.Status.PodIPs = "10.128.0.5", []corev1.PodIP{{IP: "10.128.0.5"}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i:1"}}
	return p
}

func TestExpand(t *testing.T) {
	lookup := func(n string) (string, bool) { return "<" + n + ">", n == "A" }
	for in, want := range map[string]string{
		"$(A)": "<A>", "x$(A)y": "x<A>y", "$(B)": "$(B)", "$$(A)": "$(A)", "$$$(A)": "$<A>", "$A": "$A", "$": "$", "$(A": "$(A", "": "", "$(": "$(",
	} {
		if got := Expand(in, lookup); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$(B)$")
	f.Fuzz(func(t *testing.T, s string) {
		if got := Expand(s, func(string) (string, bool) { return "", false }); len(got) > len(s) {
			t.Errorf("%q grew to %q", s, got)
		}
	})
}

func TestEnv(t *testing.T) {
	objs := fakeObjects{
		secrets:  map[string]*corev1.Secret{"s": {Data: map[string][]byte{"k": []byte("sv")}}},
		configs:  map[string]*corev1.ConfigMap{"m": {Data: map[string]string{"X": "from", "Y": "kept", "a=b": "no"}}},
		services: map[string][]*corev1.Service{"default": {service("kubernetes", "10.96.0.1", 443)}},
	}
	p := testPod()
	c := &p.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}}}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	c.Env = []corev1.EnvVar{
		{Name: "P_X", Value: "own"}, {Name: "REF", Value: "$(P_X)-$(P_Y)-$(NONE)-$(KUBERNETES_SERVICE_HOST)"},
		{Name: "IP", ValueFrom: field("status.podIP")}, {Name: "APP", ValueFrom: field("metadata.labels['app']")},
		{Name: "S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}},
		{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
	}
	env, err := node().Env(p, c, objs)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range env {
		if _, twice := got[e.Key]; twice {
			t.Errorf("%s is there twice", e.Key)
		}
		got[e.Key] = e.Value
	}
	for k, want := range map[string]string{
		"P_X": "own", "P_Y": "kept", "REF": "own-kept-$(NONE)-10.96.0.1", "IP": "10.128.0.5", "APP": "web", "S": "sv", "CPU": "2", "MEM": "4096",
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1", "KUBERNETES_SERVICE_PORT_WEB": "443",
	} {
		if got[k] != want {
			t.Errorf("%s: got %q, want %q", k, got[k], want)
		}
	}
	if _, ok := got["P_a=b"]; ok {
		t.Error("a name with = was set")
	}
}

func TestEnvNamesWhatIsMissing(t *testing.T) {
	objs := fakeObjects{configs: map[string]*corev1.ConfigMap{"m": {}}}
	yes := true
	key := func(name string, optional *bool) corev1.EnvVar {
		return corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: "k", Optional: optional}}}
	}
	for _, tt := range []struct {
		v    corev1.EnvVar
		want string
	}{
		{key("none", nil), `configmap "none" not found`}, {key("m", nil), "couldn't find key k in ConfigMap ns/m"}, {key("none", &yes), ""}, {key("m", &yes), ""},
	} {
		p := testPod()
		p.Spec.Containers[0].Env = []corev1.EnvVar{tt.v}
		_, err := node().Env(p, &p.Spec.Containers[0], objs)
		got := ""
		var e *Error
		if err != nil {
			got = err.Error()
			if !errors.As(err, &e) || e.Reason != ReasonConfig {
				t.Errorf("%v has no reason", err)
			}
		}
		if got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestDNS(t *testing.T) {
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("# x\nnameserver 1.1.1.1\nsearch corp.example\noptions timeout:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := node()
	n.ResolvConf = resolv
	five := "5"
	for name, tt := range map[string]struct {
		change func(*corev1.PodSpec)
		want   *runtime.DNSConfig
	}{
		"cluster first": {func(*corev1.PodSpec) {}, &runtime.DNSConfig{
			Servers: []string{"10.96.0.10"}, Searches: []string{"ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"}, Options: []string{"ndots:5"}}},
		"host network": {func(s *corev1.PodSpec) { s.HostNetwork = true }, nil},
		"default":      {func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault }, nil},
		"none": {func(s *corev1.PodSpec) {
			s.DNSPolicy, s.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"9.9.9.9"}, Options: []corev1.PodDNSConfigOption{{Name: "timeout", Value: &five}}}
		}, &runtime.DNSConfig{Servers: []string{"9.9.9.9"}, Options: []string{"timeout:5"}}},
	} {
		p := testPod()
		tt.change(&p.Spec)
		got, err := n.DNS(p)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRunAsNonRoot(t *testing.T) {
	yes, zero, one := true, int64(0), int64(1000)
	for _, tt := range []struct {
		image   string
		user    *int64
		refused string
	}{
		{"", nil, "image will run as root"}, {"0", nil, "image will run as root"}, {"web", nil, "non-numeric user"}, {"1000:1000", nil, ""},
		{"", &zero, "breaks non-root policy"}, {"", &one, ""},
	} {
		p := testPod()
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: tt.user}
		_, err := node().Container(ContainerInput{Pod: p, Container: &p.Spec.Containers[0], Image: &runtime.Image{ID: "i", User: tt.image}, Objects: fakeObjects{}})
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("image user %q, runAsUser %v: %v", tt.image, tt.user, err)
		}
	}
}

func TestHosts(t *testing.T) {
	p := testPod()
	p.Spec.Hostname, p.Spec.Subdomain = "h", "sub"
	p.Spec.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"a", "b"}}}
	got := string(node().Hosts(p, nil))
	for _, want := range []string{"10.128.0.5\th.sub.ns.svc.cluster.local\th\n", "1.2.3.4\ta\tb\n", "127.0.0.1\tlocalhost\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestDevicesOfTheNode(t *testing.T) {
	p := testPod()
	p.Annotations = map[string]string{object.DevicesAnnotation: "fuse=rw"}
	p.Spec.Volumes = []corev1.Volume{{Name: "fuse", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/fuse"}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "fuse", MountPath: "/dev/fuse"}}
	got, err := node().Container(ContainerInput{
		Pod: p, Container: &p.Spec.Containers[0], Image: &runtime.Image{}, Objects: fakeObjects{},
		Mount: func(int, string) (string, bool, error) { return "/dev/fuse", false, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []runtime.Device{{HostPath: "/dev/fuse", Path: "/dev/fuse", Permissions: "rw"}}
	if diff := cmp.Diff(want, got.Devices); diff != "" || len(got.Mounts) != 0 {
		t.Errorf("devices differ (-want +got), mounts %v:\n%s", got.Mounts, diff)
	}
}

// TestLiteral: what is meant literally comes out of the expansion as it went in.
func TestLiteral(t *testing.T) {
	lookup := func(string) (string, bool) { return "WRONG", true }
	for _, text := range []string{"", "$", "$$", "$$$", "$(A)", "$$(A)", "$$$(A)", "$$$$", "echo $$ $A ${A} $(A) $((1+1))", "$(", "a$"} {
		if got := Expand(object.Literal(text), lookup); got != text {
			t.Errorf("%q comes out as %q", text, got)
		}
	}
}
