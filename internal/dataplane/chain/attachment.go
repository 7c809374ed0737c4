package chain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/kind"
	"trireme/internal/object/network"
)

// podInterface is a pod's link as it sees it.
const podInterface = "eth0"

// attachment is an ADD, with all that its DEL needs.
type attachment struct {
	Network      json.RawMessage `json:"network"` // with all its plugins
	BinDirs      []string        `json:"binDirs"`
	NetNS        string          `json:"netns"`
	Args         [][2]string     `json:"args"`
	Capabilities map[string]any  `json:"capabilities,omitempty"`
}

func (c *Chain) attachment(list *libcni.NetworkConfigList, p Pod) (*attachment, error) {
	b, err := inline(list)
	if err != nil {
		return nil, err
	}
	capabilities, err := capabilities(p.Object)
	if err != nil {
		return nil, err
	}
	return &attachment{
		Network: b, BinDirs: c.cfg.BinDirs, NetNS: p.NetNS, Capabilities: capabilities,
		Args: [][2]string{ // kubelets' and containerd's
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", p.Object.Namespace}, {"K8S_POD_NAME", p.Object.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", p.Sandbox}, {"K8S_POD_UID", string(p.Object.UID)},
		},
	}, nil
}

func (a *attachment) conf(sandbox string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: sandbox, NetNS: a.NetNS, IfName: podInterface, Args: a.Args, CapabilityArgs: a.Capabilities}
}

// portMapping and bandwidth are arguments of plugins that declare these capabilities (CNI,
// "Conventions: well-known capabilities").
type portMapping struct {
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"` // bits a second
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// capabilities returns what plugins are told that ask for it: libcni gives each what it
// declares.
func capabilities(pod *corev1.Pod) (map[string]any, error) {
	out := map[string]any{}
	if len(pod.Annotations) > 0 {
		out["io.kubernetes.cri.pod-annotations"] = pod.Annotations
	}
	var ports []portMapping
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort > 0 {
				ports = append(ports, portMapping{p.HostPort, p.ContainerPort, strings.ToLower(string(p.Protocol)), p.HostIP})
			}
		}
	}
	if len(ports) > 0 {
		out["portMappings"] = ports
	}
	in, err := rate(pod, "kubernetes.io/ingress-bandwidth")
	if err != nil {
		return nil, err
	}
	eg, err := rate(pod, "kubernetes.io/egress-bandwidth")
	if err != nil {
		return nil, err
	}
	if in+eg > 0 {
		b := bandwidth{IngressRate: in, EgressRate: eg}
		if in > 0 {
			b.IngressBurst = math.MaxUint32 // as containerd's
		}
		if eg > 0 {
			b.EgressBurst = math.MaxUint32
		}
		out["bandwidth"] = b
	}
	return out, nil
}

// The bounds of a rate (Kubernetes, "Network Plugins: support traffic shaping").
var rateMin, rateMax = resource.MustParse("1k"), resource.MustParse("1P")

// rate returns the bits a second that an annotation allows; 0: there is none.
func rate(pod *corev1.Pod, annotation string) (uint64, error) {
	text, ok := pod.Annotations[annotation]
	if !ok {
		return 0, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Cmp(rateMin) < 0 || q.Cmp(rateMax) > 0 {
		return 0, kind.New(kind.Invalid, "annotation %s: %q is no quantity of bits a second from 1k to 1P", annotation, text)
	}
	return uint64(q.Value()), nil
}

// onNetworks reports whether a pod asks for networks beside the cluster's own.
func onNetworks(pod *corev1.Pod) bool {
	asked, err := network.Selections(pod)
	return err != nil || len(asked) > 0 || network.Only(pod)
}

func (c *Chain) folder() string { return filepath.Join(c.cfg.Dir, "attachments") }

func (c *Chain) file(sandbox string) string { return filepath.Join(c.folder(), sandbox+".json") }

// remember writes an attachment down.
func (c *Chain) remember(sandbox string, a *attachment) error {
	b, err := json.Marshal(a)
	if err == nil {
		err = os.MkdirAll(c.folder(), 0o700)
	}
	path := c.file(sandbox)
	if err == nil {
		err = os.WriteFile(path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("noting how sandbox %s is attached: %w", sandbox, err)
	}
	return nil
}

func (c *Chain) recall(sandbox string) (*attachment, error) {
	b, err := os.ReadFile(c.file(sandbox))
	if err != nil {
		return nil, fmt.Errorf("reading how sandbox %s was attached: %w", sandbox, err)
	}
	a := &attachment{}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, kind.New(kind.Malformed, "reading how sandbox %s was attached: %w", sandbox, err)
	}
	return a, nil
}

func (c *Chain) forget(sandbox string) error {
	if err := os.Remove(c.file(sandbox)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting how sandbox %s was attached: %w", sandbox, err)
	}
	return nil
}

// sandboxes returns those that are remembered, sorted.
func (c *Chain) sandboxes() (out []string, err error) {
	all, err := os.ReadDir(c.folder())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range all {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			out = append(out, id)
		}
	}
	return out, err
}
